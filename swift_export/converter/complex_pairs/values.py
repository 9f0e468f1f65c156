"""Types, attributes and copies of ops on complex tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swift_export.converter import mlir
from swift_export.converter.complex_pairs.arithmetic import Pair
from swift_export.formats.mlir_bindings import ir

__all__ = ["attributes_of", "copy_of_part", "flat", "flat_types", "is_complex", "part_type"]


def is_complex(value: Any) -> bool:
    """Whether an MLIR value, or a type, is a tensor of complex numbers."""
    kind = value.type if isinstance(value, ir.Value) else value
    return isinstance(kind, ir.RankedTensorType) and isinstance(kind.element_type, ir.ComplexType)


def part_type(kind: Any) -> Any:
    """The type of a complex tensor's real part; any other type unchanged."""
    if not is_complex(kind):
        return kind
    return ir.RankedTensorType.get(kind.shape, kind.element_type.element_type, kind.encoding)


def flat_types(kinds: Sequence[Any]) -> list[Any]:
    """The types, with two for each complex one."""
    return [part_type(kind) for kind in kinds for _ in range(1 + is_complex(kind))]


def flat(value: Any, parts: Mapping[Any, Pair]) -> list[Any]:
    """The two parts of a complex value; a real one alone."""
    return [part.value for part in parts[value]] if is_complex(value) else [value]


def attributes_of(op: Any) -> dict[str, Any]:
    """An op's attributes by name."""
    return {name: op.attributes[name] for name in op.attributes}


def copy_of_part(op: Any, operands: Sequence[Any]) -> Any:
    """A copy of an op for one part: with these operands, and real types in place of complex ones."""
    copy = op.operation.clone()
    for i, operand in enumerate(operands):
        copy.operands[i] = operand
    for inner in (copy, *mlir.walk(copy)):
        for result in inner.results:
            result.set_type(part_type(result.type))
        for region in inner.regions:
            for block in region.blocks:
                for parameter in block.arguments:
                    parameter.set_type(part_type(parameter.type))
    return copy
