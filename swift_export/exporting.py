"""Exports a model to checked files: the core of the export commands and the public export functions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift_export.artifacts.digests import digest_format
from swift_export.artifacts.layout import FORMATS, ONNX_FILE, PORTABLE_FILE, SAVEDMODEL_FOLDER, find_format
from swift_export.artifacts.manifest import Artifact, Manifest
from swift_export.artifacts.versions import versions_of
from swift_export.artifacts.writing import transaction
from swift_export.converter.opsets import DEFAULT_OPSET, TARGETS
from swift_export.errors import UsageError
from swift_export.formats.facts import read_facts
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.system.items import as_items
from swift_export.system.progress import Progress, ignore_line

if TYPE_CHECKING:
    import onnx

    from swift_export.models import CheckInput, Model
    from swift_export.parity.results import ParityReport

__all__ = ["ExportResult", "export", "identified", "run_export", "to_onnx"]

#: The file or folder of each format that describes the format in the manifest.
_MAIN_UNIT = {"stablehlo": PORTABLE_FILE, "savedmodel": SAVEDMODEL_FOLDER, "onnx": ONNX_FILE}
#: The details of a file that go into the manifest.
_DETAILS = ("opset", "ir_version", "nodes", "stablehlo", "platforms", "tags")
_PACKAGES = {
    "stablehlo": ("jax", "jaxlib", "numpy"),
    "savedmodel": ("jax", "jaxlib", "numpy", "tensorflow"),
    "onnx": ("jax", "jaxlib", "numpy", "onnx", "onnx_ir"),
}


@dataclass(frozen=True)
class ExportResult:
    """The result of an export. ``report`` is None if nothing was checked."""

    folder: Path
    formats: tuple[str, ...]
    manifest: Manifest
    report: ParityReport | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths that runtimes can load: every written file, and the SavedModel's folder."""
        recorded = {
            FORMATS[name].unit_of(path)
            for name in self.formats
            for path in self.manifest.artifacts[name].files
            if not FORMATS[name].is_data(path)
        }
        return tuple(self.folder / unit for unit in sorted(recorded))


