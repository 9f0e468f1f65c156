"""Commands in processes of their own that need not import the libraries again.

    python -P forking.py        imports them once, then forks for every command that it is sent

A command runs in its own process, with its own arguments, folder, environment, streams and exit status. What takes a
second of each of them is left out: importing, which took place before, and taking the interpreter down. Both belong to
the tests that start a new Python: those of signals, of terminals, of what is imported, and all that set variables which
are read on import.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Nearly all that commands import; nothing that starts threads.
MODULES = (
    *("numpy", "jax", "jax.export", "equinox", "onnx", "onnx.reference", "onnx_ir", "onnx_ir.passes.common"),
    *("safetensors.numpy", "typer.rich_utils", "pydantic.type_adapter"),
    *("swift_export.cli.app", "swift_export.exporting", "swift_export.parity", "swift_export.artifacts"),
    *("swift_export.converter.passes", "swift_export.scans.run"),
)
#: What a command may be given in another way than the process that forks: it is read when it is needed.
VARIABLES = re.compile(r"XDG_CACHE_HOME|HF_\w+|TMPDIR|SWIFT_EXPORT_\w+|CUDA_VISIBLE_DEVICES")
#: Longer than any request.
BYTES = 2**20


class Forking:
    """The process that forks; ends with the context."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> Forking:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait(60)

    def takes(self, settings: Mapping[str, str]) -> bool:
        """Whether a command may be given these variables here."""
        return all(map(VARIABLES.fullmatch, settings))

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run ``swift-export ARGUMENTS...`` and wait for its end."""
        request = json.dumps([arguments, os.fspath(cwd), dict(environment)]).encode()
        with tempfile.TemporaryFile("w+", encoding="utf-8") as stdout, tempfile.TemporaryFile("w+") as stderr:
            socket.send_fds(self._socket, [request], [stdout.fileno(), stderr.fileno()])
            answer = self._socket.recv(64)
            assert answer, "the process that forks has ended"
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(arguments, int(answer), stdout.read(), stderr.read())


def serve(requests: socket.socket) -> None:
    """Fork for each request, until there are none; the forked process returns, with its arguments set."""
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # a collection in a forked process would copy all of it
    while True:
        request, streams, _, _ = socket.recv_fds(requests, BYTES, 2)
        if not request:
            sys.exit()
        number = os.fork()
        if not number:
            requests.close()
            arguments, folder, environment = json.loads(request)
            for stream, own in zip(streams, (1, 2), strict=True):
                os.dup2(stream, own)
                os.close(stream)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv[1:] = arguments
            return
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(number, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    serve(socket.socket(fileno=int(sys.argv[1])))
    from swift_export.cli import main

    status = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
