"""jax2tf's SavedModels through tf2onnx: the StableHLO inside ``XlaCallModule`` goes through this lowering.

tf2onnx 1.17 knows neither that op nor its attributes; what is missing is lent to it for the time of one conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.errors import LoweringError
from swift_export.lowering.onnx import module as mlir
from swift_export.lowering.onnx.builder import SCOPE
from swift_export.lowering.onnx.convert import stablehlo_to_onnx
from swift_export.lowering.onnx.passes.match import sizes

__all__ = ["Record", "tf2onnx_handlers", "tf2onnx_prepared"]

Handlers = dict[str, tuple[Callable[..., None], list[str]]]

#: Attributes of XlaCallModule that ONNX nodes cannot hold and that say nothing about the result.
ATTRIBUTES = {"Sout", "function_list", "disabled_checks", "dim_args_spec", "platforms"}


@dataclass
class Record:
    """Names that a conversion is given, and what tf2onnx would lose of its result.

    ``argument_names`` are those of the ``XlaCallModule``'s inputs (constant ones become initializers of that name),
    ``dim_names`` as in ``stablehlo_to_onnx``. ``types`` collects element type and shape of every value by name.
    """

    argument_names: Sequence[str] | None = None
    dim_names: Mapping[str, Sequence[str | int | None]] = field(default_factory=dict)
    types: dict[str, tuple[oir.DataType, list[int | str]]] = field(default_factory=dict)

    def restore(self, graph: oir.Graph) -> None:
        """Give a graph that came back from tf2onnx its types and scopes again."""
        for node in graph:
            node.metadata_props[SCOPE] = str(node.name).rpartition("/")[0]
            for value in node.outputs:
                if value.name in self.types:
                    value.dtype, shape = self.types[value.name]
                    value.shape = oir.Shape(shape)


def tf2onnx_handlers(record: Record | None = None) -> Handlers:
    """Handlers for tf2onnx's ``custom_op_handlers``: any SavedModel that jax2tf made goes through with them."""
    record = record or Record()

    def call_module(ctx: Any, node: Any, name: str, args: Any) -> None:
        source = node.get_attr_value("module")
        names, arguments = _arguments(source, node, record.argument_names)
        constants = {n: v for n, (v, _) in zip(names, arguments, strict=True) if v is not None}
        model = stablehlo_to_onnx(
            source,
            constants=constants,
            argument_names=names,
            dim_names=record.dim_names,
            opset=ctx.opset,
            fuse=False,
        )
        inputs = {n: tensor for n, (_, tensor) in zip(names, arguments, strict=True) if tensor is not None}
        outputs = list(node.output)
        shapes, dtypes = node.output_shapes, node.output_dtypes
        ctx.remove_node(name)
        _insert(ctx, model.graph, inputs, outputs, record)
        for output, shape, dtype in zip(outputs, shapes, dtypes, strict=True):
            ctx.set_shape(output, shape)
            ctx.set_dtype(output, dtype)

    def identity(ctx: Any, node: Any, name: str, args: Any) -> None:
        node.type = "Identity"
        for attribute in list(node.attr):
            del node.attr[attribute]

    return {"XlaCallModule": (call_module, []), "PreventGradient": (identity, [])}


def _arguments(
    source: bytes, node: Any, given: Sequence[str] | None
) -> tuple[list[str], list[tuple[np.ndarray | None, str | None]]]:
    """Names of the arguments of ``main``, and for each its constant value or the tensor that feeds it."""
    module = mlir.read_module(source)  # held here: its ops live as long as it does
    parameters = list(mlir.main_function(module).regions[0].blocks[0].arguments)
    arguments: list[tuple[np.ndarray | None, str | None]] = [
        (np.asarray(producer.get_tensor_value(as_list=False)), None) if producer.is_const() else (None, tensor)
        for producer, tensor in zip(node.inputs, node.input, strict=True)
    ]
    names = list(given or (mlir.argument_name(p, i) for i, p in enumerate(parameters[-len(arguments) :])))
    if len(parameters) == len(arguments) + 1:
        # A module for several platforms is told first which one it runs on: they are in the order of its attribute.
        names.insert(0, "platform_index")
        arguments.insert(0, (np.zeros((), np.int32), None))
    if len(parameters) != len(arguments):
        raise LoweringError(f"XlaCallModule: its module takes {len(parameters)} arguments, found {len(arguments)}")
    return names, arguments


def _insert(
    ctx: Any,
    graph: oir.Graph,
    inputs: dict[str, str],
    outputs: Sequence[str],
    record: Record,
) -> None:
    """Copy the nodes of ``graph`` into tf2onnx's graph."""
    names: dict[oir.Value, str] = {v: inputs[str(v.name)] for v in graph.inputs}
    for value in graph.initializers.values():
        assert value.const_value is not None
        names[value] = ctx.make_const(str(value.name), value.const_value.numpy()).output[0]
    for value, output in zip(graph.outputs, outputs, strict=True):
        names[value] = output
    for node in graph:
        ctx.make_node(
            node.op_type,
            [names[v] if v is not None else "" for v in node.inputs],
            attr={name: attribute.value for name, attribute in node.attributes.items()},
            outputs=[names.setdefault(v, f"{node.name}:{i}") for i, v in enumerate(node.outputs)],
            shapes=[[s if isinstance(s, int) else -1 for s in sizes(v)] for v in node.outputs],
            dtypes=[v.dtype.value if v.dtype is not None else None for v in node.outputs],
            name=str(node.name),
        )
        for value in node.outputs:
            assert value.dtype is not None
            record.types[names[value]] = (value.dtype, sizes(value))


@contextmanager
def tf2onnx_prepared() -> Iterator[None]:
    """Lend tf2onnx what ``XlaCallModule`` needs; afterwards its globals are as they were."""
    from tf2onnx import handler, tf_utils

    ignored = set(tf_utils.TF_IGNORED_NODE_ATTRS)
    # Custom handlers stay registered for ever otherwise.
    registry = handler.tf_op
    opsets = {d: [dict(versions) for versions in v] for d, v in registry._OPSETS.items()}
    mappings = registry._MAPPING, registry._DOMAIN_MAPPING
    tf_utils.TF_IGNORED_NODE_ATTRS |= ATTRIBUTES
    try:
        yield
    finally:
        tf_utils.TF_IGNORED_NODE_ATTRS.clear()
        tf_utils.TF_IGNORED_NODE_ATTRS |= ignored
        registry._OPSETS.clear()
        registry._OPSETS.update(opsets)
        registry._MAPPING, registry._DOMAIN_MAPPING = mappings
