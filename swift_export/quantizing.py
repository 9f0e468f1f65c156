"""Makes an artifact with integer weights from a float32 one: the core of the command ``quantize``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile

from swift_export.artifacts.digests import digest_format
from swift_export.artifacts.layout import FORMATS, ONNX_FILE
from swift_export.artifacts.manifest import Artifact, Manifest, Measurement, read_manifest
from swift_export.artifacts.versions import versions_of
from swift_export.artifacts.writing import transaction
from swift_export.errors import ArtifactError, UsageError
from swift_export.formats.facts import read_facts
from swift_export.formats.metadata import PRECISION_KEY, QUANTIZATION_KEY
from swift_export.formats.onnx_writing import write_model
from swift_export.models import CheckInput
from swift_export.parity.calibrating import calibrated
from swift_export.parity.float_source import FORMAT, FloatSource, float_source
from swift_export.parity.integer_errors import (
    case_of_golden,
    float_effects,
    golden_effects,
    heldout_cases,
    own_tolerance,
)
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.measure.side_by_side import SideBySide, run_side_by_side
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.quantization.integer_graph import Range, integer_products, products_for
from swift_export.quantization.products import find_products
from swift_export.quantization.record import METHODS, Calibration, Quantization
from swift_export.runtimes.registry import find_runtime, require
from swift_export.system.plain_data import encode
from swift_export.system.progress import Progress, ignore_line

__all__ = ["QuantizeResult", "quantize"]

_RUNTIME = "onnxruntime"
_ACTIVATIONS = {
    "int8": "7 bits, the smallest to the largest element of the calibration; float32 where attention multiplies them",
    "weights-int8": "float32",
    "weights-int4": "float32",
}
#: What a manifest says of a file that integers change.
_CHANGED = ("ir_version", "nodes", "opset")


@dataclass(frozen=True)
class QuantizeResult:
    """The new artifact. ``notes`` say what a reader of its figures must know."""

    folder: Path
    manifest: Manifest
    quantization: Quantization
    notes: tuple[str, ...] = ()


def quantize(
    artifact: str | Path,
    output: str | Path,
    *,
    method: str = METHODS[0],
    calibrate: Sequence[CheckInput] = (),
    inputs: Sequence[CheckInput] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Write an artifact with integer weights into the folder ``output``, made from the ONNX file of ``artifact``.

    Args:
        artifact: the folder of a float32 artifact with an ONNX file, or a part of it.
        output: a new folder, or one written by this function.
        method: ``int8`` (integer arithmetic, activations calibrated), ``weights-int8`` or ``weights-int4``.
        calibrate: inputs on which ``int8`` measures the ranges of activations; by default noise and a phantom, or
            random arrays.
        inputs: further inputs to measure the error on, beside the standard ones of a check.
        force: replace an artifact of other weights.
        progress: called with a short text at each step.

    The error against the float32 file is measured on inputs outside of the calibration, with the time of both files in
    one process; twice the error becomes the artifact's tolerance in later checks. Where the source holds golden outputs
    of the reference, the new file is compared with these, too.

    Raises UsageError or ArtifactError for a source that is no float32 artifact or has no products to quantize,
    InputError for calibration inputs that do not fit, CheckFailed if the error exceeds the method's tolerance. After an
    error, ``output`` is unchanged.
    """
    on_progress, output = progress or ignore_line, Path(output)
    if method not in METHODS:
        raise UsageError(f"--method {method}: expected one of {', '.join(METHODS)}")
    require(find_runtime(_RUNTIME))
    if calibrate and method != "int8":
        raise UsageError(
            f"--calibrate: cannot be combined with --method {method}, which rounds no activations; omit it"
        )
    source = float_source(Path(artifact))
    _refuse_mixture(output, source.folder)
    model = source.load()
    products = len(products_for(method, model.graph))
    kept = len(find_products(model.graph)) - products
    with transaction(output, source.manifest, [FORMAT], force=force) as stage, scratch_folder() as scratch:
        calibration: tuple[Calibration, ...] = ()
        ranges: dict[str, Range] = {}
        if method == "int8":
            on_progress("measuring the ranges of activations")
            calibration, ranges = calibrated(source, calibrate, new_folder(scratch / "calibration"))
        on_progress("rounding weights")
        integer_products(model, method, ranges)
        record = Quantization(
            method, source.artifact.files[ONNX_FILE].sha256, products, kept, _ACTIVATIONS[method], calibration
        )
        model.metadata_props.update({PRECISION_KEY: method, QUANTIZATION_KEY: record.essentials})
        file = stage.folder / ONNX_FILE
        new_folder(file.parent)
        write_model(model, file)
        on_progress("measuring error and speed beside the float32 file")
        cases = heldout_cases(source, inputs, new_folder(scratch / "heldout"))
        golden = case_of_golden(source, scratch)
        every = cases if golden is None else (*cases, golden)
        both = run_side_by_side(source.path, file, _RUNTIME, every, new_folder(scratch / "runs"))
        effects = list(float_effects(source, cases, both, method))
        if golden is not None:
            effects += golden_effects(source, golden, both.outputs[-1][1])
        allowed = own_tolerance(method, effects, source.path)
        record = replace(
            record,
            effects=tuple(effects),
            time_ratio=both.ratio,
            size=_size(stage.folder),
            source_size=_size(source.folder),
            relative_l2=allowed.relative_l2,
            relative_max=allowed.relative_max,
            reason=allowed.reason,
        )
        made = _artifact(source, stage.folder, record, allowed, both)
        manifest = stage.commit({FORMAT: made})
    return QuantizeResult(output, manifest, record, tuple(_notes(source, calibrate, record)))


