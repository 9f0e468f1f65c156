"""Measures what integer weights change: the error against the float32 file and against the reference's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from swift_export.artifacts.layout import ONNX_FILE
from swift_export.errors import CheckFailed, UsageError
from swift_export.models import CheckInput
from swift_export.models.model import terms_name
from swift_export.parity.float_source import FORMAT, FloatSource
from swift_export.parity.golden.golden_outputs import draw_golden_input, read_golden
from swift_export.parity.measure.cases import Case, sizes_to_try, write_cases
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.side_by_side import SideBySide
from swift_export.parity.measure.tolerances import INTEGER_TOLERANCES, Tolerance, integer_tolerance
from swift_export.parity.results import Outputs
from swift_export.quantization.record import Effect
from swift_export.system.arrays import is_float, save_array

__all__ = ["EMBEDDING", "case_of_golden", "float_effects", "golden_effects", "heldout_cases", "own_tolerance"]

#: Measured like an output: the vector that heads take.
EMBEDDING = "embedding"

#: The reference of most errors.
_FILE = "the float32 file"


def heldout_cases(source: FloatSource, inputs: Sequence[CheckInput], folder: Path) -> tuple[Case, ...]:
    """The cases of a check, of which no calibration knows."""
    model = source.model
    return write_cases(model, [*model.check_inputs, *inputs], sizes_to_try(model), folder)


def float_effects(source: FloatSource, cases: Sequence[Case], both: SideBySide, method: str) -> Iterator[Effect]:
    """The errors against the float32 file: the largest over the sizes, for every input and output."""
    worst: dict[tuple[str, str], Effect] = {}
    golden = _golden(source)
    for case, outputs in zip(cases, both.outputs, strict=False):
        right, found = (_with_embedding(source, one) for one in outputs)
        for name, array in right.items():
            if not is_float(array.dtype):
                continue
            effect = _effect(case.input, name, found[name], array, _FILE)
            terms = golden.get(terms_name(name))
            if terms is not None and _beyond(effect, INTEGER_TOLERANCES[method]):
                # A sum near zero has few correct digits. The size of its terms is known on the golden input alone.
                effect = _effect(case.input, name, found[name], array, _FILE, np.broadcast_to(terms, array.shape))
            known = worst.get((case.input, name), effect)
            worst[case.input, name] = replace(
                effect,
                relative_l2=max(effect.relative_l2, known.relative_l2),
                relative_max=max(effect.relative_max, known.relative_max),
                cosine=min((c for c in (effect.cosine, known.cosine) if c is not None), default=None),
            )
    yield from worst.values()


def _effect(
    case: str, name: str, found: np.ndarray, right: np.ndarray, reference: str, terms: np.ndarray | None = None
) -> Effect:
    difference = compare(found, right, terms=terms)
    if difference.mismatch or difference.non_finite:
        raise CheckFailed(f"{ONNX_FILE}: input {case}, output {name}: {difference}; nothing was written")
    return Effect(case, name, difference.relative_l2, difference.relative_max, difference.cosine, reference)


def _beyond(effect: Effect, most: Tolerance) -> bool:
    return effect.relative_l2 > most.relative_l2 or effect.relative_max > most.relative_max


def _with_embedding(source: FloatSource, outputs: Outputs) -> dict[str, np.ndarray]:
    """Outputs with the embedding of SwiFT's map of features, (batch, channels, H, W, D, T)."""
    features = outputs.get("features")
    if source.recorded.swift is None or features is None or features.ndim != 6:
        return dict(outputs)
    return {**outputs, EMBEDDING: features.mean(axis=(2, 3, 4, 5))}


def case_of_golden(source: FloatSource, folder: Path) -> Case | None:
    """The case of the golden outputs of the source, with its item as often as a fixed batch takes it."""
    golden = source.artifact.golden
    if golden is None:
        return None
    files = {}
    for number, (name, array) in enumerate(draw_golden_input(golden, source.recorded).items()):
        files[name] = (str(folder / f"golden{number}.npy"),)
        save_array(Path(files[name][0]), array)
    if not source.model.batched:
        return Case(golden.input.kind, golden.input.sizes, files, (files,))
    batch = source.model.batch or 1
    return Case(
        golden.input.kind, {"batch": batch}, {name: part * batch for name, part in files.items()}, (files,) * batch
    )


def golden_effects(source: FloatSource, case: Case, found: Outputs) -> Iterator[Effect]:
    """The errors against the golden outputs, which the reference computed for the source's check."""
    assert source.artifact.golden
    golden = _golden(source)
    for spec in source.artifact.signature.outputs:
        right, array = golden[spec.name], found[spec.name]
        if is_float(right.dtype):
            array = array[:1] if source.model.batched else array
            terms = golden.get(terms_name(spec.name))
            yield _effect(case.input, spec.name, array, right, source.artifact.golden.reference, terms)


def _golden(source: FloatSource) -> Outputs:
    """The golden outputs of the source, and the sizes of the terms of sums; none if it was not checked."""
    if source.artifact.golden is None:
        return {}
    return read_golden(source.folder, source.manifest, FORMAT, source.model.batched)


def own_tolerance(method: str, effects: Sequence[Effect], file: Path) -> Tolerance:
    """The artifact's own tolerance; raises CheckFailed for an error beyond the method's."""
    if not effects:
        raise UsageError(f"{file}: expected an output of float32 to measure the error on, found none")
    most = INTEGER_TOLERANCES[method]
    for effect in effects:
        if _beyond(effect, most):
            raise CheckFailed(
                f"{ONNX_FILE}: input {effect.input}, output {effect.output}: relative L2 {effect.relative_l2:.2g}, "
                f"largest {effect.relative_max:.2g} against {effect.reference} (allowed {most.relative_l2:g} and "
                f"{most.relative_max:g} for {method}): nothing was written; try another --method, or other --calibrate"
            )
    return integer_tolerance(
        method, (max(effect.relative_l2 for effect in effects), max(effect.relative_max for effect in effects))
    )
