"""Functions of several nodes that stay whole during the passes, so that these see them, and are written out at the end.

ONNX has no Expm1 and Log1p. It has Elu, Mish and Softplus, but ONNX Runtime's Elu loses digits near zero, and its other
two take three to five times as long as these nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.passes.match import (
    array,
    constant_like,
    either,
    inputs,
    made_by,
    replace,
    scalar,
    scope,
    sizes,
)
from swift_export.converter.passes.nested import all_nodes, root
from swift_export.converter.passes.templates import match
from swift_export.converter.passes.zeros import MINIMUM
from swift_export.converter.rules import special
from swift_export.converter.rules.terms import Term

__all__ = ["write_out"]

DEFINITIONS: dict[str, Callable[[Term], Term]] = {
    "Elu": special.elu,
    "Expm1": special.exponential_minus_one,
    "Log1p": special.log_plus_one,
    "Mish": special.mish,
    "Softplus": special.softplus,
}


def write_out(graph: oir.Graph) -> int:
    """Each of these functions, in bodies too -> nodes that ONNX Runtime computes exactly and fast."""
    count = 0
    for node in list(all_nodes(graph)):
        if node.op_type not in DEFINITIONS or node.domain:
            continue
        definition = DEFINITIONS[node.op_type]
        if node.op_type == "Elu":
            alpha = node.attributes.get("alpha")
            definition = partial(special.elu, alpha=1.0 if alpha is None else alpha.as_float())
        elif node.op_type == "Expm1" and _is_negative(inputs(node)[0]):
            definition = special.exponential_minus_one_below_zero
        _expand(node, definition)
        count += 1
    return count


def _is_negative(value: oir.Value) -> bool:
    """Whether a value is known to be 0 at most, or NaN."""
    node = made_by(value, "Div", "Min", "Mul", "Neg", "Where")
    if node is None:
        return False
    if node.op_type == "Where":
        return match(value, MINIMUM) is not None
    if node.op_type == "Neg":
        return made_by(inputs(node)[0], "Abs", "Exp", "Relu") is not None
    for other, number in either(node)[: 1 if node.op_type == "Div" else 2]:
        limit = scalar(number)
        if limit is not None:
            return limit <= 0 if node.op_type == "Min" else limit > 0 and _is_negative(other)
    return False


def _expand(node: oir.Node, definition: Callable[[Term], Term]) -> None:
    """Put the nodes of an elementwise function in the place of one node."""
    graph, output, (x,) = node.graph, node.outputs[0], inputs(node)
    assert isinstance(graph, oir.Graph)
    assert x.dtype is not None
    builder = Builder(root(graph).opset_imports[""])
    builder.scope = scope(node)
    operand = builder.parameter(x.dtype, ())
    result = special.through_float32(definition, Term(builder, operand)).value
    for made in builder.nodes:
        for value in made.outputs:
            value.shape = oir.Shape(sizes(output))
        graph.insert_before(node, made)
    for constant in builder.initializers.values():
        elements = array(constant)
        assert elements is not None
        constant.replace_all_uses_with(constant_like(graph, elements))
    operand.replace_all_uses_with(x)
    replace(graph, output, result)
