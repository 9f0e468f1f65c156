"""Adapts Equinox modules: arrays become weights named after fields; layers are named, and run in inference mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from swift_export.errors import UsageError
from swift_export.models.adapted import Adapted, as_numpy, exchanged, is_array, parameters_of, title_of
from swift_export.models.layer_names import named_layers
from swift_export.models.names import check_distinct, part_of, weight_name
from swift_export.system.text import listed

__all__ = ["adapt_equinox"]

#: Fields in which Equinox's wrappers, like `filter_vmap` and bound methods, hold the wrapped object.
_WRAPPED = frozenset({"_fun", "__self__", "__wrapped__"})
#: The class of `filter_jit`'s result has no public name.
_JIT: type = type(eqx.filter_jit(lambda: None))


def adapt_equinox(module: eqx.Module, state: eqx.nn.State | None, weights: Any) -> Adapted:
    """A module as a function of its arrays.

    A ``state`` is passed to the module after the inputs, and the returned state is dropped. ``weights`` replace the
    module's own arrays, unless they are None. Raises UsageError for a stateful module without its state, and
    WeightsError for weights that do not fit.
    """
    if type(module) is _JIT:
        raise UsageError(
            "model: expected a module, found eqx.filter_jit around it, which hides its weights; give the module itself"
        )
    title, qualified = title_of(_unwrapped(module))
    if state is None and (indices := _indices(module)):
        owners = dict.fromkeys(weight_name(_own(path[:-1])) or "it" for path, _ in indices)
        raise UsageError(
            f"{title}: {listed(owners)} keeps a state; give the pair (module, state) from eqx.nn.make_with_state"
        )
    tested = eqx.nn.inference_mode(module)
    arrays, static = eqx.partition((tested, state), is_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(arrays)
    names = _names(leaves, tested, state)
    own: dict[str, np.ndarray] = {}
    for name, (_, leaf) in zip(names, leaves, strict=True):
        own.setdefault(name, as_numpy(leaf))

    def call(given: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
        made = jax.tree.unflatten(structure, [given[name] for name in names])
        whole, kept = eqx.combine(made, static)
        with named_layers(whole, _layers, _plain_call):
            if kept is None:
                return whole(*arguments, **keywords)
            return whole(*arguments, kept, **keywords)[0]

    given = own if weights is None else exchanged(own, weights)
    parameters, by_name = parameters_of(module)
    return Adapted(call, given, parameters, title, qualified, ("equinox",), by_name)


def _names(leaves: list[tuple[Any, Any]], module: Any, state: eqx.nn.State | None) -> list[str]:
    """A name for each leaf of module and state. A shared array has one name, that of its first place."""
    kept: dict[int, str] = {}
    if state is not None:
        for path, index in _indices(module):
            found, _ = jax.tree_util.tree_flatten_with_path(state.get(index))
            kept |= {id(leaf): weight_name([*_own(path), *inner]) for inner, leaf in found}
    by_array: dict[int, str] = {}
    for path, leaf in leaves:
        name = kept.get(id(leaf)) or weight_name(_own(path[1:]))
        by_array.setdefault(id(leaf), name)
    check_distinct({"weights": by_array.values()})
    return [by_array[id(leaf)] for _, leaf in leaves]


def _indices(module: Any) -> list[tuple[Any, eqx.nn.StateIndex[Any]]]:
    def is_index(value: Any) -> bool:
        return isinstance(value, eqx.nn.StateIndex)

    leaves, _ = jax.tree_util.tree_flatten_with_path(module, is_leaf=is_index)
    return [(path, leaf) for path, leaf in leaves if is_index(leaf)]


def _layers(module: Any) -> Iterator[tuple[str, Any]]:
    """A module and all modules in it, by path.

    Equinox's own wrappers are excluded, because every call makes new ones. So are the contents of this package's
    modules, which open their own scopes.
    """
    home = type(module).__module__
    if not home.startswith("equinox._"):
        yield "", module
    if home.startswith("swift_export."):
        return

    def is_inner(value: Any) -> bool:
        return value is not module and isinstance(value, eqx.Module)

    for path, inner in jax.tree_util.tree_flatten_with_path(module, is_leaf=is_inner)[0]:
        if is_inner(inner):
            own = "/".join(map(part_of, _own(path)))
            for name, layer in _layers(inner):
                yield "/".join(filter(None, (own, name))), layer


def _plain_call(call: Any) -> Any:
    """A layer's call without the scope of its Equinox class, such as ``eqx.nn.Linear``: its path is more specific."""
    while getattr(call, "__module__", "").startswith("equinox.nn.") and hasattr(call, "__wrapped__"):
        call = call.__wrapped__
    return call


def _own(path: Any) -> list[Any]:
    """A path without the fields of wrappers."""
    return [key for key in path if part_of(key) not in _WRAPPED]


def _unwrapped(module: Any) -> Any:
    for name in _WRAPPED:
        inner = getattr(module, name, None)
        if isinstance(inner, eqx.Module):
            return _unwrapped(inner)
    return module
