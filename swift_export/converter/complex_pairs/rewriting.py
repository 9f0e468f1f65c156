"""Walks a module and replaces each op on complex tensors by ops on their parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from swift_export.converter import mlir
from swift_export.converter.complex_pairs.arithmetic import FUNCTIONS, Pair
from swift_export.converter.complex_pairs.other_ops import RULES
from swift_export.converter.complex_pairs.real import Real, insert
from swift_export.converter.complex_pairs.values import (
    attributes_of,
    copy_of_part,
    flat,
    flat_types,
    is_complex,
    part_type,
)
from swift_export.converter.frame import SILENT_ATTRIBUTES
from swift_export.errors import LoweringError
from swift_export.formats.element_types import from_mlir
from swift_export.formats.mlir_bindings import PassManager, ir, stablehlo

__all__ = ["Complex", "split_complex"]

#: Ops that move elements, or treat real and imaginary parts alike: each part goes through the same op.
BY_PART = frozenset(
    f"stablehlo.{name}"
    for name in (
        "add",
        "bitcast_convert",
        "broadcast_in_dim",
        "concatenate",
        "dynamic_broadcast_in_dim",
        "dynamic_gather",
        "dynamic_pad",
        "dynamic_reshape",
        "dynamic_slice",
        "dynamic_update_slice",
        "gather",
        "get_dimension_size",
        "negate",
        "pad",
        "real_dynamic_slice",
        "reshape",
        "reverse",
        "select",
        "slice",
        "subtract",
        "transpose",
    )
)
#: Those among them whose result has no elements but their first operand's.
MOVES = frozenset(
    f"stablehlo.{name}"
    for name in ("broadcast_in_dim", "dynamic_broadcast_in_dim", "dynamic_reshape", "reshape", "slice", "transpose")
)
#: The same, if their bodies contain only such ops: sums, and scatters that replace.
BY_PART_WITH_BODY = frozenset({"stablehlo.reduce", "stablehlo.reduce_window", "stablehlo.scatter"})
#: Linear in each of two operands: four products of parts.
PRODUCTS = frozenset({"stablehlo.dot_general", "stablehlo.convolution", "stablehlo.dynamic_conv"})
#: Ops that this package or MLIR's own pass replaces by others.
EXPANDED = frozenset(
    f"stablehlo.{name}"
    for name in (*FUNCTIONS, "compare", "complex", "convert", "imag", "log", "log_plus_one", "real", "sqrt")
)
#: Factorizations, which the rules compute on parts: ops of this package, with two operands for each complex one.
FACTORIZATIONS = frozenset({"stablehlo.cholesky", "stablehlo.triangular_solve"})
#: Attributes of a custom call that count its operands or results.
COUNTED = frozenset({"operand_layouts", "output_operand_aliases", "result_layouts", "sdy.sharding_rule"})
#: Ops that pass values on, or to bodies: each complex value becomes two.
PASSING = frozenset(
    {
        "func.call",
        "func.return",
        "stablehlo.case",
        "stablehlo.if",
        "stablehlo.optimization_barrier",
        "stablehlo.reduce",
        "stablehlo.reduce_window",
        "stablehlo.return",
        "stablehlo.scatter",
        "stablehlo.sort",
        "stablehlo.while",
    }
)


@dataclass(frozen=True)
class Complex:
    """The positions of complex arguments and results of ``@main`` before the rewriting, with NumPy's names."""

    arguments: dict[int, str] = field(default_factory=dict)
    results: dict[int, str] = field(default_factory=dict)


def split_complex(module: Any) -> Complex:
    """Rewrite a module in place; a module without complex numbers stays unchanged.

    Raises LoweringError, with op and location, for ops that have no expression in parts.
    """
    if not any(map(is_complex, _values(module))):
        return Complex()
    kind = mlir.main_function(module).attributes["function_type"].value
    found = Complex(_names(kind.inputs), _names(kind.results))
    with module.context as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        stablehlo.register_stablehlo_passes()
        _check_attributes(module)
        PassManager.parse("builtin.module(func.func(stablehlo-complex-math-expander))").run(module.operation)
        _Rewriter().module(module)
        try:
            module.operation.verify()
        except ir.MLIRError as error:
            raise LoweringError(f"StableHLO module: complex numbers cannot be split: {str(error)[:300]}") from None
    return found


