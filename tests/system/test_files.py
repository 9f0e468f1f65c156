"""One file, written whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from swift_export.errors import MachineError, UsageError
from swift_export.system.drafts import DRAFT
from swift_export.system.files import check_output, replaced, write_text

ROOT = Path(__file__).parents[2]


def test_the_file_appears_with_the_users_own_permissions(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    before = os.umask(0o027)
    try:
        with replaced(output) as draft:
            draft.write_bytes(b"new")
            assert not output.exists()
    finally:
        os.umask(before)
    assert output.read_bytes() == b"new"
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    output = tmp_path / "model.onnx"
    output.write_bytes(b"old")

    def write_half() -> None:
        with replaced(output) as draft:
            draft.write_bytes(b"new")
            raise error

    with pytest.raises(error):
        write_half()
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_sigterm_leaves_nothing(tmp_path: Path, popen) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from swift_export.system.files import replaced\n"
        "with replaced(Path(sys.argv[1])) as draft:\n"
        "    draft.write_bytes(b'new'); print('written', flush=True); time.sleep(60)\n"
    )
    process = popen(
        [sys.executable, "-c", program, tmp_path / "model.onnx"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"written\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "model.onnx", tmp_path / "link.onnx"
    link.symlink_to(target)
    with replaced(link) as draft:
        draft.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_full_disk(small_disk: Path) -> None:
    with (
        pytest.raises(MachineError, match=r"model.onnx: the disk is full") as full,
        replaced(small_disk / "model.onnx") as draft,
    ):
        draft.write_bytes(bytes(2**21))
    assert full.value.exit_status == 1
    assert list(small_disk.iterdir()) == []


def test_places_where_no_file_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("absent/model.onnx", "expected an existing folder .*absent, found none"),
        ("file/model.onnx", "expected an existing folder .*file, found a file"),
        ("folder", "expected a file name, found a folder"),
        ("pipe", "expected a regular file or none, found a device or pipe"),
    ):
        with pytest.raises(UsageError, match=words):
            check_output(tmp_path / name)
    with pytest.raises(UsageError, match="is also the input"):
        check_output(tmp_path / "file", sources=tmp_path / "folder" / ".." / "file")
    check_output(tmp_path / "file")
    check_output(tmp_path / "new")


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    """Which even root meets: the kernel's own file system takes none."""
    with (
        pytest.raises(UsageError, match=r"/proc/.*: cannot be written \("),
        replaced(Path("/proc/model.onnx")) as draft,
    ):
        draft.write_bytes(b"new")


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "circle.onnx").symlink_to("circle.onnx")
    with pytest.raises(UsageError, match=r"circle\.onnx: expected a path"):
        check_output(tmp_path / "circle.onnx")
    with pytest.raises(UsageError, match="loop of links"), replaced(tmp_path / "circle.onnx"):
        pass
    assert (tmp_path / "circle.onnx").is_symlink()


def test_the_draft_has_a_name_of_its_own_and_the_outputs_suffix(tmp_path: Path) -> None:
    with replaced(tmp_path / "clips.npy") as one, replaced(tmp_path / "clips.npy") as other:
        assert one != other
        for draft in (one, other):
            assert (draft.parent, draft.suffix, draft.stat().st_size) == (tmp_path, ".npy", 0)
            draft.write_text(draft.name)
    assert (tmp_path / "clips.npy").read_text() == one.name  # the last of both


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError, match=r"'/elsewhere/scan\.nii'"), replaced(output):
        Path("/elsewhere/scan.nii").read_bytes()
    with pytest.raises(OSError, match="'/elsewhere/scratch'"), replaced(output):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere/scratch")
    with pytest.raises(ConnectionResetError), replaced(output):
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    words = r"model\.onnx: expected a folder, found a file in its path"
    with pytest.raises(UsageError, match=words), replaced(output) as draft:
        (draft / "file").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_file_larger_than_allowed(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from swift_export.system.files import replaced\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with replaced(Path(sys.argv[1])) as draft: draft.write_bytes(bytes(2000))\n"
    )
    done = run(program, tmp_path / "model.onnx")
    assert done.stderr.splitlines()[-1].startswith(f"swift_export.errors.UsageError: {tmp_path}/model.onnx: cannot be ")
    assert list(tmp_path.iterdir()) == []


def run(program: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGINT"])
def test_a_signal_at_the_rename_waits_for_it(tmp_path: Path, sent: str) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from swift_export.system.files import replaced\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"hook = lambda event, _: os.kill(os.getpid(), signal.{sent}) if event == 'os.rename' else None\n"
        "sys.addaudithook(hook)\n"
        "with replaced(Path(sys.argv[1])) as draft: draft.write_bytes(b'new')\n"
        "print('not reached')\n"
    )
    done = run(program, tmp_path / "model.onnx")
    assert done.returncode == (128 + signal.SIGTERM if sent == "SIGTERM" else -signal.SIGINT)
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"new"


def test_file_and_folder_are_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "model.onnx").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    with replaced(tmp_path / "model.onnx") as draft:
        draft.write_bytes(b"new")
    assert synced == [(str(draft), False), (str(tmp_path), True)]


def test_what_a_killed_writer_left_goes_with_the_next_and_a_living_ones_stays(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from swift_export.system.files import replaced\n"
        "with replaced(Path(sys.argv[1])) as draft:\n"
        "    draft.write_bytes(b'new'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run(program, tmp_path / "model.onnx").returncode == -signal.SIGKILL
    (dead,) = tmp_path.iterdir()
    assert dead.name.startswith(DRAFT)
    (tmp_path / f"{DRAFT}link").symlink_to("mine")
    (tmp_path / "mine").write_text("mine")
    with replaced(tmp_path / "other.onnx") as alive:
        for path in (dead, alive, tmp_path / "mine"):
            os.utime(path, (0, 0))  # of long ago
        with replaced(tmp_path / "model.onnx") as draft:
            draft.write_text("next")
        assert alive.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{DRAFT}link", "mine", "model.onnx", "other.onnx"]


def test_a_text_replaces_a_planted_link_and_follows_none(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "parity.html").symlink_to("victim")
    write_text(tmp_path / "parity.html", "the report")
    assert not (tmp_path / "parity.html").is_symlink()
    assert (tmp_path / "parity.html").read_text() == "the report"
    assert (tmp_path / "victim").read_text() == "mine"
    (tmp_path / "parity.md").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "parity.md", "the report")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parity.html", "parity.md", "victim"]