def export(
    model: Any,
    inputs: Any = None,
    output: str | Path | None = None,
    *,
    formats: str | Sequence[str] = tuple(FORMATS),
    weights: Any = None,
    check: bool = True,
    name: str | None = None,
    outputs: str | Sequence[str] | Mapping[str, str] | None = None,
    opset: int = DEFAULT_OPSET,
    target: str = TARGETS[0],
    via: str = "stablehlo",
    precision: str = "float32",
    device: str = "cpu",
    force: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> ExportResult:
    """Export a JAX model to checked files.

        swift_export.export(resnet, inputs={"x": ("batch", 3, 224, 224)}, output="artifacts/resnet")

    Args:
        model: a JAX function, an Equinox, Flax NNX or Flax Linen module, a Haiku ``apply``, or a `Model`; see
            `swift_export.models.as_model`, which takes ``inputs``, ``weights``, ``name``, ``outputs`` and ``options``.
        inputs: shapes, ``jax.ShapeDtypeStruct``s or example arrays by name. A dimension given as a name may have any
            size.
        output: an artifact folder; by default ``artifacts/NAME``.
        formats: ``stablehlo``, ``savedmodel``, ``onnx``.
        weights: the weights of a function or a Linen module: a dictionary or any other pytree.
        check: run every file in its runtime against the model in JAX.
        name: the model's name; by default the name of the function or class.
        outputs: names of the outputs, in order; or new names by their default names.
        opset: the opset of the ONNX file.
        target: ``portable`` (only ai.onnx operators), or ``onnxruntime`` (its own operators where they are faster).
        via: the pipeline to ONNX, ``stablehlo`` or ``savedmodel``.
        precision: ``float32``, or ``float16`` or ``bfloat16`` for the weights and what the model computes from them;
            inputs and outputs keep their types.
        device: ``cpu`` or ``gpu``, for the files' runtimes.
        force: replace an artifact of another model.
        progress: called with a short text at each step.

    Raises UsageError and LoweringError for a model that cannot be exported; otherwise as `run_export`.
    """
    made = _model(model, inputs, precision, weights=weights, name=name, outputs=outputs, **options)
    return run_export(
        formats,
        made,
        Path("artifacts") / made.name if output is None else Path(output),
        onnx=OnnxSettings(opset, target, via),
        check=check,
        device=device,
        force=force,
        progress=progress,
    )


def to_onnx(
    model: Any,
    inputs: Any = None,
    *,
    weights: Any = None,
    name: str | None = None,
    outputs: str | Sequence[str] | Mapping[str, str] | None = None,
    opset: int = DEFAULT_OPSET,
    target: str = TARGETS[0],
    precision: str = "float32",
    **options: Any,
) -> onnx.ModelProto:
    """Convert a JAX model to ONNX in memory, without a check; the arguments are those of `export`.

    ``onnx.save`` takes one of more than 2 GB with ``save_as_external_data=True``.
    """
    import onnx_ir

    from swift_export.lowering.onnx_file import model_to_onnx

    made = _model(model, inputs, precision, weights=weights, name=name, outputs=outputs, **options)
    return onnx_ir.to_proto(model_to_onnx(made, OnnxSettings(opset, target)))


def run_export(
    formats: str | Sequence[str],
    model: Model,
    output: Path,
    *,
    onnx: OnnxSettings | None = None,
    check: bool = True,
    inputs: Sequence[CheckInput] = (),
    device: str = "cpu",
    force: bool = False,
    progress: Progress | None = None,
    show: Callable[[ParityReport], None] | None = None,
) -> ExportResult:
    """Write ``formats`` of ``model`` into the folder ``output``, after a check in a staging folder.

    Args:
        formats: ``stablehlo``, ``savedmodel``, ``onnx``.
        model: the model to export.
        output: an artifact folder, created if absent. Its other formats of the same model stay.
        onnx: settings of the ONNX file.
        check: run every file in its runtime against the reference, on the model's inputs and ``inputs``.
        inputs: further inputs to check.
        device: ``cpu`` or ``gpu``, for the artifacts' runtimes.
        force: replace an artifact of another model.
        progress: called with a short text at each step.
        show: called with the check's report, passed or failed, before an error is raised.

    Raises CheckFailed if a file's results differ from the reference, UsageError, LoweringError or InputError for a
    model that cannot be exported or checked, MachineError if the disk is full or a runtime breaks. After an error or
    an interruption, ``output`` is unchanged.
    """
    from swift_export.runtimes.base import check_device

    on_progress, onnx = progress or ignore_line, onnx or OnnxSettings()
    names = tuple(dict.fromkeys(find_format(name).name for name in as_items(formats)))
    if not names:
        raise UsageError(f"formats: expected some of {', '.join(FORMATS)}, found none")
    onnx.check()
    check_device(device)
    with transaction(output, model, names, force=force) as stage:
        if "savedmodel" in names or ("onnx" in names and onnx.via == "savedmodel"):
            from swift_export.system.tensorflow import import_tensorflow

            import_tensorflow()  # fails before minutes are spent on the other formats
        _write(names, model, onnx, stage.folder, on_progress)
        report = None
        if check:
            report = _check(stage.folder, output, model, inputs, device, on_progress)
            if show:
                show(report)
            report.raise_for_failures()
        on_progress("reading the files back")
        artifacts = {name: _record(stage.folder, name, model, onnx, report) for name in names}
        manifest = stage.commit(artifacts, _reports(report))
    return ExportResult(output, names, manifest, report)


def identified(model: Model) -> Model:
    """The model with a digest of its StableHLO, which distinguishes models of the same weights or without weights."""
    from swift_export.lowering.lower import lower_open

    if model.card.architecture:
        return model
    module = hashlib.sha256(lower_open(model).module).hexdigest()
    return replace(model, card=replace(model.card, architecture={"stablehlo_sha256": module}))


def _model(model: Any, inputs: Any, precision: str, **options: Any) -> Model:
    from swift_export.models import Model
    from swift_export.models.from_python import as_model

    given = {key: value for key, value in options.items() if value is not None}
    made = model if isinstance(model, Model) else identified(as_model(model, inputs, **given))
    if precision == "float32":
        return made
    from swift_export.models.half_precision import in_precision

    return in_precision(made, precision)


def _write(names: Sequence[str], model: Model, onnx: OnnxSettings, folder: Path, on_progress: Progress) -> None:
    # jax and TensorFlow take seconds to import: only requested formats are imported.
    lowered = None
    for name in names:
        on_progress(f"exporting to {name}")
        if name == "stablehlo":
            from swift_export.lowering.stablehlo import write_stablehlo

            write_stablehlo(model, folder, onnx)
            continue
        from swift_export.lowering.lower import lower_open

        lowered = lowered or lower_open(model)
        if name == "savedmodel":
            from swift_export.lowering.savedmodel import write_savedmodel

            write_savedmodel(model, folder, onnx, lowered)
        else:
            from swift_export.lowering.onnx_file import write_onnx

            write_onnx(model, folder, onnx, lowered)


def _check(
    folder: Path,
    output: Path,
    model: Model,
    inputs: Sequence[CheckInput],
    device: str,
    on_progress: Progress,
) -> ParityReport:
    from swift_export.parity.checking import check_staged

    report = check_staged(folder, model, inputs=inputs, device=device, progress=on_progress)
    # The checked files are in a hidden staging folder, and a report contains no path of this machine.
    return replace(report, artifacts=tuple(replace(artifact, root=output.name) for artifact in report.artifacts))


def _record(folder: Path, name: str, model: Model, onnx: OnnxSettings, report: ParityReport | None) -> Artifact:
    facts = read_facts(folder / _MAIN_UNIT[name])
    assert facts.signature, "a newly written file can be read"
    details: dict[str, Any] = {key: facts.details[key] for key in _DETAILS if key in facts.details}
    details |= model.details
    packages: tuple[str, ...] = (*_PACKAGES[name], *model.packages)
    if name == "onnx":
        details |= {"target": onnx.target, "via": onnx.via}
        packages += ("tensorflow", "tf2onnx") if onnx.via == "savedmodel" else ()
    parity = golden = None
    if report is not None:
        from swift_export.parity.golden.golden_outputs import keep_golden

        parity, golden = report.measurements(name), keep_golden(report, name, model, folder)
    return Artifact(
        files=digest_format(folder, FORMATS[name]),
        settings={**model.settings, **onnx.to_dict()},
        signature=facts.signature,
        details=details,
        versions=versions_of(packages),
        parity=parity,
        golden=golden,
    )


def _reports(report: ParityReport | None) -> Callable[[Manifest], Mapping[str, str]] | None:
    if report is None:
        return None
    from swift_export.parity.report import report_files

    return lambda manifest: report_files(manifest, report)
