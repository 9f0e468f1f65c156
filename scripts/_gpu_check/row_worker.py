"""One row in a separate process: ``python -m _gpu_check.row_worker FOLDER``, where FOLDER holds a `Request`.

The outcome is written after every step: a process that is killed or crashes loses only its last one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from _gpu_check.outcomes import CaseFiles, Compared, Outcome, Request, Spread, Timed, write_outcome
from swift_export.errors import SwiftExportError, UsageError
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.tolerances import Tolerance, tolerance
from swift_export.runtimes.base import AbsentDevice, Session, is_out_of_memory
from swift_export.system.arrays import load_array
from swift_export.system.exchange import read_request
from swift_export.system.nvml import find_card
from swift_export.system.rounds import Timing, timed
from swift_export.system.text import error_line

__all__ = ["main"]

INPUT, OUTPUT = "bold", "features"
#: Calls of a timing, however long they take.
LEAST = 3


def main(folder: Path) -> None:
    """Execute the request in ``folder``."""
    fields = read_request(folder)
    cases = tuple(CaseFiles(case["input"], tuple(case["clips"]), case["expected"]) for case in fields.pop("cases"))
    request = Request(**{**fields, "batches": tuple(fields.pop("batches"))}, cases=cases)
    outcome = Outcome()
    try:
        _run(request, outcome, lambda: write_outcome(outcome, folder))
        outcome.status = "failed" if outcome.reason else "measured"
    except (AbsentDevice, UsageError) as error:
        outcome.status, outcome.reason = "absent", str(error)
    except SwiftExportError as error:
        outcome.status, outcome.reason = "failed", str(error)
    except Exception as error:  # every runtime has its own error types
        outcome.status, outcome.reason = "failed", _reason(error)
    write_outcome(outcome, folder)


def _reason(error: BaseException) -> str:
    if is_out_of_memory(error):
        return f"out of memory: {error_line(error)}"
    return f"{type(error).__name__}: {error_line(error)}"


def _run(request: Request, outcome: Outcome, save: Callable[[], None]) -> None:
    from _gpu_check.engines import load

    if request.engine == "peaks":
        from _gpu_check.peaks import measure_peaks

        outcome.peaks = measure_peaks(request.device)
        return
    card = find_card() if request.device == "gpu" else None
    before = card.used_bytes() if card else None
    start = time.perf_counter()
    session, outcome.reason = load(request)
    outcome.load_s = time.perf_counter() - start
    info = session.info
    outcome.runtime = f"{info.name} {info.version}"
    settings = [f"{name} {value}" for name, value in info.settings.items()]
    outcome.how = "; ".join([f"on {info.device}", *settings, f"providers {', '.join(info.providers)}"])
    save()
    allowed = tolerance(request.precision, request.device)
    for batch in request.batches:
        try:
            for case in request.cases:
                if len(case.clips) == batch:
                    outcome.compared.append(_compared(case, session, allowed))
                    save()
            outcome.timed.append(_timed(request, session, batch, before))
        except Exception as error:
            if not is_out_of_memory(error) or not outcome.compared:
                raise
            outcome.notes.append(f"batch {batch}: out of memory")
        save()


def _compared(case: CaseFiles, session: Session, allowed: Tolerance) -> Compared:
    clips = _joined(case.clips).astype(session.inputs[0].dtype, copy=False)
    found = session({INPUT: clips})[OUTPUT]
    # A file that takes float16 returns it, too.
    difference = compare(found.astype(np.float32) if found.dtype == clips.dtype else found, load_array(case.expected))
    return Compared(
        case.input,
        len(clips),
        difference.relative_l2,
        difference.relative_max,
        allowed.relative_l2,
        allowed.relative_max,
        difference.within(allowed),
        str(difference),
    )


def _timed(request: Request, session: Session, batch: int, before: int | None) -> Timed:
    clips = next(case.clips for case in reversed(request.cases))
    joined = _joined([clips[item % len(clips)] for item in range(batch)])
    inputs = {INPUT: joined.astype(session.inputs[0].dtype, copy=False)}
    session(inputs)  # compiles, if no comparison did
    call = Timing(timed(lambda: session(inputs), LEAST, request.seconds))
    compute = session.place(inputs)
    compute()
    card = find_card() if request.device == "gpu" else None
    joules = card.joules() if card else None
    times = Timing(timed(compute, LEAST, request.seconds))
    energy = None
    if card is not None and joules is not None:
        energy = ((card.joules() or joules) - joules) / (batch * len(times.seconds))
    used = card.used_bytes() if card else None
    memory = None if used is None or before is None else max(0, used - before)
    return Timed(batch, Spread.of(times), Spread.of(call), memory, energy)


def _joined(files: Sequence[str]) -> np.ndarray:
    arrays = {file: load_array(file) for file in dict.fromkeys(files)}
    return np.concatenate([arrays[file] for file in files])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
