"""A folder after an export was interrupted, failed or was killed at any moment, and with two exports at once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType

import pytest

from swift_export.artifacts import open_artifact, verify
from swift_export.artifacts.manifest import SCHEMA
from swift_export.errors import ArtifactError, UsageError
from swift_export.system.locks import HIDDEN

OLD = ("onnx", "savedmodel")
NEW = ("onnx", "savedmodel")


def tree(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def state(folder: Path) -> str:
    """The one word that all artifacts of the folder hold; the folder must fit its manifest and hold nothing hidden."""
    manifest = open_artifact(folder)
    assert len(verify(folder, manifest)) == 4
    found = tree(folder)
    assert len(found) == 5
    (word,) = {text.split()[-1] for path, text in found.items() if path != "manifest.json"}
    return word


def renames(exporting: ModuleType, start, folder: Path) -> int:
    """How many renames the export under test makes."""
    exporting.export(folder, *OLD, text="old")
    program = (
        "import sys, runpy; module = runpy.run_path(sys.argv[1]); from pathlib import Path; events = []\n"
        "sys.addaudithook(lambda event, _: events.append(event) if event == 'os.rename' else None)\n"
        "module['export'](Path(sys.argv[2]), 'onnx', 'savedmodel'); print(len(events))"
    )
    out, err = start(exporting.__file__, folder, program=program).communicate(timeout=60)
    assert err == ""
    return int(out)


def test_killed_at_any_rename_the_folder_is_old_or_new_once_opened(
    tmp_path: Path, exporting: ModuleType, start
) -> None:
    total = renames(exporting, start, tmp_path / "counted")
    assert total == 8  # the journal, three units out, three in, the manifest
    states = []
    for moment in range(1, total + 1):
        folder = tmp_path / str(moment)
        exporting.export(folder, *OLD, text="old")
        process = start(folder, 0, "new", ",".join(NEW), "--at", moment, "kill")
        assert process.wait(60) == -signal.SIGKILL
        assert any(path.name.startswith(HIDDEN) for path in folder.iterdir())
        if moment == 1:  # before the journal: nothing was moved, a reader has nothing to repair, an export tidies up
            verify(folder, open_artifact(folder))
            exporting.export(folder, *OLD, text="old")
        states.append(state(folder))
    # The manifest's rename, which the last one was killed before, is the commit point.
    assert states == ["old"] * total


def test_killed_right_after_the_commit_point_the_folder_is_new(tmp_path: Path, exporting: ModuleType, start) -> None:
    exporting.export(tmp_path, *OLD, text="old")
    program = (
        "import os, signal, sys, runpy; module = runpy.run_path(sys.argv[1]); from pathlib import Path\n"
        "def hook(event, arguments):\n"
        "    if event == 'os.remove' and str(arguments[0]).endswith('journal.json'): os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(hook)\n"
        "module['export'](Path(sys.argv[2]), 'onnx', 'savedmodel')"
    )
    assert start(exporting.__file__, tmp_path, program=program).wait(60) == -signal.SIGKILL
    assert state(tmp_path) == "new"


def test_the_next_export_repairs_before_it_begins(tmp_path: Path, exporting: ModuleType, start) -> None:
    exporting.export(tmp_path, *OLD, text="old")
    assert start(tmp_path, 0, "new", ",".join(NEW), "--at", 4, "kill").wait(60) == -signal.SIGKILL

    def fail(_: Path) -> None:
        raise RuntimeError("in mid-export")

    with pytest.raises(RuntimeError, match="in mid-export"):
        exporting.export(tmp_path, "onnx", before_commit=fail)
    assert state(tmp_path) == "old"


def test_a_first_export_killed_in_its_commit_leaves_no_artifact(tmp_path: Path, exporting: ModuleType, start) -> None:
    folder = tmp_path / "out"
    assert start(folder, 0, "new", ",".join(NEW), "--at", 4, "kill").wait(60) == -signal.SIGKILL
    with pytest.raises(ArtifactError, match="expected a folder written by an export"):
        open_artifact(folder)
    assert tree(folder) == {}
    exporting.export(folder, *NEW)
    assert state(folder) == "new"


def test_a_failed_rename_is_rolled_back_at_once(tmp_path: Path, exporting: ModuleType, start) -> None:
    for moment in range(1, 9):
        folder = tmp_path / str(moment)
        exporting.export(folder, *OLD, text="old")
        before = tree(folder)
        process = start(folder, 0, "new", ",".join(NEW), "--at", moment, "fail")
        _, err = process.communicate(timeout=60)
        assert err.splitlines()[-1].endswith(f"MachineError: {folder}: cannot be written (Input/output error)")
        assert tree(folder) == before


@pytest.mark.parametrize("action", ["interrupt", "terminate"])
def test_a_signal_in_the_commit_waits_until_it_is_done(
    tmp_path: Path, exporting: ModuleType, start, action: str
) -> None:
    for moment in range(1, 9):
        folder = tmp_path / str(moment)
        exporting.export(folder, *OLD, text="old")
        process = start(folder, 0, "new", ",".join(NEW), "--at", moment, action)
        _, err = process.communicate(timeout=60)
        if action == "interrupt":
            assert err.splitlines()[-1] == "KeyboardInterrupt"
        else:
            assert (process.returncode, err) == (128 + signal.SIGTERM, "")
        assert not [path for path in folder.iterdir() if path.name.startswith(HIDDEN)]
        assert state(folder) == "new"


#: Exports, and stops in the middle until it is told to go on.
SLOW = """
import runpy, sys
from pathlib import Path
module = runpy.run_path(sys.argv[1])
output, seed, *formats = sys.argv[2:]
def wait(_):
    print("staged", flush=True)
    sys.stdin.readline()
