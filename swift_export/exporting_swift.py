"""Exports of SwiFT in Python; weights, outputs, frames and further clips are given as on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from swift_export.converter.opsets import DEFAULT_OPSET, TARGETS
from swift_export.exporting import ExportResult, run_export
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models.swift.config import LOGITS
from swift_export.models.swift.precision import IO_DTYPES, PRECISIONS
from swift_export.models.swift.settings import ATTENTION, SwiFTSettings, kind_of_output
from swift_export.system.items import as_items

if TYPE_CHECKING:
    from swift_export.models import CheckInput
    from swift_export.models.swift.backbone.swift import SwiFT
    from swift_export.models.swift.weights import Weights

__all__ = ["default_output", "export_onnx", "export_savedmodel", "export_stablehlo", "load_backbone"]


class Options(TypedDict, total=False):
    """The options of all export functions: see `run_export` and `SwiFTSettings`.

    ``variant`` is the published model that the weights must belong to; ``head`` is a probe's file; ``inputs`` are NIfTI
    runs, folders of frames or ``.npy`` clips, as paths or loaded. ``placement`` is the position of scans on the grid,
    by default that of the model's training data.
    """

    variant: str | None
    frames: int | None
    batch: int | None
    outputs: str | Sequence[str]
    output_kind: str | None
    head: str | Path | None
    attention: str
    precision: str
    io_dtype: str
    check: bool
    inputs: str | Path | CheckInput | Sequence[str | Path | CheckInput]
    placement: str | None
    device: str
    force: bool


def default_output(weights: Weights, settings: SwiFTSettings) -> Path:
    """The default folder, ``artifacts/<variant>`` below the working directory; with a head, that has other weights, it
    is ``artifacts/<variant>-logits``, and in half precision ``artifacts/<variant>-float16``.
    """
    name = weights.variant + (f"-{LOGITS}" if settings.output_kind == LOGITS else "")
    return Path("artifacts") / (name if settings.precision == PRECISIONS[0] else f"{name}-{settings.precision}")


def load_backbone(source: str | Path = "auto", *, variant: str | None = None) -> SwiFT:
    """The backbone as an Equinox module: ``load_backbone(...)(bold)`` returns features.

    ``source`` is an argument of `load_weights`: a checkpoint, a bundle, a hub id, ``auto`` or ``synthetic:SEED``.
    """
    from swift_export.models.swift.backbone.swift import SwiFT
    from swift_export.models.swift.weights import load_weights

    return SwiFT.from_weights(load_weights(source, variant=variant))


def export_stablehlo(
    source: str | Path | Weights = "auto", *, output: str | Path | None = None, **options: Unpack[Options]
) -> ExportResult:
    """Export to a jax.export file and portable bytecode, below ``output`` (default ``artifacts/<variant>``).

    ``source`` is an argument of `load_weights` or its result. Raises as `run_export`.
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
    """Export to ONNX, directly from StableHLO or ``via`` a SavedModel; otherwise as `export_stablehlo`.

    ``target`` is ``portable`` (only ai.onnx operators), or ``onnxruntime`` (its own operators where they are faster).
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
    outputs: str | Sequence[str] = ("features",),
    output_kind: str | None = None,
    head: str | Path | None = None,
    attention: str = ATTENTION[0],
    precision: str = PRECISIONS[0],
    io_dtype: str = IO_DTYPES[0],
    opset: int = DEFAULT_OPSET,
    target: str = TARGETS[0],
    via: str = "stablehlo",
    check: bool = True,
    inputs: str | Path | CheckInput | Sequence[str | Path | CheckInput] = (),
    placement: str | None = None,
    device: str = "cpu",
    force: bool = False,
) -> ExportResult:
    from swift_export.models.swift.probe_head import with_probe
    from swift_export.models.swift.swift_model import swift_model
    from swift_export.models.swift.weights import load_weights
    from swift_export.scans.placement import parse_placement

    weights = load_weights(source, variant=variant) if isinstance(source, (str, Path)) else source
    if placement is not None:
        weights = weights.with_contract(weights.contract.changed(parse_placement(placement), None, None))
    kind = kind_of_output(output_kind, head)
    settings = SwiFTSettings(frames, batch, as_items(outputs), kind, attention, precision, io_dtype)
    onnx = OnnxSettings(opset, target, via)
    settings.check(weights.config)
    onnx.check()
    weights = weights if head is None else with_probe(weights, Path(head))
    given_inputs: tuple[str | Path | CheckInput, ...] = as_items(inputs)
    return run_export(
        [name],
        swift_model(weights, settings),
        default_output(weights, settings) if output is None else Path(output),
        onnx=onnx,
        check=check,
        inputs=[_input(given, weights, frames) for given in given_inputs],
        device=device,
        force=force,
    )


def _input(given: str | Path | CheckInput, weights: Weights, frames: int | None) -> CheckInput:
    from swift_export.models.swift.check_inputs import Given
    from swift_export.models.swift.clip import load_clip

    if not isinstance(given, (str, Path)):
        return given
    contract = weights.contract
    placement = None if contract.placement is None else contract.placed()
    return Given(load_clip(given, weights.config, frames, placement=placement, stride=contract.stride))
