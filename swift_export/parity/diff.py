"""Compares two artifacts' outputs on the same inputs like a check, with the first artifact as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swift_export.errors import CheckFailed, UsageError
from swift_export.formats.signature import TensorSpec
from swift_export.models import CheckInput, Model
from swift_export.models.model import sizes_text
from swift_export.parity.measure.cases import BATCHES, write_cases
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.running import load_outputs, run_artifact
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.measure.tolerances import coarser, tolerance
from swift_export.parity.results import Comparison
from swift_export.parity.targets import Artifacts, Target, find_artifacts
from swift_export.runtimes.base import RuntimeInfo, check_device
from swift_export.runtimes.registry import require
from swift_export.system.items import as_items
from swift_export.system.progress import Progress, ignore_line
from swift_export.system.tables import text_table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DiffReport", "Pair", "diff_artifacts"]

COLUMNS = ("first", "second", "input", "sizes", "output", "relative L2", "largest", "result")


@dataclass(frozen=True)
class Pair:
    """Two artifacts, their runtimes, and the differences of the second from the first."""

    first: str
    second: str
    first_info: RuntimeInfo
    second_info: RuntimeInfo
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class DiffReport:
    """All pairs; ``same_weights`` compares the digests stated by the artifacts."""

    pairs: tuple[Pair, ...]
    same_weights: bool

    @property
    def equal(self) -> bool:
        """Whether all outputs agree within the tolerance of correct runtimes."""
        return all(comparison.passed for pair in self.pairs for comparison in pair.comparisons)

    def rows(self) -> list[tuple[str, ...]]:
        """One row per comparison, as text under `COLUMNS`."""
        return [
            (
                pair.first,
                pair.second,
                c.input,
                sizes_text(c.sizes),
                c.output,
                f"{c.difference.relative_l2:.1e}",
                f"{c.difference.relative_max:.1e}",
                f"{'within' if c.passed else 'beyond'} {c.allowed.relative_l2:g}",
            )
            for pair in self.pairs
            for c in pair.comparisons
        ]

    def render(self, console: Console) -> None:
        """Print the table."""
        console.print(text_table(COLUMNS, self.rows()))


def diff_artifacts(
    first: str | Path,
    second: str | Path,
    *,
    inputs: CheckInput | Sequence[CheckInput] = (),
    device: str = "cpu",
    progress: Progress | None = None,
) -> DiffReport:
    """Run two artifacts on noise, phantom and ``inputs`` and measure the second against the first.

    Two files or SavedModels are compared directly, two artifact folders file by file. Raises UsageError if there is
    nothing to compare: no common file, different shapes of inputs, no common output.
    """
    check_device(device)
    a, b = find_artifacts(Path(first)), find_artifacts(Path(second))
    pairs = _paired(a, b)
    for side in (side for pair in pairs for side in pair):
        require(side.target.runtime)
    on_progress = progress or ignore_line
    measured = tuple(_measure(*pair, as_items(inputs), device, on_progress) for pair in pairs)
    return DiffReport(measured, a.digest == b.digest)


@dataclass(frozen=True, eq=False)
class _Side:
    """One artifact of a pair."""

    root: str
    target: Target

    @property
    def name(self) -> str:
        return self.root if self.root == self.target.file else f"{self.root}/{self.target.file}"

    @property
    def model(self) -> Model:
        return self.target.model

    @property
    def signature(self) -> str:
        inputs = "; ".join(f"{spec.name} {spec}" for spec in self.model.inputs)
        fixed = f", {sizes_text(self.target.static)}" if self.target.static else ""
        return f"inputs {inputs}{fixed}, outputs {', '.join(self.model.outputs)}{self._kind}"

    @property
    def _kind(self) -> str:
        kind = self.model.settings.get("output_kind")
        return f" ({kind})" if kind else ""

    def takes_the_same(self, other: _Side) -> bool:
        """Whether both take the same arrays, and outputs of the same name have the same meaning."""
        mine, theirs = ({spec.name: _free(self.model, spec) for spec in side.model.inputs} for side in (self, other))
        fixed = [
            side.target.static or ({"batch": side.model.batch} if side.model.batch else None) for side in (self, other)
        ]
        both = [sizes for sizes in fixed if sizes is not None]
        return mine == theirs and self._kind == other._kind and (len(both) < 2 or both[0] == both[1])


def _free(model: Model, spec: TensorSpec) -> tuple[object, ...]:
    """Element type and shape; the batch size of a batched model may be fixed or not."""
    return (spec.dtype, *(spec.dims[1:] if model.batched else spec.dims))


def _paired(a: Artifacts, b: Artifacts) -> list[tuple[_Side, _Side]]:
    ones, others = ([_Side(found.root, target) for target in found.targets] for found in (a, b))
    if len(ones) == len(others) == 1:
        return [(ones[0], others[0])]
    pairs = [(one, other) for one in ones for other in others if one.target.file == other.target.file]
    if not pairs:
        found = " and ".join(", ".join(side.target.file for side in sides) for sides in (ones, others))
        raise UsageError(f"{a.root} and {b.root}: expected a common file, or one file each, found {found}")
    return pairs


def _measure(one: _Side, other: _Side, inputs: Sequence[CheckInput], device: str, on_progress: Progress) -> Pair:
    outputs = [name for name in one.model.outputs if name in other.model.outputs]
    if not outputs or not one.takes_the_same(other):
        raise UsageError(
            f"{one.name} and {other.name}: nothing to compare; found {one.signature} and {other.signature}"
        )
    fixed = next((side for side in (one, other) if side.target.static or side.model.batch), one)
    with scratch_folder() as folder:
        sources = [*one.model.check_inputs, *inputs]
        cases = write_cases(fixed.model, sources, fixed.target.sizes(BATCHES), folder)
        answers = []
        for number, side in enumerate((one, other)):
            on_progress(f"running {side.name} in {side.target.runtime.title}")
            work = new_folder(folder / str(number))
            answers.append(run_artifact(side.target.path, side.target.runtime, device, cases, work))
        against, found = answers
        allowed = tolerance(found.info.arithmetic, device)
        for side in (one, other):
            allowed = coarser(allowed, side.target.integers)
        comparisons = []
        for case, result, reference in zip(cases, found.runs, against.runs, strict=True):
            arrays, references = load_outputs(result), load_outputs(reference)
            for output in outputs:
                if references[output].dtype.kind not in "biu" and not np.isfinite(references[output]).all():
                    where = f"input {case.input}, {sizes_text(case.sizes)}"
                    raise CheckFailed(f"{one.name}: {output} is not finite: {where}")
                difference = compare(arrays[output], references[output])
                comparisons.append(Comparison(case.input, case.sizes, output, difference, allowed))
    return Pair(one.name, other.name, against.info, found.info, tuple(comparisons))
