"""Runs two files on the same inputs in one process, and times them by turns.

``python -m swift_export.parity.measure.side_by_side FOLDER``. Times of two processes, or of one file after the other,
would also compare the machine's load at two moments.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from swift_export.errors import MachineError
from swift_export.parity.measure.cases import Case
from swift_export.parity.results import Outputs
from swift_export.runtimes.registry import RUNTIMES
from swift_export.system.arrays import load_array, save_array
from swift_export.system.exchange import read_answer, read_request, write_answer, write_request
from swift_export.system.processes import WITHOUT_GPU, Child
from swift_export.system.rounds import take_turns, timed
from swift_export.system.text import error_line

__all__ = ["SideBySide", "main", "run_side_by_side"]

#: Timed calls of each file, after one that is not timed.
_ROUNDS = 7


@dataclass(frozen=True, eq=False)
class SideBySide:
    """The outputs of two files for each case, and the time of the second one over that of the first one.

    ``ratio`` is the median over pairs of calls, one after the other: other load on the machine meets both.
    """

    outputs: tuple[tuple[Outputs, Outputs], ...]
    ratio: float
    runtime: str


def run_side_by_side(first: Path, second: Path, runtime: str, cases: Sequence[Case], folder: Path) -> SideBySide:
    """Run two files on every case, on the CPU, and time them on the first one.

    ``folder`` is an empty folder. Raises MachineError if a file cannot be loaded or run, or the process broke.
    """
    request = {
        "files": [str(first), str(second)],
        "runtime": runtime,
        "cases": [{name: list(files) for name, files in case.files.items()} for case in cases],
    }
    write_request(folder, request)
    with Child(__name__, folder, f"running {second.name} beside {first.name}", WITHOUT_GPU) as child:
        child.wait()
    answer = read_answer(folder)
    if "error" in answer:
        raise MachineError(f"{second.name}: {RUNTIMES[runtime].title} cannot run it: {answer['error']}")
    outputs = [[{name: load_array(file) for name, file in one.items()} for one in case] for case in answer["outputs"]]
    ratio = median(after / before for before, after in zip(*answer["seconds"], strict=True))
    return SideBySide(tuple((one, other) for one, other in outputs), ratio, answer["runtime"])


def main(folder: Path) -> None:
    """Answer the request in ``folder``."""
    try:
        write_answer(folder, _answer(folder, read_request(folder)))
    except Exception as error:  # a runtime's errors have no common type
        write_answer(folder, {"error": error_line(error)})


def _answer(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    load = RUNTIMES[request["runtime"]].adapter().load
    sessions = [load(Path(file), "cpu") for file in request["files"]]
    cases = [{name: _joined(files) for name, files in case.items()} for case in request["cases"]]
    written: list[list[dict[str, str]]] = []
    for number, case in enumerate(cases):
        written.append([{} for _ in sessions])
        for one, session in enumerate(sessions):
            for place, (name, array) in enumerate(session(case).items()):
                file = folder / f"{number}-{one}-{place}.npy"
                save_array(file, array)
                written[-1][one][name] = str(file)
    turns = {str(one): partial(timed, partial(session, cases[0])) for one, session in enumerate(sessions)}
    seconds = list(take_turns(turns, least=_ROUNDS).values())
    info = sessions[0].info
    return {"outputs": written, "seconds": seconds, "runtime": f"{info.name} {info.version}"}


def _joined(files: Sequence[str]) -> np.ndarray:
    arrays = [load_array(file) for file in files]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
