"""Weights in, checked files out: what every export command and the public export functions do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from swift_export.artifacts.digests import digest_format
from swift_export.artifacts.layout import FORMATS, ONNX_FILE, PORTABLE_FILE, SAVEDMODEL_FOLDER, find_format
from swift_export.artifacts.manifest import Artifact, Manifest
from swift_export.artifacts.versions import versions_of
from swift_export.artifacts.writing import transaction
from swift_export.converter.opsets import DEFAULT_OPSET, TARGETS
from swift_export.errors import UsageError
from swift_export.formats.facts import read_facts
from swift_export.lowering.settings import ATTENTION, ExportSettings

if TYPE_CHECKING:
    from swift_export.models.swift.backbone.swift import SwiFT
    from swift_export.models.swift.weights import Weights
    from swift_export.parity.measure.inputs import CheckInput
    from swift_export.parity.results import ParityReport

__all__ = [
    "ExportResult",
    "default_output",
    "export_onnx",
    "export_savedmodel",
    "export_stablehlo",
    "load_backbone",
    "run_export",
]

#: The file or folder of each format whose own words go into the manifest.
_SPEAKS = {"stablehlo": PORTABLE_FILE, "savedmodel": SAVEDMODEL_FOLDER, "onnx": ONNX_FILE}
#: What of its details does.
_DETAILS = ("opset", "ir_version", "nodes", "stablehlo", "platforms", "tags")
_MODULES = {
    "stablehlo": ("jax", "jaxlib", "equinox", "numpy"),
    "savedmodel": ("jax", "jaxlib", "equinox", "numpy", "tensorflow"),
    "onnx": ("jax", "jaxlib", "equinox", "numpy", "onnx", "onnx_ir"),
}


@dataclass(frozen=True)
class ExportResult:
    """What an export did. ``report`` is None when nothing was checked."""

    folder: Path
    formats: tuple[str, ...]
    manifest: Manifest
    report: ParityReport | None

    @property
    def files(self) -> tuple[Path, ...]:
        """What to give to a runtime: every file that was written, and the SavedModel's folder."""
        recorded = {
            FORMATS[name].unit_of(path) for name in self.formats for path in self.manifest.artifacts[name].files
        }
        return tuple(self.folder / unit for unit in sorted(recorded))


def default_output(weights: Weights) -> Path:
    """``artifacts/<variant>``, below the working directory."""
    return Path("artifacts") / weights.variant


def run_export(
    formats: Sequence[str],
    weights: Weights,
    output: Path,
    *,
    settings: ExportSettings,
    via: str = "stablehlo",
    check: bool = True,
    inputs: Sequence[CheckInput] = (),
    device: str = "cpu",
    force: bool = False,
    progress: Callable[[str], None] | None = None,
    show: Callable[[ParityReport], None] | None = None,
) -> ExportResult:
    """Write ``formats`` of ``weights`` into the folder ``output``, after checking them where they are staged.

    Args:
        formats: ``stablehlo``, ``savedmodel``, ``onnx``.
        weights: the model.
        output: an artifact folder; created if absent. Formats of the same weights that it holds stay.
        settings: the exported function.
        via: the road to ONNX, ``stablehlo`` or ``savedmodel``.
        check: run every file in its runtime against the reference, on noise, a phantom and ``inputs``.
        inputs: further clips, of the exported number of frames.
        device: ``cpu`` or ``gpu``, for the artifacts' runtimes.
        force: replace an artifact of other weights.
        progress: is told in a few words what is done now.
        show: is given what the check found, passed or not, before it is acted on.

    Raises CheckFailed when a file does not compute what the reference does, UsageError, ArchitectureError or InputError
    for what cannot be exported or checked, MachineError when the disk is full or a runtime breaks. In every case, and
    when interrupted, ``output`` is left as it was.
    """
    from swift_export.runtimes.base import check_device

    tell = progress or _ignore
    names = tuple(dict.fromkeys(find_format(name).name for name in formats))
    if not names:
        raise UsageError(f"formats: expected some of {', '.join(FORMATS)}, found none")
    settings.check(weights.config)
    check_device(device)
    with transaction(output, weights, names, force=force) as stage:
        if "savedmodel" in names or ("onnx" in names and via == "savedmodel"):
            from swift_export.system.tensorflow import import_tensorflow

            import_tensorflow()  # said before minutes are spent on the other formats
        for name in names:
            tell(f"exporting to {name}")
            _write(name, weights, settings, stage.folder, via)
        report = None
        if check:
            report = _check(stage.folder, output, weights, settings, inputs, device, tell)
            if show:
                show(report)
            report.raise_for_failures()
        tell("reading the files back")
        artifacts = {name: _record(stage.folder, name, settings, via, report) for name in names}
        manifest = stage.commit(artifacts, _reports(report))
    return ExportResult(output, names, manifest, report)


def _write(name: str, weights: Weights, settings: ExportSettings, folder: Path, via: str) -> None:
    # jax and TensorFlow take seconds to import: only what is asked for.
    if name == "stablehlo":
        from swift_export.lowering.stablehlo import write_stablehlo

        write_stablehlo(weights, settings, folder)
    elif name == "savedmodel":
        from swift_export.lowering.savedmodel import write_savedmodel

        write_savedmodel(weights, settings, folder)
    else:
        from swift_export.lowering.onnx_file import write_onnx

        write_onnx(weights, settings, folder, via=via)


