"""Specifications of a model's inputs: shapes, texts, ``jax.ShapeDtypeStruct``s, example arrays, or pytrees of these.

Each argument of a function is one specification or a pytree of them, whose leaves are the model's inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swift_export.errors import UsageError
from swift_export.formats.signature import TensorSpec
from swift_export.models.names import check_dim, check_distinct, check_input_names, path_name
from swift_export.system.text import listed, shown

__all__ = ["Arguments", "arguments_of", "parse_input", "parse_spec"]

#: Names of unknown dimensions by input and axis; None keeps the size.
Dims = Mapping[str, Sequence[str | int | None]]

_TEXT = re.compile(r"\s*([A-Za-z]\w*)\s*\[([^\[\]]*)\]\s*")
_EXPECTED = 'expected a shape such as ("batch", 3), (shape, dtype), "float32[batch,3]" or an example array'


@dataclass(frozen=True)
class Arguments:
    """The arguments of a function as a list of inputs, and their structure."""

    names: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    structure: Any
    examples: Mapping[str, np.ndarray] = field(default_factory=dict)

    def unflatten(self, arrays: Sequence[Any]) -> list[Any]:
        """The arguments with these arrays, one for each input."""
        return list(jax.tree.unflatten(self.structure, arrays))


def arguments_of(inputs: Mapping[str, Any] | Sequence[Any], parameters: Sequence[str], dims: Dims) -> Arguments:
    """Read ``inputs``, by name or in the order of a function's ``parameters``.

    Raises UsageError for an invalid specification, for names that some format does not allow, and for unknown
    dimensions without a name.
    """
    if isinstance(inputs, Mapping):
        names, given = [str(name) for name in inputs], list(inputs.values())
    elif isinstance(inputs, (list, tuple)) and not _is_leaf(inputs):
        names, given = list(parameters), list(inputs)
        if len(names) < len(given):
            named = f"takes {len(names)} ({listed(names)})" if names else "does not name its arguments"
            raise UsageError(f"inputs: found {len(given)}, but the function {named}; give them by name")
        names = names[: len(given)]
    else:
        raise UsageError(f"inputs: expected a dictionary by name or a list, found {shown(inputs)}")
    if not given:
        raise UsageError("inputs: expected at least one, found none; give each argument's name, shape and element type")
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        given, is_leaf=lambda value: value is not given and _is_leaf(value)
    )
    flat = {}
    examples = {}
    found = [".".join(filter(None, (names[path[0].idx], path_name(path[1:])))) for path, _ in leaves]
    check_distinct({"inputs": found})
    check_input_names(found)
    if unknown := set(dims) - set(found):
        raise UsageError(f"dims: expected names of inputs ({listed(found)}), found {listed(sorted(unknown))}")
    for name, (_, leaf) in zip(found, leaves, strict=True):
        spec, example = _read(name, leaf)
        flat[name] = _with_dims(spec, dims[name]) if name in dims else spec
        if example is not None:
            examples[name] = example
    return Arguments(tuple(names), tuple(flat.values()), structure, examples)


def parse_input(text: str) -> tuple[str, str]:
    """Split ``x=float32[batch,3,224,224]`` into name and specification; raises UsageError for another form."""
    name, equals, spec = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"input {shown(text)!r}: expected NAME=DTYPE[DIM,...], such as x=float32[batch,3,224,224]")
    with jax.enable_x64(True):  # the model's file, still to be run, may turn them on
        parse_spec(name.strip(), spec)
    return name.strip(), spec.strip()


def parse_spec(name: str, text: str) -> TensorSpec:
    """Parse ``float32[batch,3,224,224]`` for the input ``name``; ``int32[]`` is a scalar."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise UsageError(f"{name}: expected DTYPE[DIM,...], such as float32[batch,3,224,224]; found {shown(text)!r}")
    dims = [part.strip() for part in match[2].split(",")] if match[2].strip() else []
    return _spec(name, [int(dim) if dim.isdecimal() else dim for dim in dims], match[1])


def _is_leaf(value: Any) -> bool:
    """Whether this specifies one input. A shape is a tuple too, but never a pytree of specifications."""
    return value is None or not isinstance(value, (list, tuple, dict)) or _is_shape(value) or _is_pair(value)


def _is_shape(value: Any) -> bool:
    return type(value) in (list, tuple) and all(
        dim is None or isinstance(dim, (int, np.integer)) or (isinstance(dim, str) and "[" not in dim) for dim in value
    )


def _is_pair(value: Any) -> bool:
    """Whether this is a shape with an element type."""
    if type(value) is not tuple or len(value) != 2 or not _is_shape(value[0]) or isinstance(value[1], (tuple, list)):
        return False
    try:
        jnp.dtype(value[1])
    except TypeError:
        return False
    return value[1] is not None


def _read(name: str, leaf: Any) -> tuple[TensorSpec, np.ndarray | None]:
    """The input of a specification, and its example if it is an array."""
    if isinstance(leaf, str):
        return parse_spec(name, leaf), None
    if _is_pair(leaf):
        return _spec(name, leaf[0], leaf[1]), None
    if _is_shape(leaf):
        return _spec(name, leaf, np.float32), None
    if isinstance(leaf, (np.ndarray, np.generic, jax.Array)) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        # As JAX itself would take it: with 64 bits only if they are enabled.
        array = np.asarray(jnp.asarray(leaf))
        return _spec(name, array.shape, array.dtype), array
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        # A symbolic dimension is printed as its name; an expression is not a name.
        return _spec(name, [dim if isinstance(dim, int) else str(dim) for dim in leaf.shape], leaf.dtype), None
    raise UsageError(f"{name}: {_EXPECTED}; found {shown(leaf)}")


def _spec(name: str, dims: Sequence[Any], dtype: Any) -> TensorSpec:
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        raise UsageError(f"{name}: expected an element type such as float32, found {shown(dtype)!r}") from None
    if found.kind not in "biuf" and not jnp.issubdtype(found, jnp.floating):
        raise UsageError(f"{name}: expected floats, integers or bool; found {found.name}")
    if jax.dtypes.canonicalize_dtype(found) != found:
        raise UsageError(
            f"{name}: expected types enabled in JAX, found {found.name}; "
            f"use {jax.dtypes.canonicalize_dtype(found).name}, or enable 64-bit types with jax_enable_x64"
        )
    return TensorSpec(name, found.name, tuple(_dim(dim, name) for dim in dims))


def _dim(dim: Any, name: str) -> str | int:
    if dim is None:
        raise UsageError(f'{name}: expected sizes or names, found a dimension without a name; name it, such as "batch"')
    if isinstance(dim, str):
        return check_dim(dim, name)
    if dim < 1:
        raise UsageError(f"{name}: expected a size, or a name for any size, found a dimension of {dim}")
    return int(dim)


def _with_dims(spec: TensorSpec, dims: Sequence[str | int | None]) -> TensorSpec:
    if isinstance(dims, str) or len(dims) != len(spec.dims):
        raise UsageError(
            f"dims of {spec.name}: expected {len(spec.dims)} names (None keeps a size), found {shown(dims)}"
        )
    named = [own if dim is None else _dim(dim, spec.name) for own, dim in zip(spec.dims, dims, strict=True)]
    for own, dim in zip(spec.dims, named, strict=True):
        if isinstance(dim, int) and dim != own:
            raise UsageError(f"dims of {spec.name}: expected the size {own}, found {dim}")
    return TensorSpec(spec.name, spec.dtype, tuple(named))
