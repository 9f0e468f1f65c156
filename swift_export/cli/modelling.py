"""``model``: exports and checks any JAX model of a Python file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from swift_export.artifacts.layout import FORMATS
from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.export_run import export_and_answer
from swift_export.cli.extras import need_extra
from swift_export.cli.lists import words
from swift_export.converter.opsets import DEFAULT_OPSET
from swift_export.errors import UsageError
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.system.text import shown

__all__ = ["model", "register"]


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export model resnet.py:make --input x=float32[batch,3,224,224] -o artifacts/resnet",
            "swift-export model decoder.py:decoder --input tokens=int32[batch,length] --formats onnx",
        )
    )(model)


Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=TYPE[DIMS]",
        help="An input of the model, such as x=float32\\[batch,3,224,224]; give one for each argument. A dimension "
        "given as a name may have any size.",
        show_default=False,
        rich_help_panel="Model",
    ),
]


@json_option("model")
def model(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:NAME",
            help="A function, an Equinox, Flax or Haiku model, or a function without arguments that makes one. The "
            "file is run.",
            show_default=False,
        ),
    ],
    inputs: Inputs = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The artifact folder.", show_default="artifacts/NAME"),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="stablehlo, savedmodel, onnx; repeat the option or separate them by commas.",
            show_default="all",
            rich_help_panel="Exported function",
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Names of the outputs, in order; repeat the option or separate them by commas.",
            show_default="the model's own",
            rich_help_panel="Exported function",
        ),
    ] = None,
    call: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A further keyword argument of each call, such as train=false; VALUE is JSON. Repeat the option for "
            "several.",
            show_default=False,
            rich_help_panel="Model",
        ),
    ] = None,
    opset: options.Opset = DEFAULT_OPSET,
    target: options.Target = "portable",
    via: options.Via = "stablehlo",
    precision: options.ModelPrecision = "float32",
    no_check: options.NoCheck = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    *,
    answer: Answer,
) -> None:
    """Export a JAX model of a Python file: Equinox, Flax, Haiku or a plain function."""
    onnx = OnnxSettings(opset, target, via)
    onnx.check()
    names = tuple(words(formats, "--formats")) or tuple(FORMATS)
    if unknown := [name for name in names if name not in FORMATS]:
        raise UsageError(f"--formats {','.join(unknown)}: expected some of {', '.join(FORMATS)}")
    if "savedmodel" in (*names, via):
        need_extra("savedmodel", "a SavedModel")

    from swift_export.exporting import identified
    from swift_export.lowering.lower import keep_off_accelerators
    from swift_export.models.half_precision import in_precision
    from swift_export.models.input_specs import parse_input
    from swift_export.models.python_files import load_model, split_target

    console = Console(quiet, json=answer.wanted)
    file, name = split_target(source)
    specs = dict(parse_input(text) for text in inputs or ())
    if len(specs) != len(inputs or ()):
        raise UsageError("--input: expected different names of inputs, found one twice")
    keywords = _keywords(call or ())
    keep_off_accelerators()

    chosen = tuple(words(outputs, "--outputs"))
    with console.progress() as on_progress:
        on_progress(f"loading {source}")
        more = {"outputs": chosen, "call": keywords}
        loaded = identified(load_model(file, name, specs, **{key: value for key, value in more.items() if value}))
        loaded = in_precision(loaded, precision)
    export_and_answer(
        names,
        loaded,
        output or Path("artifacts") / loaded.name,
        onnx=onnx,
        check=not no_check,
        force=force,
        console=console,
        answer=answer,
    )


def _keywords(texts: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments that ``--call`` gives; raises UsageError for any other form."""
    keywords: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            keywords[name] = json.loads(value)
        except ValueError:
            equals = ""
        if not equals or not name.isidentifier():
            raise UsageError(f"--call {shown(text)}: expected NAME=VALUE with a JSON value, such as train=false")
    return keywords
