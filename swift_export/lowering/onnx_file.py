"""The ONNX artifact, made from the lowered module by the StableHLO -> ONNX converter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as oir

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import UsageError
from swift_export.formats.onnx_writing import weightless, write_model
from swift_export.lowering.lower import Lowered, lower_open
from swift_export.lowering.metadata import essentials
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models import Model

__all__ = ["model_to_onnx", "write_onnx"]


def write_onnx(
    model: Model, folder: Path, settings: OnnxSettings | None = None, lowered: Lowered | None = None
) -> None:
    """Write ``onnx/model.onnx`` below ``folder``, with the weights under their own names."""
    converted = model_to_onnx(model, settings or OnnxSettings(), lowered)
    onnx.checker.check_model(_to_check(converted), full_check=True)
    target = folder / "onnx"
    target.mkdir(parents=True, exist_ok=True)
    write_model(converted, target / "model.onnx")


def _to_check(model: oir.Model) -> onnx.ModelProto:
    """The model with its weights as inputs: their elements concern no check, and may be more than a message holds."""
    proto, weights = weightless(model)
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in weights]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    proto.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, tensor.dtype.value, list(tensor.shape.numpy()))
        for name, tensor in weights.items()
    )
    return proto


def model_to_onnx(model: Model, settings: OnnxSettings, lowered: Lowered | None = None) -> oir.Model:
    """The model as ONNX, with its essentials; ``lowered`` is what `lower_open` makes of it.

    Raises LoweringError for operations that ONNX cannot express, UsageError for a model that cannot be traced.
    """
    settings.check()
    if clash := {spec.name for spec in model.inputs} & set(model.weights):
        raise UsageError(
            f"model {model.name}: expected different names of inputs and weights, found {', '.join(sorted(clash))} in "
            "both"
        )
    if model.settings.get("precision") == "bfloat16" and settings.via == "savedmodel":
        raise UsageError("--via savedmodel: expected --precision float32, float16 or mixed, found bfloat16; omit --via")
    lowered = lowered or lower_open(model)
    if settings.via == "savedmodel":
        from swift_export.lowering.via_savedmodel import savedmodel_to_onnx

        converted = savedmodel_to_onnx(model, lowered, settings)
    else:
        converted = _converted(model, lowered, settings)
    by_name = {value.name: value for value in converted.graph.outputs}
    converted.graph.outputs.clear()
    converted.graph.outputs.extend(by_name[name] for name in model.outputs)
    converted.graph.name = model.name
    converted.doc_string = model.card.description
    facts = essentials(model, settings, lowered.outputs)
    converted.metadata_props.update(facts | {"swift_export.via": settings.via})
    return converted


def _converted(model: Model, lowered: Lowered, settings: OnnxSettings) -> oir.Model:
    """Initializers keep names, layout and bits of the weights; slices of rows are named ``NAME[0:36]``."""
    return stablehlo_to_onnx(
        lowered.module,
        constants={name: np.asarray(array) for name, array in sorted(model.stored_weights.items())},
        argument_names=lowered.arguments,
        result_names=lowered.results,
        dim_names={spec.name: [dim if isinstance(dim, str) else None for dim in spec.dims] for spec in model.inputs},
        opset=settings.opset,
        target=settings.target,
        native=model.settings.get("precision") == "bfloat16",
    )
