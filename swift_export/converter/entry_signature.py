"""The signature of a StableHLO module's entry: names of arguments, results and unknown dimensions.

JAX stores names in several places: those of arguments in their locations, those of results in ``jax.result_info``. If a
module has unknown dimensions or several platforms, its ``main`` computes the dimension variables, asserts the
constraints on the shapes, and calls an inner function with named arguments, dimension variables included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swift_export.converter import mlir
from swift_export.converter.dims import Dim, Size, shape_size
from swift_export.formats.argument_names import plain_path
from swift_export.formats.stablehlo_module import attribute_of, names_of_results

__all__ = ["PLATFORM_INDEX", "EntrySignature", "read_entry_signature", "unique"]

#: JAX's name for the argument that selects one of a module's platforms.
PLATFORM_INDEX = "_platform_index"
_GLOBAL = "jax.global_constant"
_ANONYMOUS = "XLA_Args"


@dataclass(frozen=True)
class EntrySignature:
    """Names of the arguments and results of ``main``, and the unknown dimensions of its arguments.

    ``dims`` has one entry per axis of every argument, None if the type states the size. ``platform_index`` is the
    position of the argument that selects a platform, if there is one.
    """

    arguments: tuple[str, ...]
    results: tuple[str, ...]
    dims: tuple[tuple[Size | None, ...], ...]
    platform_index: int | None

    @property
    def inputs(self) -> tuple[int, ...]:
        """Positions of the arguments that a caller passes."""
        return tuple(i for i in range(len(self.arguments)) if i != self.platform_index)


def read_entry_signature(module: Any, text: str | None = None) -> EntrySignature:
    """The signature of a parsed module; ``text`` is its source, if that contains argument names."""
    main = mlir.main_function(module)
    parameters = list(main.regions[0].blocks[0].arguments)
    marks = [attribute_of(main, "arg_attrs", i, _GLOBAL) for i in range(len(parameters))]
    platform_index = marks.index(PLATFORM_INDEX) if PLATFORM_INDEX in marks else None
    reader = _Entry(module, main)
    written = _names_in_text(text, len(parameters)) if text else None
    found = [mlir.location_path(parameter.location) for parameter in parameters]
    arguments = []
    for i in range(len(parameters)):
        # A location shared by several arguments is not a name: XLA calls all of TensorFlow's "XLA_Args".
        own = found[i] if found.count(found[i]) == 1 and found[i] != _ANONYMOUS else ""
        name = own or reader.inner_names.get(i) or (written[i] if written else "")
        arguments.append(PLATFORM_INDEX if i == platform_index else plain_path(name).strip(". ") or f"arg{i}")
    arguments = unique(arguments)
    results = unique(names_of_results(main), taken=arguments)
    return EntrySignature(tuple(arguments), tuple(results), reader.dims(arguments), platform_index)


def unique(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """The names in order; repeated ones get a number appended."""
    used = set(taken)
    out: list[str] = []
    for name in names:
        candidates = (name, *(f"{name}_{k}" for k in range(1, len(used) + 2)))
        out.append(next(candidate for candidate in candidates if candidate not in used))
        used.add(out[-1])
    return out


def _names_in_text(text: str, count: int) -> list[str] | None:
    """The names before the types in ``@main(%x: tensor<...>, ...)``."""
    found = re.search(r"func\.func\s+(?:public\s+)?@main\s*\(", text)
    if not found:
        return None
    names = re.findall(r"%([A-Za-z_][\w.$-]*)\s*:", text[found.end() :].partition("{\n")[0])
    return names[:count] if len(names) >= count else None


class _Entry:
    """``main`` as JAX writes it around a function of unknown dimensions or of several platforms."""

    def __init__(self, module: Any, main: Any) -> None:
        self.inner_names: dict[int, str] = {}
        #: The first place of each size: an argument and its axis, as a symbol.
        self._sizes: dict[Any, Size] = {}
        self._equal: dict[str, Size] = {}
        self._named: dict[str, str] = {}
        functions = mlir.functions(module)
        block = main.regions[0].blocks[0]
        self._positions = {parameter: i for i, parameter in enumerate(block.arguments)}
        compared: dict[Any, tuple[Size, Size]] = {}
        for op in block.operations:
            name = op.operation.name
            if name == "stablehlo.compare" and "EQ" in str(op.attributes["comparison_direction"]):
                sides = [self._sizes.get(operand) for operand in op.operands]
                if sides[0] is not None and sides[1] is not None:
                    compared[op.results[0]] = sides[0], sides[1]
            elif name == "stablehlo.custom_call" and op.attributes["call_target_name"].value == "shape_assertion":
                if op.operands and op.operands[0] in compared:
                    self._assume(*compared[op.operands[0]])
            elif name == "func.call":
                self._read_call(op, functions[op.attributes["callee"].value])
            elif len(op.results) == 1:
                size = self._size(op)
                if size is not None:
                    self._sizes[op.results[0]] = size

    def dims(self, names: Sequence[str]) -> tuple[tuple[Size | None, ...], ...]:
        """Unknown dimensions of all arguments; those without a name in the module are named after the argument."""
        shapes = {position: mlir.static_shape(parameter) for parameter, position in self._positions.items()}
        for position, shape in shapes.items():
            for axis in range(len(shape)):
                if (symbol := _symbol(position, axis)) not in self._named:
                    (self._named[symbol],) = unique([f"{names[position]}_dim{axis}"], [*self._named.values()])
        return tuple(
            tuple(self._dim(_symbol(position, axis)) if size is None else None for axis, size in enumerate(shape))
            for position, shape in sorted(shapes.items())
        )

    def _dim(self, symbol: str) -> Size:
        """A size as a polynomial in the dimension variables."""
        size = self._equal.get(symbol, Dim.symbol(symbol))
        if isinstance(size, int):
            return size
        total: Size = 0
        for monomial, k in size.terms:
            total = total + shape_size([k, *(Dim.symbol(self._named[symbol]) for symbol in monomial)])
        return total

    def _size(self, op: Any) -> Size | None:
        """An op's result as a polynomial in the sizes of the arguments."""
        name = op.operation.name
        if name == "stablehlo.get_dimension_size" and op.operands[0] in self._positions:
            return Dim.symbol(_symbol(self._positions[op.operands[0]], op.attributes["dimension"].value))
        if name == "stablehlo.constant" and mlir.is_small_integer(op.results[0].type) and op.results[0].type.rank == 0:
            return int(mlir.constant_array(op.attributes["value"]))
        operands = [self._sizes.get(operand) for operand in op.operands]
        known = [size for size in operands if size is not None]
        if not known or len(known) < len(operands):
            return None
        if name in ("stablehlo.convert", "stablehlo.reshape"):
            return known[0]
        if name == "stablehlo.add":
            return known[0] + known[1]
        if name == "stablehlo.subtract":
            return known[0] - known[1]
        if name == "stablehlo.multiply":
            return known[0] * known[1]
        return None

    def _assume(self, a: Size, b: Size) -> None:
        """Note an assertion of the module: the size ``a`` equals ``b``."""
        for size, other in ((a, b), (b, a)):
            if isinstance(size, Dim) and str(size) in size.symbols and str(size) not in self._equal:
                if not (isinstance(other, Dim) and str(size) in other.symbols):
                    self._equal[str(size)] = other
                return

    def _read_call(self, op: Any, callee: Any) -> None:
        """Take over the names of the inner function's arguments for its operands."""
        for i, (parameter, operand) in enumerate(zip(callee.regions[0].blocks[0].arguments, op.operands, strict=True)):
            if operand in self._positions:
                self.inner_names.setdefault(self._positions[operand], mlir.location_path(parameter.location))
            size, variable = self._sizes.get(operand), attribute_of(callee, "arg_attrs", i, _GLOBAL)
            if variable and isinstance(size, Dim) and str(size) in size.symbols:
                self._named[str(size)] = variable


def _symbol(argument: int, axis: int) -> str:
    return f"argument {argument} axis {axis}"
