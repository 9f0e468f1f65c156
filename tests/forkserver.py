"""Processes of this package that need not import the libraries again: forked by one that has imported them.

    python -P forkserver.py FOLDER        listens to a socket in FOLDER for each of KINDS, until its input ends

A forked process has its own arguments, folder, environment, streams, process group and exit status. What takes seconds
of each is left out: importing, which took place before, and taking the interpreter down. Both belong to the tests that
start a new Python: those of signals, of terminals, of what is imported, and all that set variables which are read on
import. `forkclient.py` stands for the forked process: it has its streams and its end, and its death is that one's too.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import marshal
import os
import re
import runpy
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLIENT = str(Path(__file__).with_name("forkclient.py"))

_WORKER, _BENCH = "swift_export.runtimes.worker", "swift_export.benchmark.bench_worker"
_PROBES = "swift_export.parity.locate.probes"
_EXAMINING = "swift_export.parity.structure.examining"
_PACKAGE = (
    *("numpy", "jax", "jax.export", "equinox", "onnx", "onnx.reference", "onnx_ir", "onnx_ir.passes.common"),
    *("safetensors.numpy", "typer.rich_utils", "pydantic.type_adapter"),
    *("swift_export.cli.app", "swift_export.exporting", "swift_export.parity", "swift_export.artifacts"),
    *("swift_export.converter.passes", "swift_export.scans.run", "swift_export.models.swift.swift_model"),
    *(_EXAMINING, f"{_PROBES}.stablehlo_probe", "swift_export.runtimes.reference", _WORKER),
)
#: What a kind of process finds imported: nearly all that it imports itself, and nothing that it must do without.
KINDS: Mapping[str, Sequence[str]] = {
    "package": _PACKAGE,
    "package_tensorflow": (*_PACKAGE, "tensorflow", "jax.experimental.jax2tf", f"{_PROBES}.savedmodel_probe"),
    "jax": ("swift_export.runtimes.jax_export", "swift_export.runtimes.portable", _WORKER),
    "tensorflow": ("tensorflow", _WORKER),
    "other": (_WORKER,),
}
_OF_RUNTIME = {
    "reference": "package",
    "jax_export": "jax",
    "portable": "jax",
    "tensorflow": "tensorflow",
    "tensorflow_c": "tensorflow",
    "tensorflow_serving": "tensorflow",
}
_READERS = ("swift_export.runtimes._refining_apart", "swift_export.sources.first_read")
_GPU_CHECK = "_gpu_check"
#: Whose modules run there as well.
SCRIPTS = ROOT / "scripts"
#: Stands in for TensorFlow Serving.
SERVER = "tests.runtimes.model_server"
#: What a process may be given in another way than the server: it is read when it is needed.
VARIABLES = re.compile(
    "XDG_CACHE_HOME|TMPDIR|CUDA_VISIBLE_DEVICES|JAX_PLATFORMS|PYTHON(IOENCODING|PATH)"
    r"|TF_(CPP_MIN_LOG_LEVEL|FORCE_GPU_ALLOW_GROWTH)|(HF|SWIFT_EXPORT|XLA|ORT|PYTEST)_\w+"
)
#: Names the sockets' folder for descendants.
FOLDER = "TESTS_FORKSERVER"


def python(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command of a process ``python -P -m MODULE ARGUMENT...``: forked where it can be, else of a new Python."""
    folder = os.environ.get(FOLDER)
    if folder and _may_fork(environment) and (kind := _kind_of(module, arguments)):
        return [sys.executable, "-I", "-S", CLIENT, os.path.join(folder, kind), module, *arguments]
    return [sys.executable, "-P", "-m", module, *arguments]


def fork_children() -> None:
    """Have the children of this process forked too, where they can be."""
    from swift_export.system import processes

    processes._command = python


def write_shim(path: Path) -> Path:
    """Write a program for scripts that run ``$PYTHON -P -m MODULE ARGUMENT...``, any module of the package."""
    client = shlex.join(python(_GPU_CHECK, [], os.environ)[:-1])
    path.write_text(f'#!/bin/sh\nshift 2\nexec {client} "$@"\n')
    path.chmod(0o755)
    return path


def _kind_of(module: str, arguments: Sequence[str]) -> str | None:
    if module in (_WORKER, _BENCH):
        return _OF_RUNTIME.get(_request(arguments)["runtime"], "other")
    if module == SERVER:
        return "tensorflow"
    if module.partition(".")[0] == _GPU_CHECK:
        return "package"
    if module == "swift_export":
        return _package("all" in arguments[:1] or any("savedmodel" in argument for argument in arguments))
    if module == f"{_PROBES}.making":
        return _package(os.path.isdir(_request(arguments)["artifact"]))
    if module == _EXAMINING:
        return _package(any(map(os.path.isdir, _request(arguments)["artifacts"])))
    if module == "swift_export.formats.facts":
        return _package(os.path.isdir(arguments[0]))
    return "package" if module in _READERS else None


