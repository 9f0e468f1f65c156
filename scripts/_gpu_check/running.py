"""Runs the rows one after another, each in a process of its own, while time is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from _gpu_check.exporting import model_in
from _gpu_check.outcomes import CaseFiles, Outcome, Request, read_outcome
from _gpu_check.rows import Row
from swift_export.errors import MachineError
from swift_export.models import Model
from swift_export.parity.measure.cases import write_cases
from swift_export.parity.measure.running import expected_of, refuse_non_finite, run_reference
from swift_export.parity.measure.scratch import new_folder
from swift_export.runtimes.reference_file import write_reference
from swift_export.system.arrays import save_array
from swift_export.system.exchange import read_answer, write_request
from swift_export.system.processes import WITHOUT_GPU, Child

__all__ = ["Budget", "Run", "export_all", "prepare"]

SCRIPTS = Path(__file__).resolve().parents[1]
#: Batches whose features are compared, as far as a row has them.
COMPARED = (1, 4)
#: A row is not started with less time than this: it takes a runtime seconds to start on a GPU.
LEAST_S = {"gpu": 12.0, "cpu": 0.0}
#: For all exports, side by side.
EXPORT_S = 120.0
#: Kept for the last report.
RESERVE_S = 3.0


class Budget:
    """The time of the whole check, from its start."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left, without those kept for the last report."""
        return self._end - RESERVE_S - time.monotonic()


@dataclass(frozen=True)
class Run:
    """What all rows share. ``missing`` are reasons for absent exports, by precision and folder."""

    device: str
    folder: Path
    weights: Path
    cases: tuple[CaseFiles, ...]
    search: Path | None
    seconds: float
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def row(self, row: Row, budget: Budget) -> Outcome:
        """Run one row; whatever happens to its process, there is an outcome."""
        row = row.on(self.device)
        if reason := self._absent(row):
            return Outcome("absent", reason)
        if budget.left_s < LEAST_S[self.device]:
            return Outcome("not run", "no time was left")
        folder = new_folder(self.folder / row.name)
        write_request(folder, asdict(self._request(row)))
        limit = min(row.limit_s, budget.left_s) if self.device == "gpu" else budget.left_s
        try:
            with Child("_gpu_check.row_worker", folder, row.title, self._environment(row)) as child:
                child.wait(limit)
        except MachineError as error:
            found = read_outcome(folder)
            found.status, found.reason = "failed", str(error).removeprefix(f"{row.title}: ")
            if child.age_s >= limit:
                found.status, found.reason = "stopped", f"after {limit:.0f} s, its share of the time"
            return found
        return read_outcome(folder)

    def _absent(self, row: Row) -> str | None:
        if self.device not in row.devices:
            return f"not for a {self.device.upper()}"
        if row.package and find_spec(row.package) is None:
            return f"{row.package} is not installed"
        if row.exported is None:
            return None
        return self.missing[row.exported].get(row.folder)

    def _request(self, row: Row) -> Request:
        path = None if row.file is None else str(self.folder / f"exported-{row.exported}" / row.file)
        cases = tuple(case for case in self.cases if len(case.clips) in row.batches)
        return Request(
            row.engine,
            row.precision,
            self.device,
            path,
            str(self.weights),
            cases,
            row.batches,
            self.seconds,
        )

    def _environment(self, row: Row) -> dict[str, str]:
        search = [str(self.search)] if self.search and row.engine.startswith("onnxruntime") else []
        own = {"PYTHONPATH": os.pathsep.join([*search, str(SCRIPTS)])}
        if self.device == "cpu":
            return own | WITHOUT_GPU
        if row.engine.startswith("onnxruntime"):
            # Wheels of CUDA's libraries are outside the loader's search path.
            paths = [*_nvidia_libraries(), os.environ.get("LD_LIBRARY_PATH", "")]
            own["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
        return own


def _nvidia_libraries() -> list[str]:
    nvidia = find_spec("nvidia")
    places = list(nvidia.submodule_search_locations or ()) if nvidia else []
    return [str(path) for place in places for path in sorted(Path(place).glob("*/lib")) if path.is_dir()]


def prepare(architecture: str, folder: Path) -> tuple[Path, tuple[CaseFiles, ...]]:
    """The file of the weights, and the inputs with the reference's features, computed on the CPU."""
    model: Model = model_in(architecture, "float32")
    weights = folder / "weights.safetensors"
    write_reference(model, weights)
    cases = write_cases(model, model.check_inputs, [{"batch": batch} for batch in COMPARED], folder)
    _, expected = run_reference(
        model, [part for case in cases for part in case.parts], new_folder(folder / "reference")
    )
    refuse_non_finite(cases, expected)
    found = []
    for number, case in enumerate(cases):
        (clips,) = case.files.values()
        path = folder / f"expected{number}.npy"
        save_array(path, np.asarray(expected_of(case, expected)["features"]))
        found.append(CaseFiles(case.input, tuple(clips), str(path)))
    return weights, tuple(found)


def export_all(
    architecture: str, rows: Sequence[Row], folder: Path, meanwhile: Callable[[], None], limit_s: float
) -> dict[str, Mapping[str, str]]:
    """Export what the rows need, all precisions side by side, and do something else ``meanwhile``.

    Returns `Run.missing`.
    """
    folders: dict[str, set[str]] = {}
    for row in rows:
        if row.exported is not None:
            folders.setdefault(row.exported, set()).add(row.folder)
    found: dict[str, Mapping[str, str]] = {}
    with ExitStack() as stack:
        started: dict[str, tuple[Path, Child]] = {}
        for precision, names in folders.items():
            place = new_folder(folder / f"exported-{precision}")
            write_request(place, {"architecture": architecture, "precision": precision, "folders": sorted(names)})
            environment = {"PYTHONPATH": str(SCRIPTS), **WITHOUT_GPU}
            child = Child("_gpu_check.exporting", place, f"export in {precision}", environment)
            started[precision] = place, stack.enter_context(child)
        meanwhile()
        for precision, (place, child) in started.items():
            try:
                child.wait(min(limit_s, EXPORT_S))
                found[precision] = read_answer(place)
            except MachineError as error:
                found[precision] = dict.fromkeys(folders[precision], str(error))
    return found
