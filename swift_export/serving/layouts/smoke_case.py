"""The inputs and expected outputs by which a client tells whether a server computes the exported model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from swift_export.artifacts.layout import MANIFEST
from swift_export.artifacts.manifest import Golden, Manifest
from swift_export.errors import ArtifactError
from swift_export.formats.element_types import FLOATING
from swift_export.models import CheckInput
from swift_export.models.drawing import default_sizes
from swift_export.models.recovery import Recorded, golden_input
from swift_export.parity.golden.golden_outputs import draw_golden_input, golden_tolerance, read_golden
from swift_export.parity.measure.cases import Files
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.running import load_outputs
from swift_export.parity.measure.scratch import new_folder
from swift_export.parity.measure.tolerances import Tolerance, allowed_for, coarser
from swift_export.parity.targets import Target
from swift_export.runtimes.messages import Answer, Request, Run
from swift_export.runtimes.process import run_worker
from swift_export.runtimes.registry import require
from swift_export.system.arrays import is_float, save_array

__all__ = ["SmokeCase", "items_are_independent", "smoke_case"]

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SmokeCase:
    """Inputs and outputs by name, the tolerance for floating-point outputs, and who computed the outputs.

    ``drawn_by`` draws more inputs of the same kind.
    """

    inputs: Arrays
    outputs: Arrays
    allowed: Tolerance
    computed_by: str
    drawn_by: CheckInput

    def first_item(self) -> SmokeCase:
        """The case of the first item alone; only for independent items."""
        inputs, outputs = ({name: array[:1] for name, array in given.items()} for given in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)


def smoke_case(target: Target, recorded: Recorded, manifest: Manifest, format_name: str, folder: Path) -> SmokeCase:
    """The golden outputs of an artifact's format; without them, what its own runtime computes now.

    ``folder`` is for temporary files. Raises UsageError if that runtime is needed and not installed, ArtifactError for
    damaged golden outputs and for outputs that are not finite, MachineError if NumPy draws another input.
    """
    golden = manifest.artifacts[format_name].golden
    if golden is None:
        return _computed(target, folder)
    root = Path(recorded.where).parent
    allowed = golden_tolerance(golden, root / MANIFEST, target.integers)
    outputs = read_golden(root, manifest, format_name, target.model.batched)
    inputs = draw_golden_input(golden, recorded)
    items = target.model.batch or 1  # an artifact with a fixed batch size takes no other
    return SmokeCase(
        _repeated(inputs, items), _repeated(outputs, items), allowed, golden.reference, _source(golden, recorded)
    )


def items_are_independent(target: Target, case: SmokeCase, folder: Path) -> bool:
    """Whether an artifact computes the same for two items together as for each alone, measured in its own runtime.

    The first dimension of all its inputs and outputs must be the same unknown one.
    """
    sizes = {
        dim: size
        for spec in target.model.inputs
        for dim, size in zip(spec.dims, case.inputs[spec.name].shape, strict=True)
        if isinstance(dim, str)
    }
    drawn = case.drawn_by.draw({**sizes, str(target.model.inputs[0].dims[0]): 2})
    files = [
        _saved({name: array[item : item + 1] for name, array in drawn.items()}, new_folder(folder / f"item{item}"))
        for item in range(2)
    ]
    together = {name: tuple(item[name][0] for item in files) for name in drawn}
    answer = _run(target, [*files, together], new_folder(folder / "together"))
    first, second, both = map(load_outputs, answer.runs)
    return all(
        compare(array, np.concatenate([first[name], second[name]])).within(case.allowed) for name, array in both.items()
    )


def _computed(target: Target, folder: Path) -> SmokeCase:
    require(target.runtime)
    model = target.model
    source = next((source for source in model.check_inputs if source.name == model.golden), model.check_inputs[0])
    inputs = source.draw({"batch": model.batch or 1} if model.batched else default_sizes(model)[0])
    answer = _run(target, [_saved(inputs, new_folder(folder / "case"))], new_folder(folder / "run"))
    found = load_outputs(answer.runs[0])
    # In the artifact's order, which TensorFlow does not keep; copies, because the files go.
    outputs = {name: np.array(found[name]) for name in model.outputs}
    for name, array in outputs.items():
        if is_float(array.dtype) and not np.isfinite(array).all():
            raise ArtifactError(
                f"{target.path}: {name}: expected finite values for the {source.name} input, found NaN or infinity; "
                "see swift-export check"
            )
    types = {array.dtype.name for array in (*inputs.values(), *outputs.values())} & {*FLOATING}
    # Weights may be float32 under inputs of any type.
    allowed = coarser(allowed_for({"float32", *types}), target.integers)
    return SmokeCase(inputs, outputs, allowed, f"{answer.info.name} {answer.info.version} for this file", source)


def _source(golden: Golden, recorded: Recorded) -> CheckInput:
    recipe = golden.input
    return golden_input(recorded, recipe.kind, recipe.seed, recipe.frames, recipe.ranges)


def _repeated(arrays: Arrays, items: int) -> Arrays:
    return {name: np.concatenate([array] * items) if items > 1 else np.asarray(array) for name, array in arrays.items()}


def _saved(arrays: Arrays, folder: Path) -> Files:
    files = {name: str(folder / f"{number}.npy") for number, name in enumerate(arrays)}
    for name, array in arrays.items():
        save_array(files[name], array)
    return {name: (file,) for name, file in files.items()}


def _run(target: Target, calls: Sequence[Files], folder: Path) -> Answer:
    return run_worker(
        Request(target.runtime.name, str(target.path), "cpu", tuple(Run(files) for files in calls)), folder
    )
