"""The C program: compiled without a warning, exact about what it is told, and gone when nobody needs it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import tempfile

import numpy as np
import pytest

from swift_export.errors import MachineError
from swift_export.runtimes.registry import RUNTIMES

pytestmark = [pytest.mark.requires("savedmodel"), pytest.mark.requires("cc")]


@pytest.fixture(scope="module")
def adapter():
    return RUNTIMES["tensorflow_c"].adapter()


@pytest.fixture(scope="module")
def program(adapter, tmp_path_factory):
    program = tmp_path_factory.mktemp("program") / "tensorflow_c"
    adapter.compile_program(program, "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
    return program


@pytest.fixture
def obey(program, toys, tmp_path):
    """What the program answers to lines, after the one that says that it is ready; its folder is ``tmp_path``."""

    def obey(*lines):
        command = [program, toys.artifact("savedmodel")]
        text = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=tmp_path, check=True)
        ready, *answers = done.stdout.splitlines()
        assert ready.startswith("ok 2.")
        return answers

    return obey


@pytest.fixture
def bold(toys, tmp_path):
    array = toys.clips(2)
    array.tofile(tmp_path / "bold")
    return array


PUT = "put serving_default_bold:0 float32 bold"


def test_arrays_go_in_and_come_out(obey, bold, toys, tmp_path):
    answers = obey(f"{PUT} 2 2 4 6 4 3", "run StatefulPartitionedCall:1 StatefulPartitionedCall:0", "get 1 found")

    assert answers == ["ok", "ok", "ok float32 2 3 3"]
    expected = toys.expected(bold)["features"]
    np.testing.assert_allclose(np.fromfile(tmp_path / "found", "float32"), expected.ravel(), rtol=1e-5, atol=1e-4)


def test_an_input_can_be_replaced_and_a_failed_run_survived(obey, bold, tmp_path):
    answers = obey(
        "run StatefulPartitionedCall:1",
        f"{PUT} 2 2 4 6 4 3",
        f"{PUT} 1 4 4 6 4 3",
        "run StatefulPartitionedCall:1",
        f"{PUT} 2 2 4 6 4 3",
        "run StatefulPartitionedCall:1",
        "get 0 found",
    )

    assert [answer.split()[0] for answer in answers] == ["error", "ok", "ok", "error", "ok", "ok", "ok"]
    np.testing.assert_allclose(np.fromfile(tmp_path / "found", "float32"), np.tanh(bold).ravel(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "error expected put, run or get, found nothing"),
        ("stop", "error expected put, run or get, found stop"),
        ("put", "error expected OPERATION:INDEX, found none"),
        ("put nothing", "error expected OPERATION:INDEX, found nothing"),
        (f"put {'x' * 2000}:0 float32 bold 1", f"error expected OPERATION:INDEX, found {'x' * 800}"),
        ("put nothing:0", "error no operation nothing in the graph"),
        ("put serving_default_bold:1", "error expected a number from 0 to 0, found 1"),
        ("put serving_default_bold:-1", "error expected a number from 0 to 0, found -1"),
        ("put serving_default_bold:", "error expected a number from 0 to 0, found "),
        ("put serving_default_bold:0 float31", "error no such dtype: float31"),
        ("put serving_default_bold:0 float32", "error expected a file"),
        ("put serving_default_bold:0 float32 none 1", "error none: No such file or directory"),
        (f"{PUT} 2 2 4 6 4 4", "error bold: expected 6144 bytes, found fewer"),
        (f"{PUT} 2 2 4 6 4 2", "error bold: expected 3072 bytes, found more"),
        (f"{PUT} 1.5", "error expected a number from 0 to 9223372036854775807, found 1.5"),
        (f"{PUT} 99999999999999999999", "error expected a number from 0 to 9223372036854775807, found 999"),
        (f"{PUT} 9223372036854775807 9", "error an array larger than the memory"),
        (f"{PUT} {' '.join('1' * 9)}", "error more than 8 axes"),
        (f"run {' '.join(['StatefulPartitionedCall:0'] * 65)}", "error more than 64 outputs"),
        ("get 0 found", "error nothing was computed"),
    ],
)
def test_a_line_that_makes_no_sense_is_an_error(obey, bold, line, answer):
    first, second = obey(line, "get 0 found")

    assert first.startswith(answer)
    assert second == "error nothing was computed"


def test_a_folder_that_is_no_savedmodel_is_an_error(program, tmp_path):
    done = subprocess.run([program, tmp_path], input="", capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout.startswith("error Could not find SavedModel")
    assert done.stdout.count("\n") == 1


def test_a_missing_compiler_is_one_line(adapter, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(MachineError, match=r"^TensorFlow C API: no C compiler .*; install one, such as gcc$"):
        adapter.compile_program(tmp_path / "program")


def test_a_compiler_that_fails_is_quoted(adapter, tmp_path):
    with pytest.raises(MachineError, match=r"^TensorFlow C API: cc could not compile tensorflow_c\.c: .*error") as told:
        adapter.compile_program(tmp_path / "program", "--no-such-flag")

    assert "\n" not in str(told.value)


@pytest.fixture
def session(adapter, program, toys, tmp_path, monkeypatch):
    """A session whose program was compiled already, and whose temporary files lie in ``tmp_path``."""
    monkeypatch.setattr(adapter, "compile_program", lambda target: shutil.copy(program, target))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return adapter.load(toys.artifact("savedmodel"), "cpu")


def test_a_program_that_dies_is_one_line(session, toys):
    os.kill(session.pid, signal.SIGKILL)

    with pytest.raises(MachineError, match=r"^TensorFlow C API: ended without an answer, with exit status -9$"):
        session({"bold": toys.clips(1)})


def test_what_the_program_says_is_told(session):
    with pytest.raises(MachineError, match=r"^TensorFlow C API: no operation nothing in the graph$"):
        session._program.ask("run nothing:0")


def test_program_and_files_go_with_the_session(adapter, program, toys, tmp_path, monkeypatch):
    monkeypatch.setattr(adapter, "compile_program", lambda target: shutil.copy(program, target))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    session = adapter.load(toys.artifact("savedmodel"), "cpu")
    pid = session.pid
    session({"bold": toys.clips(1)})
    os.kill(pid, 0)

    del session
    gc.collect()

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
