"""The outermost function: reports every error in one line, with the right exit status."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from swift_export.cli.failures import DEBUG, PROGRAM, describe
from swift_export.system.large_pages import restart_with_large_pages
from swift_export.system.late_imports import import_late
from swift_export.system.signals import HungUp, Terminated, handle_signals, ignore_signals, raise_arrived
from swift_export.system.text import one_line, printable

__all__ = ["DEBUG", "HUNG_UP", "INTERRUPTED", "TERMINATED", "main"]

#: Environment of the libraries and worker processes; the user's own values take precedence.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # TensorFlow prints a greeting on stderr, which is for errors here
    # No telemetry: ONNX Runtime and the hub's client would otherwise report their use.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
HUNG_UP = 128 + signal.SIGHUP
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_STOPPED = {HUNG_UP: "hung up", INTERRUPTED: "interrupted", TERMINATED: "terminated"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on ``arguments`` (default: the process's) and return the exit status.

    0 done, 1 a check or the machine failed, 2 bad usage or bad input, 129 hung up, 130 interrupted, 143 terminated.

    With ``arguments``, a program calls it, whose signals stay as they are: what it ignores, its children ignore, too.
    """
    try:
        if arguments is None:
            if sys.argv[1:2] == ["serve"]:
                restart_with_large_pages()
            handle_signals()
        _print_in_any_encoding()
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import_late()
        status = _run(list(sys.argv[1:] if arguments is None else arguments) or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed it. Python would report an error on its last flush.
        _to_nobody(sys.stdout)
        return 1
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Terminated:
        status = TERMINATED
    except HungUp:
        status = HUNG_UP
    # The command is complete; ending the interpreter takes a while after jax.
    if arguments is None:
        ignore_signals()
    if status in _STOPPED:
        with suppress(OSError):  # its terminal may be gone
            _say(_STOPPED[status])
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                _to_nobody(stream)
    return status


def _print_in_any_encoding() -> None:
    """Escape characters that the terminal's encoding lacks, so that a name cannot cause a failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    from swift_export.cli.app import app

    try:
        # Not standalone: typer would print several lines for an error.
        return app(args=arguments, prog_name=PROGRAM, standalone_mode=False) or 0
    except BrokenPipeError:
        raise
    except Exception as error:
        return _fail(error, *describe(error))


def _fail(error: BaseException, message: str, status: int) -> int:
    raise_arrived()
    if os.environ.get(DEBUG):
        lines = "".join(traceback.format_exception(error)).splitlines()
        print(*map(printable, lines), sep="\n", file=sys.stderr)
    _say(f"error: {message}")
    return status


def _to_nobody(stream: TextIO) -> None:
    """Discard further output to the stream, without another error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(message: str) -> None:
    print(one_line(f"{PROGRAM}: {message}"), file=sys.stderr)