def _check_attributes(module: Any) -> None:
    """Refuse attributes of ops that are expanded; other ops keep theirs, and their own rules check them."""
    for op in mlir.walk(module.operation):
        if op.operation.name in EXPANDED and any(map(is_complex, (*op.operands, *op.results))):
            unknown = set(op.attributes) - SILENT_ATTRIBUTES - {"comparison_direction", "compare_type"}
            if unknown:
                listed = ", ".join(sorted(unknown))
                raise LoweringError(f"{mlir.where(op)}: attribute {listed}: the op's rule does not handle it")


def _names(kinds: Sequence[Any]) -> dict[int, str]:
    return {i: from_mlir(str(kind.element_type)) for i, kind in enumerate(kinds) if is_complex(kind)}


def _values(module: Any) -> Iterator[Any]:
    for op in mlir.walk(module.operation):
        yield from op.results
        for region in op.regions:
            for block in region.blocks:
                yield from block.arguments


class _Rewriter:
    """The parts of all complex values so far, and what is to be erased at the end: old ops still have users."""

    def __init__(self) -> None:
        self.parts: dict[Any, Pair] = {}
        self.dead: list[Any] = []
        self.parameters: list[tuple[Any, int]] = []

    def module(self, module: Any) -> None:
        """Rewrite all functions."""
        for function in mlir.functions(module).values():
            kind = function.attributes["function_type"].value
            inputs, results = list(kind.inputs), list(kind.results)
            for group, kinds in (("arg_attrs", inputs), ("res_attrs", results)):
                if group in function.attributes and any(map(is_complex, kinds)):
                    notes = zip(function.attributes[group], kinds, strict=True)
                    doubled = [note for note, kind in notes for _ in range(1 + is_complex(kind))]
                    function.attributes[group] = ir.ArrayAttr.get(doubled)
            flat = ir.FunctionType.get(flat_types(inputs), flat_types(results))
            function.attributes["function_type"] = ir.TypeAttr.get(flat)
            for block in function.regions[0].blocks:
                self.block(block)
        for op in reversed(self.dead):
            op.operation.erase()
        for block, count in self.parameters:
            for _ in range(count):
                block.erase_argument(0)

    def block(self, block: Any, group: int = 1) -> None:
        """Rewrite a body: its parameters, in groups that each belong to one operand, then its ops in order."""
        old = list(block.arguments)
        if any(map(is_complex, old)):
            for members in (old[i : i + group] for i in range(0, len(old), group)):
                kind = part_type(members[0].type)
                made = [
                    [Real(block.add_argument(kind, member.location)) for member in members]
                    for _ in range(1 + is_complex(members[0]))
                ]
                for member, *parts in zip(members, *made, strict=True):
                    self._replace(member, parts)
            self.parameters.append((block, len(old)))
        for op in list(block.operations):
            self.op(op)

    def op(self, op: Any) -> None:
        """Rewrite one op if it has complex operands or results, and its bodies."""
        touched = any(map(is_complex, (*op.operands, *op.results)))
        name = op.operation.name
        if not touched:
            for region in op.regions:
                for block in region.blocks:
                    self.block(block)
            return
        with ir.InsertionPoint(op), op.location:
            self._rewrite(op, name)
        self.dead.append(op)

    def _rewrite(self, op: Any, name: str) -> None:
        plain = name.removeprefix("stablehlo.")
        if name in BY_PART or (name in BY_PART_WITH_BODY and _is_by_part(op)):
            self._by_part(op)
        elif plain in FUNCTIONS:
            made = FUNCTIONS[plain](*(self.parts[operand] for operand in op.operands))
            self._replace(op.results[0], [made] if isinstance(made, Real) else made)
        elif name in PRODUCTS:
            self._product(op)
        elif name in PASSING:
            if name == "stablehlo.reduce_window":
                self._check_padding(op)
            self._passing(op, name)
        elif name in FACTORIZATIONS:
            self._passing(op, name.replace("stablehlo", "swift_export"))
        elif name == "stablehlo.custom_call" and op.attributes["call_target_name"].value.startswith("lapack_"):
            self._passing(op, name, {k: v for k, v in attributes_of(op).items() if k not in COUNTED})
        elif name == "stablehlo.composite":
            self._passing(op, "func.call", {"callee": op.attributes["decomposition"]})
        elif name in RULES:
            self._replace(op.results[0], RULES[name](op, self.parts))
        else:
            raise LoweringError(f"{mlir.where(op)}: complex numbers: no rule expresses this op in parts")

    def _check_padding(self, op: Any) -> None:
        """Refuse products in padded windows that do not start at 1: XLA leaves padding out, parts would not."""
        names = [inner.operation.name for inner in op.regions[0].blocks[0].operations]
        padded = any(mlir.constant_array(op.attributes["padding"]).ravel()) if "padding" in op.attributes else False
        holes = (
            any(step != 1 for step in op.attributes["base_dilations"]) if "base_dilations" in op.attributes else False
        )
        starts = [
            [part.number for part in self.parts[v]] for v in list(op.operands)[len(op.results) :] if is_complex(v)
        ]
        if "stablehlo.multiply" in names and (padded or holes) and any(start != [1, 0] for start in starts):
            raise LoweringError(
                f"{mlir.where(op)}: complex numbers: products in padded windows: expected the initial value 1"
            )

    def _by_part(self, op: Any) -> None:
        """The op once for each part; results that are real, such as a size, are the same for both."""
        copies = []
        for part in range(1 + any(map(is_complex, op.results))):
            operands = [self.parts[v][part].value if is_complex(v) else v for v in op.operands]
            copies.append(copy_of_part(op, operands))
        # One number everywhere stays one, however its elements are moved.
        numbers: list[float | None] = [None, None]
        if op.operation.name in MOVES:
            numbers = [part.number for part in self.parts[op.operands[0]]]
        for i, result in enumerate(op.results):
            made = [Real(copy.results[i], number) for copy, number in zip(copies, numbers, strict=False)]
            self._replace(result, made[: 1 + is_complex(result)])

    def _product(self, op: Any) -> None:
        attributes = attributes_of(op)
        a, b = (self.parts[operand] for operand in op.operands[:2])

        def product(x: Real, y: Real) -> Real:
            operands = [x.value, y.value, *list(op.operands)[2:]]
            return Real(insert(op.operation.name, part_type(op.results[0].type), operands, attributes))

        re = product(a.re, b.re) - product(a.im, b.im)
        im = product(a.re, b.im) + product(a.im, b.re)
        self._replace(op.results[0], [re, im])

    def _passing(self, op: Any, name: str, attributes: dict[str, Any] | None = None) -> None:
        """The op with two values for each complex one; its bodies move to the new op."""
        kinds = flat_types([result.type for result in op.results])
        operands = [value for operand in op.operands for value in flat(operand, self.parts)]
        given = attributes_of(op) if attributes is None else attributes
        made = ir.Operation.create(name, kinds, operands, given, regions=len(op.regions))
        for region, target in zip(op.regions, made.regions, strict=True):
            for block in list(region.blocks):
                block.append_to(target)
                # A comparator has two elements of each operand; other bodies have their operands' in turn.
                self.block(block, 2 if name == "stablehlo.sort" else 1)
        results = iter(made.results)
        for result in op.results:
            self._replace(result, [Real(next(results)) for _ in range(1 + is_complex(result))])

    def _replace(self, old: Any, made: Sequence[Real]) -> None:
        """Note the parts of a complex value; a real one is replaced everywhere."""
        if is_complex(old):
            self.parts[old] = Pair(*made)
        else:
            (only,) = made
            old.replace_all_uses_with(only.value)


def _is_by_part(op: Any) -> bool:
    """Whether a body only adds, subtracts or returns its parameters."""
    return all(inner.operation.name in (*BY_PART, "stablehlo.return") for inner in mlir.walk(op))
