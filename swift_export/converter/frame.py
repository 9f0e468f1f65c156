"""Translates one function body: each op through the table of rules, each MLIR value to an ONNX value.

Two techniques keep the result small without any pass:

* Broadcasts are left to ONNX. A value is kept *compact*: its ONNX shape only has to be broadcastable to the shape of
  its MLIR type. Elementwise rules work on compact values; a rule that needs all elements asks for ``full``.
* Shape arithmetic is done at translation time. An integer value whose *elements* are known, as numbers or
  named sizes, makes no nodes unless a rule asks for it as data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as oir

from swift_export.converter import mlir
from swift_export.converter.builder import Builder, OpsetError
from swift_export.converter.dims import Dim, Shape, Size
from swift_export.converter.kernels import NoKernelError
from swift_export.converter.loop_rows import Rows, scalar
from swift_export.converter.narrow_types import PRODUCTS
from swift_export.converter.shape_arithmetic import evaluate
from swift_export.converter.size_functions import least
from swift_export.errors import LoweringError
from swift_export.formats.scopes import joined

__all__ = ["RULES", "Frame", "rule"]

#: The return value of a rule: one ONNX value per result.
Results = Sequence[oir.Value]
#: A rule: a function from the frame and the op to the op's results.
Translate: TypeAlias = "Callable[[Frame, Any], Results | oir.Value]"


@dataclass(frozen=True)
class Rule:
    """The translation of one op, and the attributes that it handles."""

    translate: Translate
    attributes: frozenset[str]


RULES: dict[str, Rule] = {}

#: Ops of shape arithmetic that only move elements.
MOVES = frozenset(f"stablehlo.{name}" for name in ("broadcast_in_dim", "concatenate", "reshape", "slice"))

#: Attributes that do not affect an op's result: notes, layouts in memory, partitions.
_LAYOUTS = ("minor_to_major", "operand_layout", "operand_layouts", "result_layout", "result_layouts", "source_layout")
_NOTES = ("mhlo.frontend_attributes", "mhlo.layout_mode", "mhlo.memory_kind", "mhlo.original_value", "xla_shape")
_PARTITIONS = ("mhlo.sharding", "sdy.sharding", "sdy.sharding_rule", "sdy.propagation_priority")
SILENT_ATTRIBUTES = frozenset({*_LAYOUTS, *_NOTES, *_PARTITIONS})

#: Ops whose operands and results may be tuples.
TUPLES = frozenset({"func.call", "stablehlo.custom_call", "stablehlo.get_tuple_element", "stablehlo.tuple"})

_MHLO = "MHLO, the dialect before StableHLO: convert the module to StableHLO first"

#: Ops that end a body.
_RETURNS = ("func.return", "stablehlo.return", "sdy.return")


def rule(*names: str, attributes: Sequence[str] = ()) -> Callable[[Translate], Translate]:
    """Register the rule for ops ``names``; ops with other attributes than those listed are refused.

    Raises ValueError if an op has a rule already, TypeError if the function does not take a frame and an op.
    """

    def register(translate: Translate) -> Translate:
        where = f"{translate.__module__}.{translate.__qualname__}"
        try:
            inspect.signature(translate).bind(None, None)
        except TypeError as error:
            raise TypeError(f"{where}: expected a function of a frame and an op: {error}") from None
        for name in names:
            if name in RULES:
                known = RULES[name].translate
                raise ValueError(f"{where}: {name} has a rule already, {known.__module__}.{known.__qualname__}")
            RULES[name] = Rule(translate, frozenset(attributes))
        return translate

    return register


@dataclass
class Frame:
    """One call of one function: the translations of its values."""

    builder: Builder
    functions: dict[str, Any]
    scope: str = ""
    values: dict[Any, oir.Value] = field(default_factory=dict)
    known: dict[Any, np.ndarray] = field(default_factory=dict)
    shapes: dict[Any, Shape] = field(default_factory=dict)
    parts: dict[Any, list[Any]] = field(default_factory=dict)
    #: The arrays that the loop of this body fills row by row.
    rows: Rows | None = None

    def run(self, region: Any) -> list[Any]:
        """Translate a function's or branch's body; return the operands of its return op."""
        for op in region.blocks[0].operations:
            if op.operation.name in _RETURNS:
                return list(op.operands)
            self.lower(op)
        raise LoweringError("StableHLO module: expected a return op at the end of each body, found none")

    def lower(self, op: Any) -> None:
        """Translate one op, or only evaluate it if it is shape arithmetic."""
        elements = evaluate(op, self.known, self.shapes, self.builder.facts)
        if elements is not None:
            result = op.results[0]
            self.known[result] = elements
            self.shapes[result] = elements.shape
        else:
            self._translate(op)

    def shape(self, value: Any) -> Shape:
        """The symbolic shape of an MLIR value."""
        return self.shapes[value]

    def known_elements(self, value: Any) -> list[Size] | None:
        """Elements of a vector of integers if they are known, as numbers or named sizes; else None."""
        return self.known[value].reshape(-1).tolist() if value in self.known else None

    def integers(self, op: Any, value: Any, what: str) -> list[Size]:
        """Elements of integers, with a symbol for each that depends on data; an error names ``what``."""
        if value in self.known:
            return self.known[value].reshape(-1).tolist()
        if self.builder.is_body or not mlir.is_small_integer(value.type):
            inside = " inside a loop or branch" if self.builder.is_body else f" in a {value.type}"
            raise self.error(
                op, f"{what} depend on data{inside}: the rule takes scalars and short vectors outside these"
            )
        return self._numbers(value).reshape(-1).tolist()

    def sizes(self, op: Any, value: Any, what: str) -> Shape:
        """`integers` that are sizes: the file refuses negative ones."""
        found = self.integers(op, value, what)
        b = self.builder
        for size in found:
            if b.is_from_data(size) and least(size, b.facts.floors) < 0:
                b.require(b.truth("GreaterOrEqual", b.sizes([size]), b.integers([0])))
        return tuple(found)

    def _numbers(self, value: Any) -> np.ndarray:
        if value in self.known:
            return self.known[value]
        producer = getattr(value.owner, "opview", None)
        # Ops that only move elements: the results of others might wrap around, which sizes do not.
        if producer is not None and producer.operation.name in MOVES:
            parts = {operand: self._numbers(operand) for operand in producer.operands}
            moved = evaluate(producer, parts, self.shapes, self.builder.facts)
            if moved is not None:
                return moved
        found = np.empty(tuple(value.type.shape), object)
        for place, size in enumerate(self.builder.element_sizes(self.full(value))):
            found.reshape(-1)[place] = size
        return found

    def compact(self, value: Any) -> oir.Value:
        """The ONNX value; its shape is broadcastable to the MLIR type's."""
        if value not in self.values and value in self.known:
            elements = self.known[value]
            if all(isinstance(c, int) for c in elements.reshape(-1).tolist()):
                dtype = mlir.element_type(value.type).numpy()
                # Like constants: passes recognise a bound of one number, not of many equal ones.
                numbers = elements.astype(dtype)
                equal = numbers.size > 1 and (numbers == numbers.flat[0]).all()
                self.values[value] = self.builder.constant(numbers.flat[0] if equal else numbers)
            elif elements.ndim == 0:
                self.values[value] = self.builder.cast(
                    scalar(self.builder, elements.item()), mlir.element_type(value.type)
                )
            else:
                vector = self.builder.sizes(elements.reshape(-1).tolist())
                vector = self.builder.cast(vector, mlir.element_type(value.type))
                self.values[value] = self.builder.reshape(vector, elements.shape)
        return self.values[value]

    def aligned(self, value: Any) -> oir.Value:
        """Like ``compact``, with as many axes as the MLIR type."""
        compact = self.compact(value)
        shape = self.builder.shape(compact)
        return self.builder.reshape(compact, (1,) * (len(self.shape(value)) - len(shape)) + shape)

    def full(self, value: Any) -> oir.Value:
        """The ONNX value with the MLIR type's own shape."""
        compact, shape = self.compact(value), self.shape(value)
        full = self.builder.expand(compact, shape)
        before = self.builder.shape(compact)
        if before and shape == (*(1,) * (len(shape) - len(before)), *before):
            # The same elements: all users take the same value, by which passes recognise them.
            self.values[value] = full
        return full

    def dtype(self, value: Any) -> oir.DataType:
        """The ONNX element type of an MLIR value."""
        return mlir.element_type(value.type)

    def error(self, op: Any, reason: str) -> LoweringError:
        """An error that names op and location."""
        return LoweringError(f"{mlir.where(op)}: {reason}")

    def result_shape(self, op: Any, *sources: Shape) -> Shape:
        """Shape of the first result; unknown sizes are taken from ``sources``, which have the same rank."""
        out: list[Size] = []
        for axis, size in enumerate(mlir.static_shape(op.results[0])):
            if size is not None:
                out.append(size)
                continue
            found = [s[axis] for s in sources if isinstance(s[axis], Dim)] or [s[axis] for s in sources if s[axis] != 1]
            out.append(found[0] if found else self.builder.fresh_symbol())
        return tuple(out)

    def static(self, op: Any, values: Sequence[Size], what: str) -> list[int]:
        """All of ``values`` as numbers, or an error that names the op."""
        if not all(isinstance(v, int) for v in values):
            raise self.error(op, f"{what} [{', '.join(map(str, values))}]: expected numbers")
        return [v for v in values if isinstance(v, int)]

    def call(self, op: Any, function: Any, operands: Sequence[Any]) -> list[oir.Value]:
        """Translate a call in place; shapes and known elements of arguments and results carry over."""
        inner = type(self)(self.builder, self.functions, self.builder.scope, rows=self.rows)
        for parameter, operand in zip(function.regions[0].blocks[0].arguments, operands, strict=True):
            inner.bind(parameter, self, operand)
        return self.take(op, inner, inner.run(function.regions[0]))

    def nested(self) -> Frame:
        """A frame for a region that becomes the body of an ONNX node; it sees all values of this frame."""
        return self.copy(self.builder.nested())

    def copy(self, builder: Builder, kind: type[Frame] | None = None) -> Frame:
        """A frame that knows the values of this one; what it adds stays its own."""
        made = (kind or Frame)(builder, self.functions, self.scope)
        made.values, made.known = dict(self.values), dict(self.known)
        made.shapes, made.parts = dict(self.shapes), dict(self.parts)
        return made

    def bind(self, parameter: Any, outer: Frame, operand: Any) -> None:
        """Give a body's parameter the translation of an operand in ``outer``; of a tuple, that of its parts."""
        if operand in outer.parts:
            self.parts[parameter] = outer.parts[operand]
            for part in self.parts[parameter] if outer is not self else ():
                self.bind(part, outer, part)
            return
        if operand in outer.known:
            self.known[parameter] = outer.known[operand]
        if operand in outer.values:
            self.values[parameter] = outer.values[operand]
        self.shapes[parameter] = outer.shape(operand)

    def take(self, op: Any, inner: Frame, returned: Sequence[Any]) -> list[oir.Value]:
        """Give an op's results the translations of a body's return values; shape arithmetic makes no values."""
        for result, value in zip(op.results, returned, strict=True):
            if value in inner.parts:
                self.bind(result, inner, value)
                continue
            self.shapes[result] = inner.shape(value)
            if value in inner.known:
                self.known[result] = inner.known[value]
        return [inner.compact(v) for v in returned if v not in inner.known and v not in inner.parts]

    def flat(self, values: Sequence[Any]) -> list[Any]:
        """The values, with those in tuples in place of the tuples."""
        return [leaf for v in values for leaf in (self.flat(self.parts[v]) if v in self.parts else [v])]

    def _translate(self, op: Any) -> None:
        name = op.operation.name
        found = RULES.get(name)
        if found is None:
            raise self.error(op, _MHLO if name.startswith("mhlo.") else "no rule translates this op to ONNX")
        unknown = set(op.attributes) - found.attributes - SILENT_ATTRIBUTES
        if unknown:
            raise self.error(op, f"attribute {', '.join(sorted(unknown))}: the op's rule does not handle it")
        for value in (*op.operands, *op.results):
            kinds = mlir.leaves(value.type) if name in TUPLES else [value.type]
            if not all(mlir.has_equivalent(kind, name) for kind in kinds):
                raise self.error(op, f"type {value.type}: ONNX has no equivalent")
        if name in PRODUCTS and mlir.narrow_type(op.results[0].type):
            raise self.error(op, f"products of type {op.results[0].type}: the op's rule takes a wider type for them")
        self.builder.scope = joined(self.scope, mlir.scope_of(op.location))
        try:
            results = found.translate(self, op)
        except (NoKernelError, OpsetError) as error:
            raise self.error(op, str(error)) from None
        results = [results] if isinstance(results, oir.Value) else list(results)
        open_results = [r for r in op.results if r not in self.known and r not in self.parts]
        for result, value in zip(open_results, results, strict=True):
            self.set(op, result, value)

    def set(self, op: Any, result: Any, value: oir.Value) -> None:
        """Note a result's value; its symbolic shape defaults to the value's own."""
        self.values[result] = value
        shape = self.shapes.setdefault(result, self.builder.shape(value))
        static = mlir.static_shape(result)
        wrong_rank = len(static) != len(shape)
        if wrong_rank or any(s is not None and s != d for s, d in zip(static, shape, strict=True)):
            raise self.error(op, f"internal: the rule gave shape {shape} for type {result.type}")
        if value.dtype != self.dtype(result):
            raise self.error(op, f"internal: the rule gave {value.dtype} for type {result.type}")
