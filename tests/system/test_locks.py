"""The lock of a folder: never through what somebody planted in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swift_export.errors import UsageError
from swift_export.system.locks import acquired, is_held, locked

NAME = ".swift-export-lock"


def test_the_lock_file_goes_with_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        assert [path.name for path in (tmp_path / "new").iterdir()] == [NAME]
        assert is_held(tmp_path / "new" / NAME)
    assert list((tmp_path / "new").iterdir()) == []
    assert not is_held(tmp_path / "new" / NAME)


def test_a_lock_file_that_a_killed_process_left_is_taken(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    assert not is_held(tmp_path / NAME)
    with acquired(tmp_path / NAME):
        assert is_held(tmp_path / NAME)


@pytest.mark.parametrize("planted", ["link", "dangling", "pipe", "folder"])
def test_something_else_in_its_place_is_refused(tmp_path: Path, planted: str) -> None:
    lock = tmp_path / NAME
    (tmp_path / "victim").write_text("mine")
    {
        "link": lambda: lock.symlink_to("victim"),
        "dangling": lambda: lock.symlink_to("made"),
        "pipe": lambda: os.mkfifo(lock),
        "folder": lock.mkdir,
    }[planted]()
    with (
        pytest.raises(UsageError, match=f"{NAME}: expected a lock file or none, found something else"),
        locked(tmp_path),
    ):
        pass
    assert (tmp_path / "victim").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([NAME, "victim"])