module["export"](Path(output), *formats, seed=int(seed), text="slow", before_commit=wait)
"""


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [(signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, 128 + signal.SIGTERM, "")],
)
def test_a_signal_in_mid_export_removes_everything_staged(
    tmp_path: Path, exporting: ModuleType, start, sent: int, status: int, words: str
) -> None:
    exporting.export(tmp_path / "existing", *OLD, text="old")
    for name in ("existing", "fresh"):
        process = start(exporting.__file__, tmp_path / name, 0, "onnx", program=SLOW, stdin=-1)
        assert process.stdout.readline() == "staged\n"
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err[-len(words) - 1 :].strip()) == (status, words)
    assert state(tmp_path / "existing") == "old"
    assert not [path for path in (tmp_path / "existing").iterdir() if path.name.startswith(HIDDEN)]
    assert not (tmp_path / "fresh").exists()


def test_two_exports_at_once_both_arrive(tmp_path: Path, exporting: ModuleType, start) -> None:
    folder = tmp_path / "out"
    slow = start(exporting.__file__, folder, 0, "onnx", program=SLOW, stdin=-1)
    assert slow.stdout.readline() == "staged\n"
    exporting.export(folder, "savedmodel", text="slow")  # and leaves the other's staging alone
    assert slow.communicate("go\n", timeout=60) == ("", "")
    assert sorted(open_artifact(folder).artifacts) == ["onnx", "savedmodel"]
    assert state(folder) == "slow"


def test_of_two_exports_of_different_weights_at_once_the_second_is_refused(
    tmp_path: Path, exporting: ModuleType, start
) -> None:
    folder = tmp_path / "out"
    slow = start(exporting.__file__, folder, 1, "onnx", program=SLOW, stdin=-1)
    assert slow.stdout.readline() == "staged\n"
    exporting.export(folder, *NEW)
    _, err = slow.communicate("go\n", timeout=60)
    assert "UsageError" in err.splitlines()[-1]
    assert exporting.model(0).digest in err
    assert exporting.model(1).digest in err
    assert state(folder) == "new"


def test_many_exports_into_one_new_folder_at_once(tmp_path: Path, start) -> None:
    folder = tmp_path / "deep" / "out"
    processes = [start(folder, 0, "new", name) for name in ("onnx", "savedmodel", "onnx", "savedmodel", "onnx")]
    for process in processes:
        assert process.communicate(timeout=60) == ("", "")
    assert state(folder) == "new"


def test_what_a_dead_export_staged_goes_with_the_next_one_and_a_living_ones_stays(
    tmp_path: Path, exporting: ModuleType, start
) -> None:
    folder = tmp_path / "out"
    dead = start(exporting.__file__, folder, 0, "onnx", program=SLOW, stdin=-1)
    alive = start(exporting.__file__, folder, 0, "onnx", program=SLOW, stdin=-1)
    for process in (dead, alive):
        assert process.stdout.readline() == "staged\n"
    dead.kill()
    dead.wait()
    assert len(list(folder.iterdir())) == 2
    exporting.export(folder, "savedmodel", text="slow")
    assert len([path for path in folder.iterdir() if path.name.startswith(HIDDEN)]) == 1
    assert alive.communicate("go\n", timeout=60) == ("", "")
    assert state(folder) == "slow"


def test_an_export_waits_for_the_lock(tmp_path: Path, exporting: ModuleType, start) -> None:
    program = (
        "import sys, time; from pathlib import Path; from swift_export.system.locks import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()"
    )
    holder = start(tmp_path, program=program, stdin=-1)
    assert holder.stdout.readline() == "held\n"
    waiting = start(tmp_path, 0, "new", ",".join(NEW))
    time.sleep(1)
    assert waiting.poll() is None
    assert tree(tmp_path).keys() == {HIDDEN + "lock"}
    holder.communicate("go\n", timeout=60)
    assert waiting.communicate(timeout=60) == ("", "")
    assert state(tmp_path) == "new"


@pytest.mark.parametrize(
    "journal",
    [
        "{",
        "[]",
        '{"added": [1], "removed": [], "folders": []}',
        '{"added": ["../victim"], "removed": [], "folders": []}',
        '{"added": ["onnx/../../victim"], "removed": [], "folders": []}',
        '{"added": ["golden/onnx/../../../victim"], "removed": [], "folders": []}',
        '{"added": ["golden"], "removed": [], "folders": []}',
        '{"added": ["manifest.json"], "removed": [], "folders": []}',
        '{"added": ["onnx/model.onnx"], "removed": [], "folders": ["../elsewhere"]}',
    ],
)
def test_a_journal_from_elsewhere_moves_nothing(tmp_path: Path, exporting: ModuleType, journal: str) -> None:
    folder = tmp_path / "out"
    exporting.export(folder, *OLD)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    staging = folder / f"{HIDDEN}0123456789abcdef"
    (staging / "new").mkdir(parents=True)
    (staging / "new" / "manifest.json").write_text("{}")
    (staging / "journal.json").write_text(journal)
    before = tree(tmp_path)
    for act in (open_artifact, lambda path: exporting.export(path, "onnx")):
        with pytest.raises(ArtifactError, match=r"journal\.json: not a journal of this tool"):
            act(folder)
    assert {k: v for k, v in tree(tmp_path).items() if not k.endswith("/lock")} == before
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.parametrize("planted", ["staging/new", "staging/old", "staging/old/onnx", "onnx"])
def test_what_is_moved_back_does_not_come_from_elsewhere_nor_go_there(
    tmp_path: Path, exporting: ModuleType, planted: str
) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    exporting.export(folder, "savedmodel")
    for path in ("model.onnx", "onnx/model.onnx"):
        (elsewhere / path).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / path).write_text("mine")
    staging = folder / f"{HIDDEN}0123456789abcdef"
    for name in ("new", "old/onnx"):
        (staging / name).mkdir(parents=True)
    (staging / "old" / "onnx" / "model.onnx").write_text("planted")
    place = staging / planted.removeprefix("staging/") if planted.startswith("staging/") else folder / planted
    if place.is_dir():
        shutil.rmtree(place)
    place.symlink_to(elsewhere)
    (staging / "new" / "manifest.json").write_text("{}")
    (staging / "journal.json").write_text('{"added": [], "removed": ["onnx/model.onnx"], "folders": []}')
    before = tree(elsewhere)
    with pytest.raises(ArtifactError, match="expected a plain folder, found a link; move"):
        open_artifact(folder)
    assert tree(elsewhere) == before


def test_a_folder_that_must_be_repaired_and_cannot_be_written(small_disk: Path, exporting: ModuleType, start) -> None:
    exporting.export(small_disk, *OLD, text="old")
    assert start(small_disk, 0, "new", ",".join(NEW), "--at", 4, "kill").wait(60) == -signal.SIGKILL
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ArtifactError, match=r"was interrupted .* \(Read-only file system\); make the folder writable"):
        open_artifact(small_disk)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert state(small_disk) == "old"


def test_hidden_folders_of_others_and_names_alike_are_left_alone(tmp_path: Path, exporting: ModuleType) -> None:
    for name in (HIDDEN + "notes", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("mine")
    exporting.export(tmp_path, *NEW)
    assert (tmp_path / f"{HIDDEN}notes" / "file").read_text() == "mine"
    assert json.loads((tmp_path / "manifest.json").read_text())["schema"] == SCHEMA


def test_an_unknown_format_leaves_no_trace(tmp_path: Path, exporting: ModuleType) -> None:
    with pytest.raises(UsageError, match="format 'tflite'"):
        exporting.export(tmp_path / "out", "tflite")
    assert list(tmp_path.iterdir()) == []
