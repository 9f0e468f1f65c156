"""Golden outputs: the reference's outputs for one case, stored beside the files checked against it.

Of the inputs, only the recipe and the digest of their values are stored; the digest reveals a NumPy that draws other
values. Nothing here needs JAX or the model's function.
"""

from __future__ import annotations

import hashlib
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swift_export.artifacts.digests import digest_file
from swift_export.artifacts.layout import FORMATS, MANIFEST, golden_file
from swift_export.artifacts.manifest import Golden, GoldenInput, Manifest
from swift_export.errors import ArtifactError, MachineError
from swift_export.formats.element_types import FLOATING
from swift_export.models import Model
from swift_export.models.model import terms_name
from swift_export.models.recovery import Recorded, golden_input
from swift_export.parity.measure.cases import Case, fits
from swift_export.parity.measure.tolerances import WIDEST, Tolerance, tolerance
from swift_export.parity.results import GoldenOutputs, Outputs, ParityReport
from swift_export.system.arrays import little_endian, load_array, save_array, with_own_type

if TYPE_CHECKING:
    from swift_export.runtimes.base import RuntimeInfo

__all__ = [
    "draw_golden_input",
    "golden_case",
    "golden_outputs",
    "golden_tolerance",
    "keep_golden",
    "read_golden",
]

#: Size limit of one output of one case.
MAX_BYTES = 2**31


def golden_case(model: Model, cases: Sequence[Case]) -> Case:
    """The case whose outputs are stored: the first of the model's golden input, or its first item if batched."""
    first = next(case for case in cases if case.input == model.golden)
    if not model.batched:
        return first
    return Case(first.input, {**first.sizes, "batch": 1}, first.parts[0], first.parts[:1])


def golden_outputs(model: Model, case: Case, outputs: Outputs, reference: RuntimeInfo) -> GoldenOutputs:
    """The golden outputs of a check for the export: ``outputs`` of ``reference`` for ``case``."""
    arrays = {name: load_array(file) for name, (file,) in case.files.items()}
    source = next(source for source in model.check_inputs if source.name == model.golden)
    recipe = source.describe()
    drawn = GoldenInput(
        kind=model.golden,
        seed=int(recipe.get("seed", 0)),
        frames=model.inputs[0].dims[-1] if model.batched and isinstance(model.inputs[0].dims[-1], int) else None,
        sha256=_digest(arrays),
        sizes={} if model.batched else dict(case.sizes),
        ranges={name: tuple(ends) for name, ends in recipe.get("ranges", {}).items()},
    )
    return GoldenOutputs(dict(model.settings), drawn, reference, dict(outputs))


def keep_golden(report: ParityReport, format_name: str, model: Model, folder: Path) -> Golden | None:
    """Write one format's golden outputs below the artifact folder ``folder``; return their manifest entry.

    The tolerance is the widest that the check allowed for the format's files on the golden input in float32, and later
    comparisons use no other. None if the check stored no outputs.
    """
    if not report.golden:
        return None
    # Formats exported together belong to one model and so have one reference.
    found, form = report.golden[0], FORMATS[format_name]
    allowed = [
        comparison.allowed
        for artifact in report.artifacts
        if artifact.file in form.units and artifact.info.arithmetic == "float32"
        for comparison in artifact.comparisons
        if comparison.input == found.input.kind
    ]
    widest = max(allowed or [tolerance("float32", "cpu")], key=lambda one: (one.relative_l2, one.relative_max))
    files = {output: golden_file(form, output) for output in model.reference_outputs}
    (folder / form.golden).mkdir(parents=True)
    for output, path in files.items():
        save_array(folder / path, found.outputs[output])
    return Golden(
        found.input,
        {path: digest_file(folder / path) for path in files.values()},
        f"{found.reference.name} {found.reference.version}",
        widest.relative_l2,
        widest.relative_max,
        widest.reason,
    )


