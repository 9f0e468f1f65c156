"""Runs one artifact in a separate process: ``python -m swift_export.runtimes.worker FOLDER``.

The folder contains the request; answer and outputs are written into it. Exit status 0 means that there is an answer,
possibly a failure; any other status means that the process broke.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from swift_export.errors import LoweringError, MachineError, SwiftExportError
from swift_export.runtimes._blocked import block_imports
from swift_export.runtimes.base import (
    Arrays,
    Device,
    InputSpec,
    LoadError,
    Precision,
    Remote,
    Session,
    check_device,
    check_precision,
    file_label,
    is_out_of_memory,
)
from swift_export.runtimes.messages import Answer, Failure, Request, Run, RunResult, read_request, write_answer
from swift_export.runtimes.registry import RUNTIMES, Runtime, check_ability, require
from swift_export.system.arrays import load_array, save_array
from swift_export.system.disk import disk_is_full
from swift_export.system.machine import keep_to_processors
from swift_export.system.process_figures import peak_bytes
from swift_export.system.rounds import timed
from swift_export.system.text import error_line

__all__ = ["failing_call", "main", "open_session", "run_inputs", "serve", "write_outputs"]


def main(folder: Path) -> None:
    """Execute the request in ``folder`` and write the answer beside it."""
    try:
        answer: Answer | Failure = serve(read_request(folder), folder)
    except SwiftExportError as error:
        answer = Failure(type(error).__name__, str(error))
    except OSError as error:
        if not disk_is_full(error):
            raise
        answer = Failure("MachineError", f"{folder.parent}: the disk is full; free some space or set TMPDIR")
    write_answer(answer, folder)


def serve(request: Request, folder: Path) -> Answer:
    """Load the artifact and do every run; outputs go to ``folder``."""
    session, load_s = open_session(request)
    path = Path(request.artifact)
    runs = tuple(_run(session, run, folder / f"run{i}", path) for i, run in enumerate(request.runs))
    return Answer(session.info, load_s, runs, peak_bytes(session.pid if isinstance(session, Remote) else None))


def open_session(request: Request) -> tuple[Session, float]:
    """Load the artifact of a request; returns the session and the seconds that this took.

    The process then cannot import what users of the artifact do not have, and keeps to the request's processors.
    """
    if request.threads is not None:
        keep_to_processors(request.threads)
    runtime, path = RUNTIMES[request.runtime], Path(request.artifact)
    device, precision = check_device(request.device), check_precision(request.precision)
    check_ability(runtime, device, precision)
    require(runtime)
    block_imports(runtime.blocked)
    start = time.perf_counter()
    session = _load(runtime, path, device, precision)
    return session, time.perf_counter() - start


def _load(runtime: Runtime, path: Path, device: Device, precision: Precision) -> Session:
    adapter = runtime.adapter()
    try:
        return adapter.load(path, device, precision)
    except LoweringError as error:  # StableHLO without a program
        raise LoadError(f"{file_label(path)}: {runtime.title} cannot load it: {error}") from error
    except SwiftExportError:
        raise
    except Exception as error:  # every runtime has its own error types for a damaged file
        raise LoadError(f"{file_label(path)}: {runtime.title} cannot load it: {error_line(error)}") from error


def _run(session: Session, run: Run, folder: Path, path: Path) -> RunResult:
    inputs = run_inputs(run)
    with failing_call(session, inputs, path):
        start = time.perf_counter()
        outputs = session(inputs)
        first_s = time.perf_counter() - start
        call_s = tuple(timed(lambda: session(inputs), run.repeat))
        compute_s: tuple[float, ...] = ()
        if run.repeat and run.compute:
            compute = session.place(inputs)
            compute()
            compute_s = tuple(timed(compute, run.repeat))
    if run.keep is not None:
        outputs = {name: outputs[name] for name in run.keep}
    return RunResult(write_outputs(outputs, folder, path), first_s, call_s, compute_s)


def run_inputs(run: Run) -> dict[str, np.ndarray]:
    """The arrays of a run by input."""
    return {name: _joined(files) for name, files in run.inputs.items()}


@contextmanager
def failing_call(session: Session, inputs: Arrays, path: Path) -> Iterator[None]:
    """Turn the errors of a runtime's calls into MachineError, in one line."""
    try:
        yield
    except SwiftExportError:
        raise
    except Exception as error:  # every runtime has its own error types for a call that fails, too
        what, reason = f"{file_label(path)}: {session.info.name}", error_line(error)
        if is_out_of_memory(error):
            raise MachineError(
                f"{what} ran out of memory on {_described(inputs)}; use a smaller batch ({reason})"
            ) from error
        raise MachineError(f"{what} failed on {_described(inputs)}: {reason}") from error


def write_outputs(outputs: Arrays, folder: Path, path: Path) -> dict[str, str]:
    """Write outputs to a new folder; returns the files by output. Raises LoadError for one that is no array."""
    folder.mkdir()
    # By number, because an artifact's name may be `../x`.
    files = {name: str(folder / f"{number}.npy") for number, name in enumerate(outputs)}
    for name, file in files.items():
        _refuse_objects(outputs[name], f"{file_label(path)}: output {name}")
        save_array(file, outputs[name])
    return files


def _joined(files: Sequence[str]) -> np.ndarray:
    arrays = [load_array(file) for file in files]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _described(inputs: Arrays) -> str:
    return ", ".join(f"{name} {InputSpec(name, str(array.dtype), array.shape)}" for name, array in inputs.items())


def _refuse_objects(output: object, what: str) -> None:
    """Refuse text, sequences and maps, which are Python objects here and would be written as pickles."""
    if not isinstance(output, (np.ndarray, np.generic)) or output.dtype.hasobject:
        found = getattr(output, "dtype", type(output).__name__)
        raise LoadError(f"{what}: expected an array of numbers, found {found}; export a model that returns numbers")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