def _package(with_tensorflow: bool) -> str:
    return "package_tensorflow" if with_tensorflow else "package"


def _request(arguments: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(arguments[0], "request.json").read_text())
    return found


def _may_fork(environment: Mapping[str, str]) -> bool:
    changed = [name for name in {*environment, *os.environ} if environment.get(name) != os.environ.get(name)]
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    return all(map(VARIABLES.fullmatch, changed)) and {os.path.realpath(path) for path in paths if path} <= {
        str(ROOT),
        str(SCRIPTS),
    }


class ForkServer:
    """The server; ends with `close`, and at the latest with this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self.folder = os.path.join(self._folder.name, "ready")
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, self._folder.name],
            env={**environment, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
        )
        while not os.path.exists(self.folder):
            assert self._process.poll() is None, "the process that forks has ended"
            time.sleep(0.01)

    def close(self) -> None:
        """End the server and all that it forked."""
        with self._process:
            pass
        self._folder.cleanup()


def listen(folder: Path) -> None:
    """Listen for every kind; the first request of a kind forks the server that imports its libraries.

    Returns in forked processes, with their arguments set.
    """
    from swift_export.runtimes._blocked import block_imports
    from swift_export.runtimes.registry import RUNTIMES

    sys.path.append(str(SCRIPTS))
    folder.joinpath("made").mkdir()
    sockets = {}
    for kind in KINDS:
        sockets[kind] = socket.socket(socket.AF_UNIX)
        sockets[kind].bind(str(folder / "made" / kind))
        sockets[kind].listen(16)
    folder.joinpath("made").rename(folder / "ready")
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    for kind, own in sockets.items():
        selector.register(own, selectors.EVENT_READ, kind)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                sys.exit()
            selector.unregister(key.fileobj)
            if not os.fork():
                selector.close()
                own = sockets.pop(key.data)
                for other in sockets.values():
                    other.close()
                if key.data in RUNTIMES:
                    block_imports(RUNTIMES[key.data].blocked)  # TensorFlow looks for jax
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say while they are imported
                for name in KINDS[key.data]:
                    with suppress(ModuleNotFoundError):  # the process itself says what is missing
                        importlib.import_module(name)
                gc.freeze()  # a collection in a forked process would copy all of it
                gc.set_threshold(50_000, 20, 20)
                serve(own)
                return
            sockets.pop(key.data).close()


def serve(own: socket.socket) -> None:
    """Fork for each request, until the input ends; returns in forked processes, with their arguments set."""
    selector = selectors.DefaultSelector()
    for source in (own, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    ends: dict[int, int] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                for number in ends:
                    _kill(number)
                os._exit(0)
            elif key.fileobj is own:
                client, _ = own.accept()
                request, streams = _received(client)
                number = os.fork()
                if not number:
                    selector.close()
                    own.close()
                    client.close()
                    for end in ends.values():
                        os.close(end)
                    _become(*request, streams)
                    return
                for stream in streams:
                    os.close(stream)
                ends[number] = os.pidfd_open(number)
                selector.register(ends[number], selectors.EVENT_READ, (number, client))
                selector.register(client, selectors.EVENT_READ, (number, client))
            elif key.data[0] in ends:
                number, client = key.data
                if key.fileobj is client:  # it ended, so it was killed
                    _kill(number)
                _, status = os.waitpid(number, 0)
                with suppress(OSError):
                    client.send(str(os.waitstatus_to_exitcode(status)).encode())
                for source in (client, ends[number]):
                    selector.unregister(source)
                client.close()
                os.close(ends.pop(number))


def _received(client: socket.socket) -> tuple[tuple[list[str], str, dict[str, str], list[int]], list[int]]:
    """A request's arguments, folder, environment and processors, and its streams."""
    length, streams, _, _ = socket.recv_fds(client, 8, 3)
    with client.makefile("rb", buffering=0) as file:
        data = b""
        while len(data) < int.from_bytes(length):
            data += file.read(int.from_bytes(length) - len(data)) or b""
    return marshal.loads(data), streams


def _kill(number: int) -> None:
    """Kill a forked process and its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(number, signal.SIGKILL)


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], processors: Sequence[int], streams: Sequence[int]
) -> None:
    os.setsid()
    os.sched_setaffinity(0, processors)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    encoding, _, errors = environment.get("PYTHONIOENCODING", "utf-8:strict").partition(":")
    sys.stdin = os.fdopen(0, encoding=encoding, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding=encoding, errors=errors or "strict", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)
    sys.argv[:] = arguments


def run() -> int:
    """Run the module ``sys.argv`` as ``python -m`` does; returns its exit status."""
    module = sys.argv[0]
    fork_children()
    if "." in module:  # as in a new Python, it is not imported yet
        sys.modules.pop(module, None)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    listen(Path(sys.argv[1]))
    status = run()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
