"""TensorFlow Serving: its server started, asked by its own stubs, and stopped whatever happens.

The server is a stand-in, see model_server.py: the real one comes in no package.
"""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import forkserver
import numpy as np
import pytest

from swift_export.errors import InputError, MachineError, UsageError
from swift_export.runtimes.messages import Request, Run
from swift_export.runtimes.process import Worker, run_worker
from swift_export.runtimes.registry import RUNTIMES

pytestmark = [pytest.mark.requires("savedmodel"), pytest.mark.requires("serving")]

STAND_IN = Path(__file__).with_name("model_server.py")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a shell script onto the PATH as the server."""

    def install(*lines):
        programs = tmp_path / "programs"
        programs.mkdir()
        program = programs / "tensorflow_model_server"
        program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    return install


#: TensorFlow takes seconds to import, which a version need not wait for.
VERSION = '[ "$1" = --version ] && exec echo "TensorFlow ModelServer: 0.0.0-stand-in"'


@pytest.fixture
def server(install):
    """The stand-in on the PATH, which finds TensorFlow imported."""
    install(VERSION, f'exec {shlex.join(forkserver.python(forkserver.SERVER, [], os.environ))} "$@"')


@pytest.fixture
def new_server(install):
    """The stand-in as a new Python, all of whose memory is its own."""
    install(VERSION, f'exec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} "$@"')


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files of this process go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def load(path, ready_s=120.0):
    from swift_export.runtimes.tensorflow_serving import ServingSession

    return ServingSession(path, ready_s)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended and that nobody has waited for yet is not alive, either.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, what, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


def test_a_server_is_asked_and_stopped(server, scratch, toys):
    session = load(toys.artifact("savedmodel"))
    pid = session.pid

    # 3,000 are 7 MB each way: more than gRPC takes unasked.
    for batch in (1, 3000):
        bold = toys.clips(batch)
        found = session({"bold": bold})
        for name, value in toys.expected(bold).items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-4)
    session.place({"bold": bold})()
    with pytest.raises(InputError, match=r"savedmodel/1: bold: expected float32 \(any, 2, 4, 6, 4, 3\), found "):
        session({"bold": bold[:, :1]})

    info = session.info
    assert (info.name, info.version, info.arithmetic) == ("TensorFlow Serving", "0.0.0-stand-in", "float32")
    assert info.providers == ("tensorflow_model_server",)
    assert alive(pid)
    del session
    gc.collect()
    assert not alive(pid)
    assert list(scratch.glob("swift-export-*")) == []


def test_a_worker_serves_exactly_this_version(new_server, toys, tmp_path):
    # Another version lies beside it: a server that were given the folder would take that one.
    versions = tmp_path / "versions"
    shutil.copytree(toys.artifact("savedmodel"), versions / "1")
    (versions / "2").mkdir()
    clip, folder = tmp_path / "clip.npy", tmp_path / "worker"
    folder.mkdir()
    np.save(clip, toys.clips(1))

    run = Run({"bold": (str(clip),)}, 1)
    answer = run_worker(Request("tensorflow_serving", str(versions / "1"), "cpu", (run,)), folder)

    assert answer.info.name == RUNTIMES["tensorflow_serving"].title
    expected = toys.expected(toys.clips(1))["features"]
    np.testing.assert_allclose(np.load(answer.runs[0].outputs["features"]), expected, rtol=1e-5, atol=1e-4)
    assert len(answer.runs[0].call_s) == len(answer.runs[0].compute_s) == 1
    # Of the server, which holds TensorFlow, not of the process that asks it.
    assert answer.peak_bytes > 100 * 2**20


def test_errors_of_the_server_are_one_line(server, scratch, toys):
    session = load(toys.artifact("savedmodel"))
    request = session._request({"bold": toys.clips(1)})
    request.model_spec.name = "another"

    with pytest.raises(MachineError, match=r"^TensorFlow Serving: NOT_FOUND: Servable not found for request: another$"):
        session._server.predict(request)

    os.kill(session.pid, signal.SIGKILL)
    wait_for(lambda: not alive(session.pid), "the server's end")
    with pytest.raises(MachineError, match=r"^TensorFlow Serving: UNAVAILABLE: ") as told:
        session({"bold": toys.clips(1)})
    assert "\n" not in str(told.value)


def test_a_model_that_the_server_refuses_is_one_line(server, scratch, toys, tmp_path):
    broken = tmp_path / "savedmodel" / "1"
    shutil.copytree(toys.artifact("savedmodel"), broken)
    shutil.rmtree(broken / "variables")

    message = r"^TensorFlow Serving on savedmodel/1: ended with exit status 1: Failed to start server\. .*variables"
    with pytest.raises(MachineError, match=message) as told:
        load(broken)

    assert "\n" not in str(told.value)
    gc.collect()
    assert list(scratch.glob("swift-export-*")) == []


def test_a_server_that_never_gets_ready_is_stopped(install, scratch, toys, tmp_path):
    pid_file = tmp_path / "pid"
    install(f"echo $$ > {shlex.quote(str(pid_file))}", "echo 'still thinking' >&2", "exec sleep 60")

    message = r"^TensorFlow Serving on savedmodel/1: not ready after 3 s: still thinking$"
    with pytest.raises(MachineError, match=message):
        load(toys.artifact("savedmodel"), ready_s=3)

    gc.collect()
    assert not alive(int(pid_file.read_text()))
    assert list(scratch.glob("swift-export-*")) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_killed_leaves_no_server(install, toys, tmp_path, number):
    pid_file, folder = tmp_path / "pid", tmp_path / "worker"
    folder.mkdir()
    install(f"echo $$ > {shlex.quote(str(pid_file))}", "exec sleep 60")
    request = Request("tensorflow_serving", str(toys.artifact("savedmodel")), "cpu", ())

    with Worker(request, folder) as worker:
        wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), "the server's start")
        server = int(pid_file.read_text())
        assert alive(server)
        os.kill(worker.pid, number)
        with pytest.raises(MachineError, match="TensorFlow Serving on savedmodel/1: "):
            worker.answer()

    wait_for(lambda: not alive(server), "the server's end")


def test_without_the_server_it_is_not_installed(monkeypatch, tmp_path, toys):
    monkeypatch.setenv("PATH", str(tmp_path))

    message = r"^TensorFlow Serving is not installed \(tensorflow_model_server not found\): install TensorFlow Serv"
    with pytest.raises(UsageError, match=message):
        run_worker(Request("tensorflow_serving", str(toys.artifact("savedmodel")), "cpu", ()), tmp_path)
