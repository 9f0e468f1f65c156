"""One file, written whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from swift_export.artifacts.one_file import check_output, replaced
from swift_export.errors import MachineError, UsageError

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


def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from swift_export.artifacts.one_file import replaced\n"
        "with replaced(Path(sys.argv[1])) as draft:\n"
        "    draft.write_bytes(b'new'); print('written', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
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
        ("absent/model.onnx", "expected a folder .*absent to write into, there is none"),
        ("file/model.onnx", "expected a folder .*file to write into, found a file"),
        ("folder", "expected the name of a file, found a folder"),
        ("pipe", "expected a plain file or none, found a device or pipe"),
    ):
        with pytest.raises(UsageError, match=words):
            check_output(tmp_path / name)
    with pytest.raises(UsageError, match="is what would be read"):
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