def _refuse_mixture(output: Path, source: Path) -> None:
    """Raise UsageError for an output folder with float32 files: readers would take both for one model's precision."""
    try:
        held = read_manifest(output).artifacts
    except ArtifactError:
        return  # the transaction judges other contents
    if output.resolve() == source.resolve() or any("quantization" not in other.details for other in held.values()):
        raise UsageError(f"{output}: holds {', '.join(held)} in float32; choose another --output for integer weights")


def _artifact(
    source: FloatSource, folder: Path, record: Quantization, allowed: Tolerance, both: SideBySide
) -> Artifact:
    """The manifest's entry of the new file in ``folder``, with the golden outputs of the source."""
    old, facts = source.artifact, read_facts(folder / ONNX_FILE)
    details = {name: value for name, value in old.details.items() if name not in _CHANGED}
    details |= {name: facts.details[name] for name in _CHANGED} | {"quantization": encode(record)}
    golden = None
    if old.golden is not None:
        for path in old.golden.files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            copyfile(source.folder / path, folder / path)
        golden = replace(
            old.golden,
            relative_l2=allowed.relative_l2,
            relative_max=allowed.relative_max,
            reason=allowed.reason,
        )
    return Artifact(
        files=digest_format(folder, FORMATS[FORMAT]),
        settings=old.settings,
        signature=old.signature,
        details=details,
        versions={**old.versions, **versions_of(("numpy", "onnx", "onnx_ir", "onnxruntime"))},
        parity=tuple(_measurements(source, record, both)) if golden else None,
        golden=golden,
    )


def _measurements(source: FloatSource, record: Quantization, both: SideBySide) -> Iterator[Measurement]:
    """The errors against the reference, in the form of a check."""
    golden = source.artifact.golden
    assert golden
    for effect in record.effects:
        if effect.reference == golden.reference:
            yield Measurement(
                file=ONNX_FILE,
                runtime=both.runtime,
                device="cpu",
                input=effect.input,
                batch=1 if source.model.batched else golden.input.sizes.get("batch"),
                output=effect.output,
                relative_l2=effect.relative_l2,
                relative_max=effect.relative_max,
                tolerance=max(record.relative_l2 or 0.0, record.relative_max or 0.0),
                sizes={"batch": source.model.batch or 1} if source.model.batched else dict(golden.input.sizes),
            )


def _size(folder: Path) -> int:
    return sum(file.size for file in digest_format(folder, FORMATS[FORMAT]).values())


def _notes(source: FloatSource, given: Sequence[CheckInput], record: Quantization) -> Iterator[str]:
    if record.method == "int8" and not given:
        yield (
            f"calibrated on {', '.join(one.name for one in record.calibration)}; with --calibrate, on your own inputs"
        )
    if source.artifact.golden is None:
        yield (
            "the float32 file has no golden outputs, so errors are against that file alone; run check, or export it "
            "without --no-check"
        )
    if record.time_ratio is not None and record.time_ratio > 1:
        yield (
            f"slower than the float32 file on this machine: {record.time_ratio:.2f} times its time; "
            "integers save space here, not time"
        )
