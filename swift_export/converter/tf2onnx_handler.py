"""jax2tf's SavedModels through tf2onnx: our lowering translates the StableHLO inside ``XlaCallModule``.

tf2onnx 1.17 knows neither that op nor its attributes; support for them is installed for the time of one conversion.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter import mlir
from swift_export.converter.builder import SCOPE
from swift_export.converter.complex_pairs import is_complex
from swift_export.converter.convert import stablehlo_to_onnx
from swift_export.converter.entry_signature import EntrySignature, read_entry_signature
from swift_export.converter.passes.match import sizes
from swift_export.errors import LoweringError
from swift_export.formats.metadata import XLA_CALL

__all__ = ["Handlers", "Record", "tf2onnx_handlers"]

Handlers = dict[str, tuple[Callable[..., None], list[str]]]

#: Attributes of XlaCallModule that ONNX nodes cannot hold and that do not affect the result.
ATTRIBUTES = {"Sout", "function_list", "disabled_checks", "dim_args_spec", "platforms"}


@dataclass
class Record:
    """Settings of a conversion beside the graph, and facts about its result that tf2onnx would lose.

    ``argument_names`` names the ``XlaCallModule``'s inputs (constant ones become initializers of that name);
    ``dim_names`` is as in ``stablehlo_to_onnx``. A caller that raises the file's opset afterwards sets ``raised``: the
    module is then lowered for ``opset``, or for the opset that it needs, and ``reached`` is set to that opset.

    ``types`` collects element type and shape of every value by name.
    """

    argument_names: Sequence[str] | None = None
    dim_names: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    raised: bool = False
    opset: int | None = None
    reached: int = 0
    types: dict[str, tuple[oir.DataType, list[int | str]]] = field(default_factory=dict)

    def restore(self, graph: oir.Graph) -> None:
        """Restore types and scopes in a graph that tf2onnx returned."""
        for node in graph.all_nodes():
            node.metadata_props[SCOPE] = str(node.name).rpartition("/")[0]
            for value in node.outputs:
                if value.name in self.types:
                    value.dtype, shape = self.types[value.name]
                    value.shape = oir.Shape(shape)


@contextmanager
def tf2onnx_handlers(record: Record | None = None) -> Iterator[Handlers]:
    """Handlers for tf2onnx's ``custom_op_handlers``: inside the block, it converts jax2tf's SavedModels and functions.

    tf2onnx itself still converts the TensorFlow ops around the StableHLO::

        with tf2onnx_handlers() as handlers:
            model, _ = tf2onnx.convert.from_function(serve, signature, opset=18, custom_op_handlers=handlers)

    Afterwards tf2onnx's globals are restored, also after an error. The conversion raises LoweringError for anything
    that ONNX cannot express exactly.
    """
    record = record or Record()

    def call_module(ctx: Any, node: Any, name: str, args: Any) -> None:
        _replace(ctx, node, record)

    def identity(ctx: Any, node: Any, name: str, args: Any) -> None:
        node.type = "Identity"
        for attribute in list(node.attr):
            del node.attr[attribute]

    with _prepared():
        yield {XLA_CALL: (call_module, []), "PreventGradient": (identity, [])}


def _replace(ctx: Any, node: Any, record: Record) -> None:
    """Replace an ``XlaCallModule`` by its module's translation."""
    module = mlir.read_module(node.get_attr_value("module"))  # kept: its ops live as long as it does
    signature = read_entry_signature(module)
    kind = mlir.main_function(module).attributes["function_type"].value
    if any(map(is_complex, (*kind.inputs, *kind.results))):
        raise LoweringError(
            f"{XLA_CALL} {node.name}: expected real tensors around the module, found complex ones; take their parts "
            "inside the function"
        )
    arguments = _arguments(signature, node, record.argument_names)
    constants = {name: given for name, given in arguments.items() if not isinstance(given, str)}
    inputs = {name: tensor for name, tensor in arguments.items() if isinstance(tensor, str)}
    dims = dict(zip(arguments, signature.dims, strict=True))
    model = stablehlo_to_onnx(
        module,
        constants=constants,
        argument_names=list(arguments),
        dim_names={name: dims[name] for name in inputs} | dict(record.dim_names),
        opset=record.opset if record.raised else ctx.opset,
        fuse=False,
    )
    record.reached = max(record.reached, model.opset_imports[""])
    outputs = list(node.output)
    shapes, dtypes = node.output_shapes, node.output_dtypes
    ctx.remove_node(node.name)
    names_there = {str(n.name) for n in model.graph.all_nodes()} | set(model.graph.initializers)
    # Two modules in one graph may have nodes of the same name.
    taken = any(ctx.get_node_by_name(n) is not None for n in names_there)
    _Insertion(node.name if taken else "", record).graph(ctx, model.graph, inputs, outputs)
    for output, shape, dtype in zip(outputs, shapes, dtypes, strict=True):
        ctx.set_shape(output, shape)
        ctx.set_dtype(output, dtype)


