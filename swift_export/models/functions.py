"""Adapts plain functions: ``f(*inputs)``, ``f(weights, *inputs)`` and Haiku's ``f(weights, rng, *inputs)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from swift_export.models.adapted import Adapted, named_arrays, parameters_of, title_of

__all__ = ["adapt_function"]


def adapt_function(function: Callable[..., Any], weights: Any) -> Adapted:
    """A function whose first argument is the pytree ``weights``, unless that is None.

    If the argument after the weights is called ``rng``, as in the ``apply`` of a Haiku transform, it is always None.
    Raises WeightsError for weights with other leaves than arrays.
    """
    title, qualified = title_of(function)
    parameters, by_name = parameters_of(function)
    if weights is None:

        def unweighted(_: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
            return function(*arguments, **keywords)

        return Adapted(unweighted, {}, parameters, title, qualified, keyword_only=by_name)
    arrays, structure = named_arrays(weights)
    unused: tuple[None, ...] = (None,) if parameters[1:2] == ("rng",) else ()

    def call(given: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
        own = jax.tree.unflatten(structure, [given[name] for name in arrays])
        return function(own, *unused, *arguments, **keywords)

    return Adapted(call, arrays, parameters[1 + len(unused) :], title, qualified, keyword_only=by_name)