def _check(
    folder: Path,
    output: Path,
    weights: Weights,
    settings: ExportSettings,
    inputs: Sequence[CheckInput],
    device: str,
    tell: Callable[[str], None],
) -> ParityReport:
    from swift_export.parity.checking import check_paths

    report = check_paths(
        [folder],
        weights=weights,
        inputs=inputs,
        runtimes="own",
        device=device,
        blocks=False,
        settings=settings,
        progress=tell,
    )
    # What is checked lies in a hidden folder that nobody named, and a report holds no path of this machine.
    return replace(report, artifacts=tuple(replace(artifact, root=output.name) for artifact in report.artifacts))


def _record(folder: Path, name: str, settings: ExportSettings, via: str, report: ParityReport | None) -> Artifact:
    facts = read_facts(folder / _SPEAKS[name])
    assert facts.signature, "what was just written can be read"
    details: dict[str, Any] = {key: facts.details[key] for key in _DETAILS if key in facts.details}
    details["attention"] = json.loads(facts.details["metadata"]["swift_export.attention"])
    modules: tuple[str, ...] = _MODULES[name]
    if name == "onnx":
        details |= {"target": settings.target, "via": via}
        modules += ("tensorflow", "tf2onnx") if via == "savedmodel" else ()
    parity = golden = None
    if report is not None:
        from swift_export.parity.golden.golden_outputs import keep_golden

        parity, golden = report.measurements(name), keep_golden(report, name, settings, folder)
    return Artifact(
        files=digest_format(folder, FORMATS[name]),
        settings=settings.to_dict(),
        signature=facts.signature,
        details=details,
        versions=versions_of(modules),
        parity=parity,
        golden=golden,
    )


def _reports(report: ParityReport | None) -> Callable[[Manifest], Mapping[str, str]] | None:
    if report is None:
        return None
    from swift_export.parity.report import report_files

    return lambda manifest: report_files(manifest, report)


def _ignore(_: str) -> None:
    pass


class Options(TypedDict, total=False):
    """What all export functions take: see `run_export` and `ExportSettings`.

    ``variant`` is the published model that the weights must be; ``inputs`` are NIfTI runs, folders of frames or
    ``.npy`` clips, by path or loaded. ``placement`` says where scans go, by default as in the model's training data.
    """

    variant: str | None
    frames: int | None
    batch: int | None
    outputs: Sequence[str]
    output_kind: str
    attention: str
    check: bool
    inputs: Sequence[str | Path | CheckInput]
    placement: str | None
    device: str
    force: bool


def load_backbone(source: str | Path = "auto", *, variant: str | None = None) -> SwiFT:
    """The backbone as an Equinox module: ``load_backbone(...)(bold)`` gives features.

    ``source`` is what `load_weights` takes: a checkpoint, a bundle, a hub id, ``auto`` or ``synthetic:SEED``.
    """
    from swift_export.models.swift.backbone.swift import SwiFT
    from swift_export.models.swift.weights import load_weights

    return SwiFT.from_weights(load_weights(source, variant=variant))


def export_stablehlo(
    source: str | Path | Weights = "auto", *, output: str | Path | None = None, **options: Unpack[Options]
) -> ExportResult:
    """Export to jax.export's own form and portable bytecode, below ``output`` (default ``artifacts/<variant>``).

    ``source`` is what `load_weights` takes or gives. Raises as `run_export`.
    """
    return _export("stablehlo", source, output, **options)


def export_savedmodel(
    source: str | Path | Weights = "auto", *, output: str | Path | None = None, **options: Unpack[Options]
) -> ExportResult:
    """Export to a TensorFlow SavedModel in TF Serving's layout; otherwise as `export_stablehlo`."""
    return _export("savedmodel", source, output, **options)


def export_onnx(
    source: str | Path | Weights = "auto",
    *,
    output: str | Path | None = None,
    opset: int = DEFAULT_OPSET,
    target: str = TARGETS[0],
    via: str = "stablehlo",
    **options: Unpack[Options],
) -> ExportResult:
    """Export to ONNX, straight from StableHLO or ``via`` a SavedModel; otherwise as `export_stablehlo`.

    ``target`` is ``portable``, ai.onnx operators alone, or ``onnxruntime``, with that runtime's own where it gains.
    """
    return _export("onnx", source, output, opset=opset, target=target, via=via, **options)


def _export(
    name: str,
    source: str | Path | Weights,
    output: str | Path | None,
    *,
    variant: str | None = None,
    frames: int | None = None,
    batch: int | None = None,
    outputs: Sequence[str] = ("features",),
    output_kind: str = "features",
    attention: str = ATTENTION[0],
    opset: int = DEFAULT_OPSET,
    target: str = TARGETS[0],
    via: str = "stablehlo",
    check: bool = True,
    inputs: Sequence[str | Path | CheckInput] = (),
    placement: str | None = None,
    device: str = "cpu",
    force: bool = False,
) -> ExportResult:
    from swift_export.models.swift.weights import load_weights
    from swift_export.scans.placement import parse_placement

    weights = load_weights(source, variant=variant) if isinstance(source, (str, Path)) else source
    if placement is not None:
        weights = weights.with_contract(weights.contract.changed(parse_placement(placement), None, None))
    settings = ExportSettings(frames, batch, tuple(outputs), output_kind, opset, target, attention)
    settings.check(weights.config)
    return run_export(
        [name],
        weights,
        default_output(weights) if output is None else Path(output),
        settings=settings,
        via=via,
        check=check,
        inputs=[_input(given, weights, frames) for given in inputs],
        device=device,
        force=force,
    )


def _input(given: str | Path | CheckInput, weights: Weights, frames: int | None) -> CheckInput:
    from swift_export.models.swift.clip import load_clip
    from swift_export.parity.measure.inputs import Given

    if not isinstance(given, (str, Path)):
        return given
    contract = weights.contract
    placement = None if contract.placement is None else contract.placed()
    return Given(load_clip(given, weights.config, frames, placement=placement, stride=contract.stride))
