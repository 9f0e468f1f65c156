"""A worker's process: answers, isolation, and one clear error whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError, MachineError
from swift_export.runtimes.base import LoadError
from swift_export.runtimes.messages import Request, Run, write_request
from swift_export.runtimes.process import Child, Worker, run_worker
from swift_export.runtimes.registry import RUNTIMES


@pytest.fixture
def clips(toys, tmp_path):
    """Three clips on disk, as one batch and as files."""
    bold = toys.clips(3)
    files = [str(tmp_path / f"clip{i}.npy") for i in range(len(bold))]
    for i, file in enumerate(files):
        np.save(file, bold[i : i + 1])
    return bold, tuple(files)


@pytest.fixture
def stuck(tmp_path):
    """A worker that waits for a file's content for ever."""
    artifact = tmp_path / "model.jax"
    os.mkfifo(artifact)
    folder = tmp_path / "stuck"
    folder.mkdir()
    # Opening the other end waits until the worker has come as far as reading its artifact.
    with Worker(Request("jax_export", str(artifact), "cpu", ()), folder) as worker, artifact.open("wb"):
        yield worker


def request(name, path, *runs, repeat=0):
    return Request(name, str(path), "cpu", tuple(Run({"bold": clips}, repeat) for clips in runs))


def test_an_artifact_is_loaded_once_and_runs_every_batch(toys, clips, tmp_path, runtime):
    bold, files = clips
    folder = tmp_path / "worker"
    folder.mkdir()

    answer = run_worker(request(runtime, toys.path(runtime), files[:1], files, files[1:], repeat=2), folder)

    assert answer.info.name == RUNTIMES[runtime].title
    assert answer.load_s > 0
    assert 10 * 2**20 < answer.peak_bytes < 4 * 2**30
    for result, batch in zip(answer.runs, (bold[:1], bold, bold[1:]), strict=True):
        for key, value in toys.expected(batch).items():
            np.testing.assert_allclose(np.load(result.outputs[key]), value, rtol=1e-5, atol=1e-4)
        assert result.first_s > 0
        assert len(result.call_s) == len(result.compute_s) == 2


def test_nothing_that_made_the_artifact_is_imported(toys, tmp_path, runtime):
    write_request(request(runtime, toys.path(runtime)), tmp_path)
    program = (
        "import sys; from pathlib import Path; from swift_export.runtimes.worker import main; "
        "main(Path(sys.argv[1])); print(*sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)

    modules = set(done.stdout.split())
    assert set(RUNTIMES[runtime].packages) <= modules
    assert not modules & {"equinox", "flax", "haiku", "swift_export.models", "swift_export.lowering"}
    if runtime not in ("jax_export", "portable"):
        assert not modules & {"jax", "jaxlib"}


def test_a_blocked_module_cannot_be_imported(tmp_path):
    program = (
        "from swift_export.runtimes._blocked import block_imports\n"
        "block_imports(['jax'])\n"
        "try: import jax.numpy\n"
        "except ModuleNotFoundError as error: print(error)\n"
        "import json\n"
        "try: block_imports(['json'])\n"
        "except RuntimeError as error: print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "jax is blocked in this process",
        "imported before they could be blocked: json",
    ]


@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(1000)])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, runtime, content):
    artifact = tmp_path / "model"
    file = artifact
    if "savedmodel" in RUNTIMES[runtime].reads:
        artifact.mkdir()
        file = artifact / "saved_model.pb"
    file.write_bytes(content)

    with pytest.raises(LoadError, match=rf"model: {RUNTIMES[runtime].title} cannot load it: .+") as caught:
        run_worker(request(runtime, artifact), tmp_path)

    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_the_workers_own_error_comes_through(toys, tmp_path):
    clip = tmp_path / "clip.npy"
    np.save(clip, toys.clips(1).astype(np.float64))

    with pytest.raises(InputError, match=r"model\.onnx: bold: expected float32 .* found float64"):
        run_worker(request("onnxruntime", toys.path("onnxruntime"), (str(clip),)), tmp_path)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGKILL, "jax.export on model.jax: killed, probably because memory ran out"),
        (signal.SIGSEGV, "jax.export on model.jax: crashed with SIGSEGV"),
    ],
)
def test_a_process_that_dies_is_one_line(stuck, number, message):
    os.kill(stuck.pid, number)

    with pytest.raises(MachineError, match=f"^{message}") as caught:
        stuck.answer()

    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 1


def test_a_process_that_hangs_is_ended(stuck):
    with pytest.raises(MachineError, match=r"jax\.export on model\.jax: no answer after 1 s"):
        stuck.answer(timeout_s=1)


def test_a_broken_process_is_told_by_its_last_telling_line(toys, tmp_path):
    # Output is written to a folder that vanishes: nobody's fault that the project knows of.
    with pytest.raises(MachineError, match=r"ended with exit status 1: FileNotFoundError: .*gone\.npy"):
        run_worker(request("onnxruntime", toys.path("onnxruntime"), (str(tmp_path / "gone.npy"),)), tmp_path)


def test_ctrl_c_ends_the_worker_too(tmp_path, popen):
    artifact, folder = tmp_path / "model.jax", tmp_path / "worker"
    os.mkfifo(artifact)
    folder.mkdir()
    program = (
        "import sys; from pathlib import Path\n"
        "from swift_export.runtimes.messages import Request\n"
        "from swift_export.runtimes.process import Worker\n"
        "with Worker(Request('jax_export', sys.argv[1], 'cpu', ()), Path(sys.argv[2])) as worker:\n"
        "    print(worker.pid, flush=True)\n"
        "    worker.answer()\n"
    )
    caller = popen(
        [sys.executable, "-c", program, str(artifact), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    worker = int(caller.stdout.readline())
    with artifact.open("wb"):
        caller.send_signal(signal.SIGINT)
        assert caller.wait(60) != 0

    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_packages_can_come_from_another_folder(toys, tmp_path):
    package = tmp_path / "packages/onnxruntime"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text("raise ImportError('the package of that folder')")

    with pytest.raises(MachineError, match="ImportError: the package of that folder"):
        run_worker(request("onnxruntime", toys.path("onnxruntime")), tmp_path, search=[package.parent])


@pytest.mark.parametrize("waited", [True, False])
def test_what_a_process_starts_and_leaves_goes_with_it(tmp_path, waited):
    left = tmp_path / "left.txt"
    (tmp_path / "leaver.py").write_text(
        "import subprocess, sys, tempfile, time; from pathlib import Path\n"
        "sleeper = subprocess.Popen(['sleep', '60'])\n"
        "Path(sys.argv[1], 'writing').write_text(f'{sleeper.pid} {tempfile.mkdtemp()}')\n"
        "Path(sys.argv[1], 'writing').rename(Path(sys.argv[1], 'left.txt'))\n"
        f"time.sleep({0 if waited else 60})\n"
    )

    with Child("leaver", tmp_path, "the leaver", {"PYTHONPATH": str(tmp_path)}) as child:
        if waited:
            child.wait()
        while not left.exists():
            time.sleep(0.02)

    sleeper, folder = left.read_text().split()
    assert Path(folder).is_relative_to(tmp_path)
    # It may take its time to go, and whoever inherits it to take notice.
    end = time.monotonic() + 60
    while running(int(sleeper)):
        assert time.monotonic() < end


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
