"""The common form of Python objects before they become a `Model`: a function of named weights."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swift_export.errors import WeightsError
from swift_export.models.names import check_distinct, weight_name
from swift_export.system.text import listed, shape_text, shown

__all__ = ["Adapted", "exchanged", "is_array", "named_arrays", "parameters_of", "title_of"]


@dataclass(frozen=True)
class Adapted:
    """A function of named weights.

    Attributes:
        call: ``call(weights, *arguments, **keywords)``; weights by name.
        weights: the weights by name.
        parameters: names of the positional arguments.
        title: the default name of the model.
        qualified: the object's module and name.
        packages: Python packages whose versions affect the model.
        keyword_only: names of the keyword-only arguments.

    """

    call: Callable[..., Any]
    weights: Mapping[str, np.ndarray]
    parameters: tuple[str, ...]
    title: str
    qualified: str
    packages: tuple[str, ...] = ()
    keyword_only: tuple[str, ...] = ()


def named_arrays(tree: Any, where: str = "weights") -> tuple[dict[str, np.ndarray], Any]:
    """A pytree's arrays, named after their paths, and its structure; raises WeightsError for other leaves."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    # The path of a single array is empty.
    names = [weight_name(path) or where for path, _ in leaves]
    check_distinct({where: names})
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if not is_array(leaf) and not isinstance(leaf, (bool, int, float, np.generic)):
            raise WeightsError(f"{where}: {name}: expected an array, found {type(leaf).__name__}")
    return {name: as_numpy(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}, structure


def exchanged(own: Mapping[str, np.ndarray], given: Any) -> dict[str, np.ndarray]:
    """Weights that replace an object's ``own``; raises WeightsError unless names and shapes are equal."""
    arrays = {str(k): as_numpy(v) for k, v in given.items()} if _is_flat(own, given) else named_arrays(given)[0]
    faults = [f"missing {name}" for name in own if name not in arrays]
    faults += [f"unexpected {shown(name)}" for name in arrays if name not in own]
    faults += [
        f"{name} {shape_text(arrays[name].shape)} for {shape_text(array.shape)}"
        for name, array in own.items()
        if name in arrays and arrays[name].shape != array.shape
    ]
    if faults:
        raise WeightsError(f"weights: expected the model's names and shapes, found {listed(faults)}")
    return {name: arrays[name].astype(array.dtype, copy=False) for name, array in own.items()}


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of numbers; keys of random numbers are not."""
    return isinstance(leaf, (np.ndarray, jax.Array)) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def as_numpy(leaf: Any) -> np.ndarray:
    """An array as JAX would take it: with 64 bits only if they are enabled."""
    if isinstance(leaf, np.ndarray) and jax.dtypes.canonicalize_dtype(leaf.dtype) == leaf.dtype:
        return leaf
    return np.asarray(jnp.asarray(leaf))


def parameters_of(function: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a function's positional and keyword-only parameters; empty without a signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return (), ()
    by_position = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return by_position, tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def title_of(thing: Any) -> tuple[str, str]:
    """An object's name, and its full name with the module."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    named = thing if hasattr(thing, "__name__") else type(thing)
    qualified = f"{named.__module__}.{named.__qualname__}"
    return named.__name__ if named.__name__.isidentifier() else "model", qualified


def _is_flat(own: Mapping[str, np.ndarray], given: Any) -> bool:
    return isinstance(given, Mapping) and all(is_array(value) for value in given.values()) and bool(own)