def read_golden(folder: Path, manifest: Manifest, format_name: str, batched: bool) -> Outputs:
    """The golden outputs of one verified format by name; those of one item if ``batched``.

    Raises ArtifactError for files that are not the format's outputs for one case, or are not finite.
    """
    form, artifact = FORMATS[format_name], manifest.artifacts[format_name]
    recorded = set(artifact.golden.files) if artifact.golden else set()
    terms = [replace(spec, name=terms_name(spec.name)) for spec in artifact.signature.outputs]
    # The sizes of terms are recorded of sums alone.
    specs = [*artifact.signature.outputs, *(spec for spec in terms if golden_file(form, spec.name) in recorded)]
    expected = {golden_file(form, spec.name): spec for spec in specs}
    if set(expected) != recorded:
        raise ArtifactError(
            f"{folder / MANIFEST}: expected golden outputs {', '.join(sorted(expected))}, "
            f"found {', '.join(sorted(recorded)) or 'none'}; export again"
        )
    outputs = {}
    for path, spec in expected.items():
        array = _load(folder / path)
        dims = (1, *spec.dims[1:]) if batched else spec.dims  # one item, for any batch size of the artifact
        if str(array.dtype) != spec.dtype or not fits(array.shape, dims):
            wanted = replace(spec, dims=dims)
            raise ArtifactError(f"{folder / path}: expected {wanted}, found {array.dtype} {array.shape}; export again")
        if array.nbytes > MAX_BYTES:  # a sparse file takes no space until it is read
            raise ArtifactError(f"{folder / path}: expected at most {MAX_BYTES:,} bytes, found {array.nbytes:,}")
        if array.dtype.kind not in "biu" and not np.isfinite(array).all():
            raise ArtifactError(f"{folder / path}: expected finite values, found NaN or infinity; export again")
        outputs[spec.name] = array
    return outputs


def golden_tolerance(golden: Golden, where: Path, integers: Tolerance | None) -> Tolerance:
    """The recorded tolerance; raises ArtifactError for one that no check allows.

    That is more than noise excuses, and not the tolerance of a coarser type than float32 in the model itself.
    ``integers`` is the artifact's own tolerance if its weights are integers.
    """
    if integers is not None:
        return integers
    allowed = Tolerance(golden.relative_l2, golden.relative_max, golden.reason)
    coarse = [(one.relative_l2, one.relative_max) for one in (tolerance(name, "cpu") for name in FLOATING[2:])]
    if (allowed.relative_l2, allowed.relative_max) in coarse:
        return allowed
    if not all(0 < value <= WIDEST for value in (allowed.relative_l2, allowed.relative_max)):
        raise ArtifactError(
            f"{where}: golden outputs: expected tolerances up to {WIDEST:g}, "
            f"found {allowed.relative_l2:g} and {allowed.relative_max:g}; export again"
        )
    return allowed


def draw_golden_input(golden: Golden, recorded: Recorded) -> Mapping[str, np.ndarray]:
    """The input arrays of the golden outputs, by name.

    Raises ArtifactError for a recipe in another form than an export's, MachineError if NumPy draws other values.
    """
    recipe = golden.input
    source = golden_input(recorded, recipe.kind, recipe.seed, recipe.frames, recipe.ranges)
    arrays = source.draw(recipe.sizes or {"batch": 1})
    if (found := _digest(arrays)) != recipe.sha256:
        raise MachineError(
            f"{recorded.where}: NumPy {np.__version__} draws another {recipe.kind} than for the golden outputs: "
            f"expected sha256 {recipe.sha256[:16]}..., found {found[:16]}...; check without --quick"
        )
    return arrays


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the values of all arrays, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(little_endian(arrays[name]).tobytes())
    return digest.hexdigest()


def _load(path: Path) -> np.ndarray:
    """An ``.npy`` file's array, mapped, so that its header is checked before data is read."""
    try:
        return with_own_type(np.lib.format.open_memmap(path, mode="r"))
    except (ValueError, TypeError, OSError, SyntaxError, tokenize.TokenError) as error:
        raise ArtifactError(f"{path}: expected an .npy array, found a damaged file ({error}); export again") from None
