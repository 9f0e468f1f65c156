"""A folder replaced as a whole: complete at every moment, and never a stranger's file lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swift_export.errors import UsageError
from swift_export.system import folders
from swift_export.system.folders import replaced_folder, restored

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["exchange", "renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of replacing; the second is that of systems that do not exchange."""
    if request.param == "renames":
        monkeypatch.setattr(folders, "_exchange", lambda first, second: False)
    return str(request.param)


def anything_goes() -> None:
    pass


def write(folder: Path, word: str) -> None:
    with replaced_folder(folder, anything_goes) as draft:
        for name in ("a", "b"):
            (draft / name).write_text(word)


def content(folder: Path) -> set[str]:
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    return {path.read_text() for path in folder.iterdir()}


def test_a_new_and_an_existing_folder(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "deep" / "folder"
    for word in ("first", "second"):
        write(folder, word)
        assert content(folder) == {word}
        assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_a_link_stays_one(tmp_path: Path, way: str) -> None:
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == {"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    folder = tmp_path / "folder"
    write(folder, "old")

    def write_half() -> None:
        with replaced_folder(folder, anything_goes) as draft:
            (draft / "a").write_text("new")
            raise error

    with pytest.raises(error):
        write_half()
    assert content(folder) == {"old"}
    assert list(tmp_path.iterdir()) == [folder]


def test_what_came_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    def refuse_any() -> None:
        if folder.exists():
            raise UsageError("something is there")

    def write_while_somebody_else_does() -> None:
        with replaced_folder(folder, refuse_any):
            folder.mkdir()
            (folder / "thesis.tex").write_text("years of work")

    with pytest.raises(UsageError, match="something is there"):
        write_while_somebody_else_does()
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert list(tmp_path.iterdir()) == [folder]


def test_errors_are_called_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), replaced_folder(tmp_path / "a", anything_goes):
        (tmp_path / "elsewhere").read_text()
    with (
        pytest.raises(UsageError, match=r"/a: cannot be written \(its folder does not exist and cannot be created\)"),
        replaced_folder(tmp_path / "a", anything_goes) as draft,
    ):
        (draft / "absent" / "file").write_text("")
    with pytest.raises(UsageError, match=r"^/proc: cannot be written"):
        write(Path("/proc/folder"), "new")


#: Replaces copies of a folder, each time killed at a later moment, until none is left; says how each was then found.
KILLED = """
import os, signal, sys, time
from pathlib import Path
from swift_export.system import folders

root, way = Path(sys.argv[1]), sys.argv[2]
if way == "renames":
    folders._exchange = lambda first, second: False
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "ctypes.dlsym", "shutil.rmtree"}

def write(folder, word):
    with folders.replaced_folder(folder, lambda: None) as draft:
        for name in ("a", "b"):
            (draft / name).write_text(word)

def killed_at(moment, folder):
    left = moment
    def hook(event, arguments):
        nonlocal left
        left -= event in EVENTS
        if event in EVENTS and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.addaudithook(hook)
    write(folder, "new")
    os._exit(0)

for moment in range(1, 1000):
    folder = root / str(moment) / "folder"
    write(folder, "old")
    status = killed_at(moment, folder)
    if status == 0:
        break
    assert status == -signal.SIGKILL, status
    there = "there" if folder.exists() else "away"
    folders.restored(folder)
    found = sorted(path.name + path.read_text() for path in folder.iterdir())
    for path in folder.parent.iterdir():  # drafts of an hour ago
        os.utime(path, (time.time() - 3600,) * 2)
    write(folder, "next")
    print(there, *found, *(path.name for path in folder.parent.iterdir()))
"""


def test_killed_at_any_moment_it_is_old_or_new_and_the_next_writer_tidies_up(tmp_path: Path, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), way],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    found = done.stdout.splitlines()
    old, new = "aold bold folder", "anew bnew folder"
    assert {"there " + old, "there " + new} <= set(found)
    away = {line for line in found if line.startswith("away")}
    assert away == ({f"away {old}"} if way == "renames" else set())
    assert set(found) <= {f"there {old}", f"there {new}", f"away {old}"}
    assert [line.split()[1] for line in found] == sorted((line.split()[1] for line in found), reverse=True)


def test_restoring_leaves_everything_else_alone(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "mine")
    (tmp_path / ".swift-export-old-planted").symlink_to("elsewhere")
    (tmp_path / "circle").symlink_to("circle")
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in ("planted", "absent", "circle", "elsewhere", "no\0path"):
        restored(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