def _arguments(signature: EntrySignature, node: Any, given: Sequence[str] | None) -> dict[str, np.ndarray | str]:
    """For each argument of ``main``, by name: its constant value, or the tensor that feeds it."""
    if len(signature.inputs) != len(node.input):
        raise LoweringError(
            f"{XLA_CALL} {node.name}: expected as many inputs as its module takes, {len(signature.inputs)}, found "
            f"{len(node.input)}"
        )
    names = list(signature.arguments)
    for i, name in zip(signature.inputs, given or (), strict=False):
        names[i] = name
    # The first argument of a module for several platforms selects one, by its place in the module's attribute.
    arguments: dict[str, np.ndarray | str] = {name: np.zeros((), np.int32) for name in names}
    for i, producer, tensor in zip(signature.inputs, node.inputs, node.input, strict=True):
        constant = producer.is_const()
        arguments[names[i]] = np.asarray(producer.get_tensor_value(as_list=False)) if constant else tensor
    return arguments


@dataclass(frozen=True)
class _Insertion:
    """Copies a graph of this lowering into tf2onnx's; ``place`` makes its names distinct from the existing ones."""

    place: str
    record: Record

    @property
    def prefix(self) -> str:
        """Prefix for names of nodes and their values; it looks like a scope."""
        return f"{self.place}/" if self.place else ""

    def graph(self, ctx: Any, graph: oir.Graph, inputs: Mapping[str, str], outputs: Sequence[str]) -> None:
        """Copy the nodes of ``graph``; its inputs and outputs are tensors of ``ctx``."""
        names: dict[oir.Value, str] = {v: inputs[str(v.name)] for v in graph.inputs}
        for value in graph.initializers.values():
            assert value.const_value is not None
            # Appended: the beginning of a name marks it as unnamed or not.
            name = f"{value.name}@{self.place}" if self.place else str(value.name)
            names[value] = ctx.make_const(name, value.const_value.numpy()).output[0]
        names.update(zip(graph.outputs, outputs, strict=True))
        self._nodes(ctx, graph, names)

    def _nodes(self, ctx: Any, graph: oir.Graph, names: dict[oir.Value, str]) -> None:
        for node in graph:
            name = self.prefix + str(node.name)
            made = [names.setdefault(v, f"{name}:{i}") for i, v in enumerate(node.outputs)]
            bodies = {a.name: a.value for a in node.attributes.values() if a.type == oir.AttributeType.GRAPH}
            ctx.make_node(
                node.op_type,
                [names[v] if v is not None else "" for v in node.inputs],
                # As protobufs, so that tf2onnx need not guess the type of an empty list.
                attr={a.name: oir.to_proto(a) for a in node.attributes.values() if a.name not in bodies},
                outputs=made,
                shapes=[_static(v) for v in node.outputs],
                dtypes=[v.dtype.value if v.dtype is not None else None for v in node.outputs],
                name=name,
                branches={attribute: self._body(ctx, body, names, name) for attribute, body in bodies.items()},
            )
            for value in node.outputs:
                assert value.dtype is not None
                self.record.types[names[value]] = (value.dtype, sizes(value))

    def _body(self, ctx: Any, graph: oir.Graph, outer: Mapping[oir.Value, str], name: str) -> Any:
        """The body of a Loop or If, which can read outer values."""
        body = ctx.create_new_graph_with_same_config()
        body.parent_graph = ctx
        names = dict(outer)
        for i, value in enumerate(graph.inputs):
            assert value.dtype is not None
            names[value] = self.prefix + str(value.name or f"{name}/input{i}")
            body.add_graph_input(names[value], value.dtype.value, _static(value))
        self._nodes(body, graph, names)
        for value in graph.outputs:
            assert value.dtype is not None
            body.add_graph_output(names[value], value.dtype.value, _static(value))
        return body


def _static(value: oir.Value) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in sizes(value)]


@contextmanager
def _prepared() -> Iterator[None]:
    """Install support for ``XlaCallModule`` in tf2onnx; restore its globals afterwards."""
    # The whole package: a module first imported inside the block would register handlers there and lose them.
    import tf2onnx.convert  # noqa: F401
    from tf2onnx import handler, tf_loader, tf_utils, utils

    log = logging.getLogger("tf2onnx")
    level = log.level
    ignored = set(tf_utils.TF_IGNORED_NODE_ATTRS)
    # Otherwise custom handlers would stay registered.
    registry = handler.tf_op
    opsets = {d: [dict(versions) for versions in v] for d, v in registry._OPSETS.items()}
    mappings = registry._MAPPING, registry._DOMAIN_MAPPING
    functions, counter = dict(tf_loader._FUNCTIONS), utils.INTERNAL_NAME
    tf_utils.TF_IGNORED_NODE_ATTRS |= ATTRIBUTES
    # Numbers in names start again, so that equal graphs give equal files. Errors are raised and need no log.
    utils.INTERNAL_NAME = 1
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
        utils.INTERNAL_NAME = counter
        tf_loader._FUNCTIONS.clear()
        tf_loader._FUNCTIONS.update(functions)
        tf_utils.TF_IGNORED_NODE_ATTRS.clear()
        tf_utils.TF_IGNORED_NODE_ATTRS |= ignored
        registry._OPSETS.clear()
        registry._OPSETS.update(opsets)
        registry._MAPPING, registry._DOMAIN_MAPPING = mappings
