"""``inspect``: shows the facts of a file or an artifact folder, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swift_export.cli.answers import Answer, file_facts, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.system.text import shortened, shown

if TYPE_CHECKING:
    from swift_export.artifacts import Artifact, Description, Manifest, Part
    from swift_export.artifacts.manifest import Golden
    from swift_export.formats.signature import TensorSpec
    from swift_export.quantization.record import Quantization

__all__ = ["inspect", "register"]

#: The number of shown entries of a file's metadata, and their length.
_ENTRIES, _VALUE = 64, 1000


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export inspect artifacts/contrastive",
            "swift-export inspect model.onnx",
            "swift-export inspect artifacts/contrastive --json",
        )
    )(inspect)


@json_option("inspect")
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An artifact folder, one of its files, or any model.")],
    *,
    answer: Answer,
) -> None:
    """Show signature, opset, form, weights digest and measured parity; verify the digests of an artifact."""
    from swift_export.artifacts import describe

    description = describe(path)
    if answer.wanted:
        answer.add(
            files=file_facts(path), path=description.path, manifest=description.manifest, parts=description.parts
        )
    else:
        _show(description, Console())


def _show(description: Description, console: Console) -> None:
    if description.manifest:
        _show_manifest(description.manifest, console)
        console.line("")
    for part in description.parts:
        _show_part(part, console)


def _show_manifest(manifest: Manifest, console: Console) -> None:
    weights, model = manifest.weights, manifest.model
    facts = {
        "model": f"{model.variant}, {model.licence}" if model.licence else model.variant,
        "weights": f"{weights.name} ({weights.kind})",
        "weights digest": weights.digest,
        "file sha256": weights.sha256 or "none",
        "architecture": _pairs(model.architecture),
        "made": f"{manifest.created} by {manifest.tool.name} {manifest.tool.version}",
    }
    if weights.assumed:
        facts["assumed"] = _pairs(weights.assumed)
    if manifest.input_contract:
        facts["input contract"] = manifest.input_contract
    console.facts(facts)
    if weights.note:
        console.line(weights.note, style="bold yellow")


def _show_part(part: Part, console: Console) -> None:
    from swift_export.quantization.record import quantization_in  # NumPy is not for --help

    console.line(f"{part.path}  {part.size / 1e6:.1f} MB, {part.facts.kind}", style="bold")
    facts = {}
    if part.facts.signature:
        facts["inputs"] = "; ".join(map(_spec, part.facts.signature.inputs))
        facts["outputs"] = "; ".join(map(_spec, part.facts.signature.outputs))
    details = dict(part.facts.details)
    metadata = dict(details.pop("metadata", {}))
    facts |= {name.replace("_", " "): _value(value) for name, value in details.items()}
    if part.artifact:
        forms = part.artifact.details.get("attention")
        if isinstance(forms, Mapping):
            facts["attention"] = "; ".join(f"{place}: {_value(form)}" for place, form in forms.items())
        if integers := quantization_in(part.artifact.details, part.path):
            facts["precision"] = _integers(integers)
        facts["settings"] = _pairs(part.artifact.settings)
        if part.artifact.golden:
            facts["golden outputs"] = _golden(part.artifact.golden)
        facts["versions"] = _pairs(part.artifact.versions)
    console.facts(facts, indent="  ")
    if part.artifact is None:
        # In an artifact folder, the manifest contains these facts.
        _show_metadata(metadata, console)
    else:
        _show_parity(part.path, part.artifact, console)


def _show_metadata(metadata: Mapping[str, str], console: Console) -> None:
    """Show a file's metadata, separated from the facts read from it: its keys may have any name."""
    if not metadata:
        return
    console.line("  metadata")
    entries = [*metadata.items()][:_ENTRIES]
    console.facts({name: shortened(value, _VALUE) for name, value in entries}, indent="    ")
    if len(metadata) > len(entries):
        console.line(f"    and {len(metadata) - len(entries):,} more: --json shows all")


def _show_parity(path: str, artifact: Artifact, console: Console) -> None:
    from swift_export.artifacts.layout import is_below
    from swift_export.models.model import sizes_text  # NumPy is not for --help

    if artifact.parity is None:
        console.line("  parity: not checked")
        return
    columns = ("runtime", "device", "input", "sizes", "output", "relative L2", "largest", "allowed")
    rows = [
        (m.runtime, m.device, m.input, sizes_text(m.known_sizes), m.output,
         *map(_figure, (m.relative_l2, m.relative_max)),
         f"{m.tolerance:g}")
        for m in artifact.parity
        if is_below(m.file, path)
    ]  # fmt: skip
    console.table(columns, rows, indent=2)


def _golden(golden: Golden) -> str:
    from swift_export.models.model import sizes_text  # NumPy is not for --help

    outputs, recipe = " ".join(sorted(Path(path).stem for path in golden.files)), golden.input
    size = f"{recipe.frames} frames" if recipe.frames else sizes_text(recipe.sizes)
    case = f"the {recipe.kind} input of seed {recipe.seed}, {size}"
    return f"{outputs} by {golden.reference} for {case}; allowed {golden.relative_l2:g} and {golden.relative_max:g}"


def _integers(record: Quantization) -> str:
    calibration = ", ".join(f"{shown(one.name)} ({one.items})" for one in record.calibration)
    facts = [
        f"{record.method}: {record.products} of {record.products + record.kept} products with integers",
        f"made of the float32 file {shown(record.source[:16])}...",
        f"calibrated on {calibration}" if calibration else "",
        f"{record.time_ratio or 0:.2f} of its time when it was made",
        f"allowed {_figure(record.relative_l2 or 0)} and {_figure(record.relative_max or 0)}",
    ]
    return ", ".join(filter(None, facts))


def _figure(value: float) -> str:
    return f"{value:.1e}"


def _spec(spec: TensorSpec) -> str:
    return f"{shown(spec.name)} {shown(spec, 1000)}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value)) if all(isinstance(v, int) for v in value) else " ".join(map(str, value))
    return str(value)
