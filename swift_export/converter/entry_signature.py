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

import numpy as np

from swift_export.converter import mlir
from swift_export.converter.dims import Atom, Dim, Shape, Size, shape_size
from swift_export.converter.shape_arithmetic import evaluate
from swift_export.converter.size_functions import Facts, applied
from swift_export.formats.argument_names import plain_path
from swift_export.formats.stablehlo_module import attribute_of, names_of_results

__all__ = ["PLATFORM_INDEX", "EntrySignature", "read_entry_signature", "unique"]

#: JAX's name for the argument that selects one of a module's platforms.
PLATFORM_INDEX = "_platform_index"
_GLOBAL = "jax.global_constant"
_ANONYMOUS = "XLA_Args"

#: The beginning of a public function with a name.
_FUNCTION = r"func\.func\s+(?:public\s+)?@{}\s*\("


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
    """The names before the types in ``@main(%x: tensor<...>, ...)``, or in the first public function."""
    found = next((m for name in ("main", r"[\w.$-]+") if (m := re.search(_FUNCTION.format(name), text))), None)
    if not found:
        return None
    names = re.findall(r"%([A-Za-z_][\w.$-]*)\s*:", text[found.end() :].partition("{\n")[0])
    return names[:count] if len(names) >= count else None


class _Entry:
    """``main`` as JAX writes it around a function of unknown dimensions or of several platforms."""

    def __init__(self, module: Any, main: Any) -> None:
        self.inner_names: dict[int, str] = {}
        #: What is known of the arguments' sizes: a size, and the same in terms of the dimension variables.
        self._equations: list[tuple[Size, Size]] = []
        #: The arguments' sizes, and functions of these, in terms of the dimension variables.
        self._named: dict[Atom, Size] = {}
        self._functions = mlir.functions(module)
        self._facts = Facts()
        block = main.regions[0].blocks[0]
        self._positions = {parameter: i for i, parameter in enumerate(block.arguments)}
        self._shapes: dict[Any, Shape] = {
            parameter: tuple(
                Dim.symbol(_symbol(i, axis)) if size is None else size
                for axis, size in enumerate(mlir.static_shape(parameter))
            )
            for parameter, i in self._positions.items()
        }
        #: The elements of the results of shape arithmetic.
        self._known: dict[Any, np.ndarray] = {}
        compared: dict[Any, tuple[Size, Size]] = {}
        for op in block.operations:
            name = op.operation.name
            if name == "stablehlo.compare" and "EQ" in str(op.attributes["comparison_direction"]):
                sides = [self._size(operand) for operand in op.operands]
                if sides[0] is not None and sides[1] is not None:
                    compared[op.results[0]] = sides[0], sides[1]
            elif name == "stablehlo.custom_call" and op.attributes["call_target_name"].value == "shape_assertion":
                if op.operands and op.operands[0] in compared:
                    a, b = compared[op.operands[0]]
                    self._equations.append((a - b, 0))
            elif name == "func.call":
                self._read_call(op, self._functions[op.attributes["callee"].value])
            self._evaluate(op)

    def dims(self, names: Sequence[str]) -> tuple[tuple[Size | None, ...], ...]:
        """Unknown dimensions of all arguments; those without a name in the module are named after the argument."""
        shapes = [mlir.static_shape(parameter) for parameter in self._positions]
        for position, shape in enumerate(shapes):
            for axis in range(len(shape)):
                while any(self._learn(size, value) for size, value in self._equations):
                    pass
                if (symbol := _symbol(position, axis)) not in self._named:
                    taken = [str(size) for size in self._named.values()]
                    (name,) = unique([f"{names[position]}_dim{axis}"], taken)
                    self._named[symbol] = Dim.symbol(name)
        return tuple(
            tuple(self._named[_symbol(position, axis)] if size is None else None for axis, size in enumerate(shape))
            for position, shape in enumerate(shapes)
        )

    def _learn(self, size: Size, value: Size) -> bool:
        """Name the only unknown of ``size == value``, if there is one."""
        terms = () if isinstance(size, int) else size.terms
        unknown = [term for term in terms if any(self._name(atom) is None for atom in term[0])]
        if len(unknown) != 1:
            return False
        ((monomial, k),) = unknown
        rest = self._in_names(size - Dim(((monomial, k),)))
        if len(monomial) != 1 or abs(k) != 1 or rest is None:
            return False
        self._named[monomial[0]] = (value - rest) * k
        return True

    def _name(self, atom: Atom) -> Size | None:
        """A symbol or function in terms of the names; None if it has none."""
        if atom in self._named or isinstance(atom, str):
            return self._named.get(atom)
        arguments = [named for size in atom.arguments if (named := self._in_names(size)) is not None]
        return applied(atom.function, arguments) if len(arguments) == len(atom.arguments) else None

    def _in_names(self, size: Size) -> Size | None:
        """A size in terms of the names; None if a part of it has none."""
        if isinstance(size, int):
            return size
        total: Size = 0
        for monomial, k in size.terms:
            factors = [named for atom in monomial if (named := self._name(atom)) is not None]
            if len(factors) < len(monomial):
                return None
            total = total + shape_size([k, *factors])
        return total

    def _evaluate(self, op: Any) -> None:
        """Note the results of an op of shape arithmetic; calls are followed."""
        if op.operation.name == "func.call":
            body = self._functions[op.attributes["callee"].value].regions[0].blocks[0]
            if all(operand in self._known for operand in op.operands):
                self._known |= {p: self._known[v] for p, v in zip(body.arguments, op.operands, strict=True)}
                for inner in body.operations:
                    if inner.operation.name == "func.return":
                        found = zip(op.results, inner.operands, strict=True)
                        self._known |= {result: self._known[v] for result, v in found if v in self._known}
                    else:
                        self._evaluate(inner)
        else:
            elements = evaluate(op, self._known, self._shapes, self._facts)
            if elements is not None:
                self._known[op.results[0]] = elements

    def _size(self, value: Any) -> Size | None:
        """A scalar as a polynomial in the sizes of the arguments."""
        found = self._known.get(value)
        return None if found is None or found.size != 1 else found.reshape(-1).tolist()[0]

    def _read_call(self, op: Any, callee: Any) -> None:
        """Take over the names of the inner function's arguments for its operands."""
        for i, (parameter, operand) in enumerate(zip(callee.regions[0].blocks[0].arguments, op.operands, strict=True)):
            if operand in self._positions:
                self.inner_names.setdefault(self._positions[operand], mlir.location_path(parameter.location))
            size, variable = self._size(operand), attribute_of(callee, "arg_attrs", i, _GLOBAL)
            if variable and size is not None:
                self._equations.append((size, Dim.symbol(variable)))


def _symbol(argument: int, axis: int) -> str:
    return f"argument {argument} axis {axis}"
