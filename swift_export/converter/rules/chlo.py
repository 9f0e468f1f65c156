"""CHLO, the frameworks' functions beyond StableHLO's: translated to ONNX's op or by their definition."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter import mlir
from swift_export.converter.builder import broadcast_shapes
from swift_export.converter.dims import Shape
from swift_export.converter.frame import RULES, Frame, rule
from swift_export.converter.rules.calls import Part, Renamed
from swift_export.converter.rules.elementwise import compared, finish, terms
from swift_export.converter.rules.terms import Term
from swift_export.errors import LoweringError
from swift_export.formats.mlir_bindings import PassManager, stablehlo

__all__: list[str] = []

DataType = oir.DataType

#: ONNX has these ops, and ONNX Runtime computes them in float32; 16-bit floats are converted.
OWN = {
    "chlo.acos": "Acos",
    "chlo.acosh": "Acosh",
    "chlo.asin": "Asin",
    "chlo.asinh": "Asinh",
    "chlo.atan": "Atan",
    "chlo.atanh": "Atanh",
    "chlo.cosh": "Cosh",
    "chlo.erf": "Erf",
    "chlo.sinh": "Sinh",
}

#: Elementwise functions of one, two or three operands of one type.
DEFINED = (
    *("bessel_i1e", "conj", "digamma", "erf_inv", "erfc", "is_inf", "is_neg_inf", "is_pos_inf", "lgamma", "square"),
    *("next_after", "polygamma", "tan", "zeta"),
)


@rule(*OWN)
def own(frame: Frame, op: Any) -> oir.Value:
    """One operand, one ONNX op of the same meaning; in float64 the definition."""
    (x,) = terms(frame, op)
    if x.dtype == DataType.DOUBLE:
        return _by_definition(frame, op, op.operation.name)
    return finish(frame, op, x.apply(OWN[op.operation.name]))


@rule(*(f"chlo.{name}" for name in DEFINED))
def defined(frame: Frame, op: Any) -> oir.Value:
    """Translate the op's definition in StableHLO."""
    return _by_definition(frame, op, op.operation.name)


def _by_definition(frame: Frame, op: Any, name: str) -> oir.Value:
    """Translate the definition on scalars: ONNX broadcasts, so the result serves operands of all shapes."""
    types = tuple(str(value.type.element_type) for value in (*op.operands, *op.results))
    main = mlir.main_function(_definition(name, types))
    inner = Frame(frame.builder, {}, frame.scope)
    for parameter, operand in zip(main.regions[0].blocks[0].arguments, op.operands, strict=True):
        inner.values[parameter], inner.shapes[parameter] = frame.compact(operand), ()
    (returned,) = inner.run(main.regions[0])
    return finish(frame, op, Term(frame.builder, inner.compact(returned)))


@cache
def _definition(name: str, types: tuple[str, ...]) -> Any:
    """A module with a CHLO op on scalars as ``@main``, expanded by StableHLO's own pass."""
    stablehlo.register_stablehlo_passes()
    *operands, result = (f"tensor<{kind}>" for kind in types)
    names = ", ".join(f"%{i}" for i in range(len(operands)))
    module = mlir.read_module(
        f"func.func @main({', '.join(f'%{i}: {kind}' for i, kind in enumerate(operands))}) -> {result} {{\n"
        f'  %result = "{name}"({names}) : ({", ".join(operands)}) -> {result}\n  return %result : {result}\n}}'
    )
    pipeline = "builtin.module(func.func(chlo-legalize-to-stablehlo))"
    PassManager.parse(pipeline, module.context).run(module.operation)
    return module


@rule("chlo.constant", attributes=["value"])
def constant(frame: Frame, op: Any) -> oir.Value:
    """Translated like StableHLO's op."""
    return frame.builder.constant(mlir.constant_array(op.attributes["value"]))


