"""JSON beside scans: plain objects of a bounded size, or a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swift_export.scans.sidecar import read_sidecar


def test_objects_are_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"RepetitionTime": 0.8}')
    assert read_sidecar(path) == {"RepetitionTime": 0.8}
    contents = {
        b"[1]": "not a JSON object",
        b"{": "Expecting",
        b"[" * 10**5: "recursion",
        b" " * (2**22 + 1): "larger than",
    }
    for content, reason in contents.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            read_sidecar(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(ValueError, match="not a regular file"):
        read_sidecar(tmp_path / "run.json")
    with pytest.raises(ValueError, match="not a regular file"):
        read_sidecar(tmp_path / "absent.json")
