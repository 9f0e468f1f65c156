"""Adapts Flax modules: NNX modules, which contain their variables, and Linen modules with separate variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from swift_export.errors import UsageError
from swift_export.models.adapted import Adapted, as_numpy, exchanged, is_array, named_arrays, parameters_of, title_of
from swift_export.models.layer_names import named_layers
from swift_export.models.names import check_distinct, weight_name

if TYPE_CHECKING:
    from flax import linen, nnx

__all__ = ["adapt_linen", "adapt_nnx"]


def adapt_nnx(module: nnx.Module, weights: Any) -> Adapted:
    """An NNX module in evaluation mode as a function of its variables, including batch statistics.

    The module itself stays unchanged. ``weights`` replace its variables, unless they are None; raises WeightsError if
    they do not fit.
    """
    from flax import nnx

    title, qualified = title_of(module)
    tested = nnx.merge(*nnx.split(module))
    tested.eval()  # type: ignore[no-untyped-call]
    graph, state = nnx.split(tested)
    variables = nnx.to_flat_state(state)
    names = {
        path: weight_name(path)
        for path, variable in variables
        if is_array(variable.get_value()) and not isinstance(variable, nnx.RngState)
    }
    check_distinct({"weights": names.values()})
    own = {names[path]: as_numpy(variable.get_value()) for path, variable in variables if path in names}

    def call(given: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
        arrays = [
            (path, variable.replace(given[names[path]]) if path in names else variable) for path, variable in variables
        ]
        whole = nnx.merge(graph, nnx.from_flat_state(arrays), copy=True)
        with named_layers(whole, _layers):
            return whole(*arguments, **keywords)

    given = own if weights is None else exchanged(own, weights)
    parameters, by_name = parameters_of(module)
    return Adapted(call, given, parameters, title, qualified, ("flax",), by_name)


def adapt_linen(module: linen.Module, variables: Any) -> Adapted:
    """A Linen module as a function of its variables, by collection; raises UsageError without variables."""
    title, qualified = title_of(module)
    if variables is None:
        raise UsageError(f"{title}: expected the variables of a Linen module; give weights=variables, from its init")
    arrays, structure = named_arrays(dict(variables))

    def call(given: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
        own = jax.tree.unflatten(structure, [given[name] for name in arrays])
        return module.apply(own, *arguments, **keywords)

    parameters, by_name = parameters_of(module)
    return Adapted(call, arrays, parameters, title, qualified, ("flax",), by_name)


def _layers(module: Any) -> Iterator[tuple[str, Any]]:
    from flax import nnx

    return (("/".join(map(str, path)), layer) for path, layer in nnx.iter_modules(module))
