"""Gelu out of erf."""

from __future__ import annotations

import math

import onnx_ir as oir

from swift_export.lowering.onnx.passes.match import either, inputs, made_by, new_value, replace, scalar, sizes

__all__ = ["fuse_gelu"]

GELU_SINCE = 20


def fuse_gelu(graph: oir.Graph) -> int:
    """``0.5 * x * (1 + erf(x / sqrt(2)))``, its factors in any order -> ``Gelu(x)``, from opset 20 on."""
    if graph.opset_imports[""] < GELU_SINCE:
        return 0
    count = 0
    for node in list(graph):
        if node.op_type != "Mul":
            continue
        x = _argument(node)
        if x is not None:
            gelu = new_value(graph, node, "Gelu", [x], sizes(x), {"approximate": "none"})
            replace(graph, node.outputs[0], gelu)
            count += 1
    return count


def _argument(node: oir.Node) -> oir.Value | None:
    """x, if the product is gelu(x)."""
    for factor in _factors(node.outputs[0], None):
        x = _erf_argument(factor)
        if x is None:
            continue
        rest = _factors(node.outputs[0], x)
        if factor not in rest or x not in rest:
            continue
        rest.remove(factor)
        rest.remove(x)
        numbers = [scalar(v) for v in rest]
        if all(n is not None for n in numbers) and math.prod(n for n in numbers if n is not None) == 0.5:
            return x
    return None


def _factors(value: oir.Value, stop: oir.Value | None) -> list[oir.Value]:
    """The factors of a tree of products of at most three levels, not looking into ``stop``."""
    factors = [value]
    for _ in range(3):
        split: list[oir.Value] = []
        for factor in factors:
            product = made_by(factor, "Mul") if factor is not stop else None
            split += inputs(product) if product is not None else [factor]
        factors = split
    return factors


def _erf_argument(factor: oir.Value) -> oir.Value | None:
    """x, if the factor is 1 + erf(x / sqrt(2))."""
    add = made_by(factor, "Add")
    for one, erf_value in either(add) if add is not None else []:
        erf = made_by(erf_value, "Erf")
        if erf is None or scalar(one) != 1:
            continue
        scaled = made_by(erf.inputs[0], "Mul", "Div")
        if scaled is None:
            continue
        orders = either(scaled) if scaled.op_type == "Mul" else [(inputs(scaled)[0], inputs(scaled)[1])]
        wanted = math.sqrt(0.5) if scaled.op_type == "Mul" else math.sqrt(2)
        for x, constant in orders:
            found = scalar(constant)
            # One float32 rounding of the constant, whichever way it was computed.
            if found is not None and math.isclose(found, wanted, rel_tol=2**-23):
                return x
    return None
