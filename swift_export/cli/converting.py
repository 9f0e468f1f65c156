"""``convert``: converts StableHLO to an ONNX file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, file_facts, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_extra
from swift_export.cli.lists import REPEATED
from swift_export.errors import UsageError
from swift_export.sources.kinds import kind_of_folder
from swift_export.system.files import check_output
from swift_export.system.processes import WITHOUT_GPU
from swift_export.system.text import plural

if TYPE_CHECKING:
    from swift_export.conversion import Conversion

__all__ = ["convert", "register"]

_SOURCE, _FILE, _CHECK = "Source", "ONNX file", "Check"


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export convert model.mlir -o model.onnx",
            "swift-export convert exported.jax -o model.onnx --check",
            "swift-export convert saved_model/ -o model.onnx --signature serving_default",
            "swift-export convert module.mlir.bc -o model.onnx --dims x=batch,- --dims y=batch,-",
        )
    )(convert)


@json_option("convert")
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="MLIR text, MLIR bytecode, a portable artifact, a jax.export file, or the folder of a SavedModel with "
            "StableHLO; the kind is detected from the content.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The ONNX file to write; replaced if it exists.")
    ],
    opset: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="ONNX opset, 18 to 26.",
            show_default="20, or what an operator needs",
            rich_help_panel=_FILE,
        ),
    ] = None,
    target: options.Target = "portable",
    dims: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT=NAMES",
            help="Names of an input's unknown dimensions, separated by commas; - keeps one unchanged, 2*n is a "
            f"multiple. Equal names mean equal sizes. {REPEATED}",
            rich_help_panel=_FILE,
        ),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The platform to convert, of a module for several.",
            show_default="cpu, or the first",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    signature: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The signature of a SavedModel to convert.",
            show_default="serving_default, or the only one",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="Run the file in ONNX Runtime and the source in JAX, XLA or TensorFlow, and compare the results. "
            "--no-check: do not even load the file.",
            show_default="compare SavedModels, load others",
            rich_help_panel=_CHECK,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the check's random inputs.", rich_help_panel=_CHECK)
    ] = 0,
    quiet: options.Quiet = False,
    *,
    answer: Answer,
) -> None:
    """Convert any StableHLO module to ONNX, or refuse it: a wrong file is never written."""
    names = _dim_names(dims or [])
    if str(output) == "-":
        raise UsageError("--output -: expected a file name, found the sign for the standard output; name a file")
    if source.is_dir():
        # Errors of the folder come first, because the installation of an extra takes minutes.
        kind_of_folder(source)
        check_output(output, sources=source)
        need_extra("savedmodel", f"{source}: a SavedModel")

    # Everything runs on the CPU: jax and TensorFlow would reserve the memory of a GPU at start.
    os.environ |= {"JAX_PLATFORMS": "cpu", **WITHOUT_GPU}
    import swift_export.conversion

    console = Console(quiet, json=answer.wanted)
    with console.progress() as on_progress:
        done = swift_export.conversion.convert(
            source,
            output,
            check=check,
            opset=opset,
            target=target,
            platform=platform,
            signature=signature,
            dim_names=names,
            seed=seed,
            progress=on_progress,
        )
    _show(done, console)
    if answer.wanted:
        answer.add(**_facts(source, done))


def _facts(source: Path, done: Conversion) -> dict[str, Any]:
    from swift_export.formats.facts import read_facts
    from swift_export.parity.report import converted_to_dict

    written = read_facts(done.path)
    assert written.signature, "a newly written file can be read"
    return {
        "files": file_facts(*done.files),
        "source": {"path": str(source), "kind": done.source, "notes": done.notes},
        "inputs": written.signature.inputs,
        "outputs": written.signature.outputs,
        "opset": done.opset,
        "nodes": done.nodes,
        "check": None if done.report is None else converted_to_dict(done.report),
    }


def _dim_names(given: list[str]) -> dict[str, list[str | None]]:
    """``x=batch,-`` as ``{"x": ["batch", None]}``."""
    names: dict[str, list[str | None]] = {}
    for text in given:
        name, equals, labels = text.rpartition("=")
        if not (name and equals and all(label.strip() for label in labels.split(","))):
            raise UsageError(f"--dims {text}: expected an input and a name for each of its axes, such as x=batch,-,-")
        names[name] = [None if label.strip() == "-" else label.strip() for label in labels.split(",")]
    return names


def _show(done: Conversion, console: Console) -> None:
    console.facts(
        {
            "source": "; ".join([done.source, *done.notes]),
            "inputs": "; ".join(done.inputs),
            "outputs": "; ".join(done.outputs),
            "file": f"{done.nodes:,} nodes, {_bytes(done.size)}, opset {done.opset}",
            **({"check": _verdict(done)} if done.report else {}),
        }
    )
    for file in done.files:
        console.line(f"wrote {file}")


def _verdict(done: Conversion) -> str:
    report = done.report
    assert report is not None
    outputs = len({compared.output for compared in report.compared})
    cases = len({tuple(compared.sizes.items()) for compared in report.compared})
    return f"{plural(outputs, 'output')} as in {report.reference} on {plural(cases, 'random input')}"


def _bytes(size: int) -> str:
    return f"{size:,} bytes" if size < 10**5 else f"{size / 1e6:.1f} MB"
