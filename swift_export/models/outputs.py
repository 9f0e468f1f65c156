"""The outputs of a function: its results as named arrays, traced at unknown sizes."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from swift_export.errors import SwiftExportError, UsageError
from swift_export.formats.signature import TensorSpec
from swift_export.models.names import check_distinct, check_tensor_names, part_of
from swift_export.models.reasons import reason
from swift_export.system.arrays import dtype_of
from swift_export.system.text import listed, shown

__all__ = ["Outputs", "outputs_of", "symbolic"]


@dataclass(frozen=True)
class Outputs:
    """The names of a function's outputs, in order."""

    names: tuple[str, ...]

    def by_name(self, returned: Any) -> dict[str, Any]:
        """The function's results by name."""
        return dict(zip(self.names, (value for _, value in _leaves(returned)), strict=True))


def outputs_of(
    function: Callable[..., Any],
    weights: Mapping[str, np.ndarray],
    inputs: Sequence[TensorSpec],
    names: Sequence[str] | Mapping[str, str] | str | None,
) -> Outputs:
    """Trace a function and name its results.

    A single array is called ``output``, the elements of a tuple ``output_0``, ``output_1``, ...; those of a dictionary
    or dataclass are named after keys or fields. ``names`` replaces these names: all of them in order, or some by name.
    Raises UsageError for a function that cannot be traced or returns other values than arrays, and for invalid names.
    """
    found: list[str] = []

    def flat(*given: Any) -> list[Any]:
        leaves = _leaves(function(*given))
        found[:] = [name for name, _ in leaves]
        for name, value in leaves:
            if not isinstance(value, (jax.Array, np.ndarray, np.generic, bool, int, float)):
                raise UsageError(f"{name}: expected an array, found {type(value).__name__} {shown(value)}")
        return [jnp.asarray(value) for _, value in leaves]

    shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in weights.items()}
    arrays = symbolic(inputs)
    try:
        jax.eval_shape(flat, shapes, *arrays)
    except SwiftExportError:
        raise
    except Exception as error:  # whatever the user's function raises
        raise UsageError(f"the function cannot be traced for {_described(inputs)}: {reason(error)}") from error
    if not found:
        raise UsageError("outputs: expected arrays, but the function returned nothing")
    chosen = _renamed(found, names)
    check_distinct({"outputs": chosen})
    check_tensor_names(chosen, "outputs")
    return Outputs(tuple(chosen))


def symbolic(inputs: Sequence[TensorSpec]) -> list[jax.ShapeDtypeStruct]:
    """Inputs for tracing: unknown dimensions are JAX's symbolic dimensions, in one scope."""
    scope = export.SymbolicScope()
    return [
        jax.ShapeDtypeStruct(export.symbolic_shape(", ".join(map(str, spec.dims)), scope=scope), dtype_of(spec.dtype))
        for spec in inputs
    ]


def _leaves(returned: Any) -> list[tuple[str, Any]]:
    """The parts of a function's result with default names."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(_plain(returned))
    named = []
    for path, value in leaves:
        parts = list(map(part_of, path))
        if not parts or parts[0].isdecimal():
            parts[:1] = ["_".join(["output", *parts[:1]])]
        named.append((".".join(parts), value))
    return named


def _plain(value: Any) -> Any:
    """Dataclasses that are not registered in JAX become dictionaries of their fields."""

    def opened(leaf: Any) -> Any:
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            return OrderedDict((field.name, _plain(getattr(leaf, field.name))) for field in dataclasses.fields(leaf))
        return leaf

    return jax.tree.map(opened, value)


def _renamed(found: Sequence[str], names: Sequence[str] | Mapping[str, str] | str | None) -> list[str]:
    if names is None:
        return list(found)
    if isinstance(names, Mapping):
        if unknown := [name for name in names if name not in found]:
            raise UsageError(f"outputs: expected some of {listed(found)}, found {listed(map(shown, unknown))}")
        return [str(names.get(name, name)) for name in found]
    chosen = [names] if isinstance(names, str) else [str(name) for name in names]
    if len(chosen) != len(found):
        raise UsageError(f"outputs: expected {len(found)} names ({listed(found)}), found {len(chosen)}")
    return chosen


def _described(inputs: Sequence[TensorSpec]) -> str:
    return listed(f"{spec.name} {spec.dtype}[{','.join(map(str, spec.dims))}]" for spec in inputs)