@rule("chlo.constant_like", attributes=["value"])
def constant_like(frame: Frame, op: Any) -> oir.Value:
    """One number in the shape of the operand."""
    number = op.attributes["value"]
    frame.shapes[op.results[0]] = frame.shape(op.operands[0])
    return frame.builder.constant(np.asarray(number.value, frame.dtype(op.results[0]).numpy()))


BROADCAST = {
    f"chlo.broadcast_{name}": f"stablehlo.{name}"
    for name in (
        *("add", "and", "atan2", "divide", "maximum", "minimum", "multiply", "or", "power", "remainder"),
        *("shift_left", "shift_right_arithmetic", "shift_right_logical", "subtract", "xor"),
    )
}
BROADCAST_DEFINED = {f"chlo.broadcast_{name}": f"chlo.{name}" for name in ("next_after", "polygamma", "zeta")}


@rule(*BROADCAST, *BROADCAST_DEFINED, attributes=["broadcast_dimensions"])
def broadcast(frame: Frame, op: Any) -> oir.Value:
    """The op of the same name; operands are broadcast by NumPy's rule, as in ONNX."""
    name, op = op.operation.name, _aligned(frame, op)
    shape = _broadcast_shape(frame, op)
    if name in BROADCAST_DEFINED:
        value = _by_definition(frame, op, BROADCAST_DEFINED[name])
    else:
        translated = RULES[BROADCAST[name]].translate(frame, Renamed(op, BROADCAST[name], {}))
        assert isinstance(translated, oir.Value)
        value = translated
    frame.shapes[op.results[0]] = shape
    return value


@rule("chlo.broadcast_compare", attributes=["broadcast_dimensions", "comparison_direction", "compare_type"])
def broadcast_compare(frame: Frame, op: Any) -> oir.Value:
    """The same for comparisons."""
    if "TOTALORDER" in str(op.attributes.get("compare_type", "")):
        raise frame.error(op, "compare_type TOTALORDER: the op's rule does not handle it")
    op = _aligned(frame, op)
    direction = str(op.attributes["comparison_direction"]).split()[-1].rstrip(">")
    a, b = terms(frame, op)
    return finish(frame, op, compared(direction, a, b), _broadcast_shape(frame, op))


@rule("chlo.broadcast_select")
def broadcast_select(frame: Frame, op: Any) -> oir.Value:
    """The same for choices."""
    condition, a, b = terms(frame, op)
    return finish(frame, op, condition.choose(a, b), _broadcast_shape(frame, op))


def _aligned(frame: Frame, op: Any) -> Renamed:
    """The op with operands of one rank: the axes of a smaller one are those of the other that the op names."""
    ranks = [len(frame.shape(operand)) for operand in op.operands]
    dims = list(op.attributes["broadcast_dimensions"]) if "broadcast_dimensions" in op.attributes else []
    rank = max(ranks)
    out = Renamed(op, op.operation.name, op.attributes)
    if "broadcast_dimensions" not in op.attributes or min(ranks) == rank:
        return out
    if len(dims) != min(ranks):
        raise frame.error(op, f"broadcast_dimensions {dims}: expected an axis for each of the smaller operand")
    pairs = zip(op.operands, ranks, strict=True)
    out.operands = [operand if n == rank else _stretched(frame, operand, dims, rank) for operand, n in pairs]
    return out


def _stretched(frame: Frame, operand: Any, dims: Sequence[int], rank: int) -> Part:
    """An operand with axes of size 1 between its own."""
    part, value, shape = Part(operand.type), frame.aligned(operand), frame.shape(operand)

    def placed(sizes: Shape) -> Shape:
        by_axis = dict(zip(dims, sizes, strict=True))
        return tuple(by_axis.get(axis, 1) for axis in range(rank))

    frame.values[part] = frame.builder.reshape(value, placed(frame.builder.shape(value)))
    frame.shapes[part] = placed(shape)
    return part


def _broadcast_shape(frame: Frame, op: Any) -> Shape:
    try:
        return broadcast_shapes(*(frame.shape(operand) for operand in op.operands))
    except LoweringError as error:
        raise frame.error(op, str(error)) from None
