"""Fuses Gelu from erf or tanh."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.complement import complement_of
from swift_export.converter.passes.match import (
    constant_like,
    either,
    inputs,
    made_by,
    new_value,
    replace,
    scalar,
    sizes,
)
from swift_export.converter.passes.nested import root
from swift_export.converter.passes.polynomial import polynomial
from swift_export.converter.passes.roundings import rounding_of, unrounded

__all__ = ["fuse_gelu"]

GELU_SINCE = 20

#: The function f in 0.5 * x * (1 + f(p(x))), its polynomial p by exponent, and the op's name for the form.
#: https://arxiv.org/abs/1606.08415
FORMS = {
    "Erf": ({1: math.sqrt(0.5)}, "none"),
    "Tanh": ({1: math.sqrt(2 / math.pi), 3: math.sqrt(2 / math.pi) * 0.044715}, "tanh"),
}
#: Erfc is 1 - Erf.
COMPLEMENT = ({1: -math.sqrt(0.5)}, "none")

#: The distance between 1 and the next larger number. ONNX Runtime's Gelu has float32's constants for float64 too.
EPSILON = {
    oir.DataType.FLOAT: 2**-23,
    oir.DataType.FLOAT16: 2**-10,
    oir.DataType.BFLOAT16: 2**-7,
}


def fuse_gelu(graph: oir.Graph) -> int:
    """``0.5 * x * (1 + erf(x / sqrt(2)))``, ``0.5 * x * erfc(-x / sqrt(2))`` or
    ``0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x³)))`` -> Gelu.

    Factors and terms may have any order, and the cube any form. Before opset 20, only erfc is replaced, by 1 + erf. JAX
    writes out erfc in float32, between conversions if x has 16 bits.
    """
    missing = root(graph).opset_imports[""] < GELU_SINCE
    count = 0
    for node in list(graph):
        found = _argument(node) if node.op_type == "Mul" else None
        if found is None or (missing and not found[2]):
            continue
        x, approximate, erfc = found
        kind = x.dtype
        assert kind is not None
        x = _cast(graph, node, x, oir.DataType.FLOAT if erfc else kind)
        if missing:
            gelu = _by_erf(graph, node, x)
        else:
            gelu = new_value(graph, node, "Gelu", [x], sizes(x), {"approximate": approximate})
        replace(graph, node.outputs[0], _cast(graph, node, gelu, kind))
        count += 1
    return count


def _cast(graph: oir.Graph, node: oir.Node, value: oir.Value, dtype: oir.DataType) -> oir.Value:
    if value.dtype == dtype:
        return value
    return new_value(graph, node, "Cast", [value], sizes(value), {"to": dtype.value}, dtype=dtype)


def _by_erf(graph: oir.Graph, node: oir.Node, x: oir.Value) -> oir.Value:
    assert x.dtype is not None
    half, root_of_half, one = (constant_like(graph, np.asarray(v, x.dtype.numpy())) for v in (0.5, math.sqrt(0.5), 1))
    value = x
    for op_type, other in (("Mul", root_of_half), ("Erf", None), ("Add", one), ("Mul", x), ("Mul", half)):
        value = new_value(graph, node, op_type, [value] if other is None else [value, other], sizes(x))
    return value


def _argument(node: oir.Node) -> tuple[oir.Value, str, bool] | None:
    """x, the op's name for the form, and whether erfc is in it, if the product is gelu(x)."""
    levels = _factors(node.outputs[0], None)
    for factor in levels[-1]:
        found = _one_plus(factor)
        if found is None:
            continue
        inner, (wanted, approximate) = found
        for x in {id(v): v for level in levels for v in level if v is not factor and scalar(v) is None}.values():
            if sizes(x) != sizes(node.outputs[0]) or not _equal(polynomial(inner, x), wanted, rounding_of(x)):
                continue
            rest = _factors(node.outputs[0], x)[-1]
            if factor not in rest or x not in rest:
                continue
            rest.remove(factor)
            rest.remove(x)
            numbers = [scalar(v) for v in rest]
            if None not in numbers and math.prod(n for n in numbers if n is not None) == 0.5:
                return x, approximate, complement_of(unrounded(factor)) is not None
    return None


def _factors(value: oir.Value, stop: oir.Value | None) -> list[list[oir.Value]]:
    """The factors of a tree of products, level by level, at most three deep, without those inside ``stop``."""
    levels = [[value]]
    for _ in range(3):
        split: list[oir.Value] = []
        for factor in levels[-1]:
            product = made_by(factor, "Mul") if factor is not stop else None
            split += inputs(product) if product is not None else [factor]
        levels.append(split)
    return levels


def _one_plus(factor: oir.Value) -> tuple[oir.Value, tuple[dict[int, float], str]] | None:
    """The function's argument and its form, if the factor is 1 + erf, erfc or 1 + tanh."""
    complement = complement_of(unrounded(factor))
    if complement is not None:
        return unrounded(complement), COMPLEMENT
    add = made_by(factor, "Add")
    for one, other in either(add) if add is not None else []:
        function = made_by(other, *FORMS)
        if function is not None and scalar(one) == 1:
            return inputs(function)[0], FORMS[function.op_type]
    return None


def _equal(found: dict[int, float] | None, wanted: dict[int, float], dtype: oir.DataType | None) -> bool:
    if found is None or dtype not in EPSILON or found.keys() != wanted.keys():
        return False
    # In any form, a coefficient is the product of at most two constants, each rounded once.
    return all(math.isclose(found[n], wanted[n], rel_tol=2 * EPSILON[dtype]) for n in wanted)
