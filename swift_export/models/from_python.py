"""Any JAX function, Equinox, Flax NNX or Linen module or Haiku transform as a `Model`.

A framework is imported only for its own objects.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from swift_export.errors import UsageError
from swift_export.models.adapted import Adapted, is_array
from swift_export.models.drawing import ExampleInputs, RandomInputs
from swift_export.models.functions import adapt_function
from swift_export.models.input_specs import Arguments, arguments_of
from swift_export.models.model import Card, CheckInput, Model, Procedure, Sizes
from swift_export.models.names import check_distinct, check_model_name
from swift_export.models.outputs import Outputs, outputs_of
from swift_export.models.provenance import Provenance
from swift_export.system.text import shown

__all__ = ["as_model", "is_model_like"]


def as_model(
    thing: Any,
    inputs: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    weights: Any = None,
    name: str | None = None,
    outputs: Sequence[str] | Mapping[str, str] | str | None = None,
    dims: Mapping[str, Sequence[str | int | None]] | None = None,
    call: Mapping[str, Any] | None = None,
    sizes: Sequence[Sizes] = (),
    licence: str | None = None,
    copyright: str | None = None,
    citation: str | None = None,
    description: str | None = None,
    rebuild: Procedure | None = None,
) -> Model:
    """Make a model from ``thing``.

    Args:
        thing: a function ``f(*inputs)`` or, with ``weights``, ``f(weights, *inputs)``; an Equinox module, or the pair
            ``(module, state)``; a Flax NNX module; a Linen module as ``(module, variables)``; a Haiku transform with
            ``weights``, or ``(transform.apply, weights)``. A `Model` is returned unchanged.
        inputs: for each argument a shape such as ``("batch", 3, 224, 224)``, ``(shape, dtype)``,
            ``"float32[batch,3,224,224]"``, a ``jax.ShapeDtypeStruct``, an example array or a pytree of these, by name
            or in order. If all names are parameters of the function, it is called by keyword, else by position.
        weights: the function's first argument, a pytree; or arrays that replace a module's own.
        name: the model's name; by default, that of the function or the module's class.
        outputs: names of the outputs in order, or new names by default names.
        dims: names of unknown dimensions of inputs, None for a dimension that keeps its size:
            ``{"x": ("batch", None)}``.
        call: further keyword arguments of every call, such as ``{"train": False}``.
        sizes: sizes of the unknown dimensions for checks.
        licence: the licence of the weights.
        copyright: the copyright of the weights.
        citation: the publication to cite.
        description: a description of one line.
        rebuild: see `Model`.

    Raises UsageError for other objects, for an invalid specification or name, for functions that JAX cannot trace, and
    for results that are not arrays; WeightsError for weights that do not fit.

    """
    if isinstance(thing, Model):
        return thing
    adapted = _adapt(thing, weights)
    name = check_model_name(adapted.title if name is None else name)
    if inputs is None:
        raise UsageError(f'{name}: expected inputs, such as inputs={{"x": ("batch", 3, 224, 224)}}')
    arguments = arguments_of(inputs, adapted.parameters, dims or {})
    function = _Function(adapted, arguments, dict(call or {}))
    results = outputs_of(function, adapted.weights, arguments.inputs, outputs)
    names = {"inputs": [spec.name for spec in arguments.inputs], "outputs": results.names, "weights": adapted.weights}
    check_distinct(names)
    return Model(
        name=name,
        forward=_Forward(function, results),
        weights=adapted.weights,
        inputs=arguments.inputs,
        outputs=results.names,
        provenance=Provenance("python", adapted.qualified),
        card=Card(name, licence=licence, copyright=copyright, citation=citation, description=description),
        packages=adapted.packages,
        rebuild=rebuild,
        check_inputs=_check_inputs(arguments),
        sizes=tuple(sizes),
    )


def is_model_like(thing: Any) -> bool:
    """Whether `as_model` takes the object: a `Model`, a callable object, or a pair with one."""
    own = thing[0] if _is_pair(thing) else thing
    return isinstance(thing, Model) or _is_transform(own) or (callable(own) and not isinstance(own, type))


class _Function:
    """The adapted object as a function of named weights and a flat list of arrays."""

    def __init__(self, adapted: Adapted, arguments: Arguments, keywords: Mapping[str, Any]) -> None:
        self.adapted, self.arguments, self.keywords = adapted, arguments, keywords
        self.by_keyword = set(arguments.names) <= {*adapted.parameters, *adapted.keyword_only}

    def __call__(self, weights: Mapping[str, Any], *arrays: Any) -> Any:
        given = self.arguments.unflatten(arrays)
        if self.by_keyword and tuple(self.arguments.names) != self.adapted.parameters[: len(given)]:
            named = dict(zip(self.arguments.names, given, strict=True))
            return self.adapted.call(weights, **named, **self.keywords)
        return self.adapted.call(weights, *given, **self.keywords)


class _Forward:
    """`_Function` with named results."""

    def __init__(self, function: _Function, outputs: Outputs) -> None:
        self.function, self.outputs = function, outputs

    def __call__(self, weights: Mapping[str, Any], *inputs: Any) -> dict[str, Any]:
        return self.outputs.by_name(self.function(weights, *inputs))


def _adapt(thing: Any, weights: Any) -> Adapted:
    if _is_stateful_pair(thing) or _is_equinox_module(thing):
        from swift_export.models.equinox_modules import adapt_equinox

        module, state = thing if isinstance(thing, tuple) else (thing, None)
        return adapt_equinox(module, state, weights)
    if _is_pair(thing) and weights is None:
        thing, weights = thing
    if _is_transform(thing):
        thing = thing.apply
    if _is_module(thing, "flax.linen", "Module"):
        from swift_export.models.flax_modules import adapt_linen

        return adapt_linen(thing, weights)
    if _is_module(thing, "flax.nnx", "Module") and callable(thing):
        from swift_export.models.flax_modules import adapt_nnx

        return adapt_nnx(thing, weights)
    if not callable(thing) or isinstance(thing, type):
        what = f"the class {thing.__name__}" if isinstance(thing, type) else shown(thing)
        raise UsageError(f"model: expected a function or a callable module, found {what}")
    inner = getattr(thing, "__wrapped__", None)
    if _is_module(inner, "equinox", "Module") or _is_module(inner, "flax.nnx", "Module"):
        if isinstance(thing, jax.stages.Wrapped):  # jit changes nothing
            return _adapt(inner, weights)
        raise UsageError(
            f"model: expected a module, found a function around {type(inner).__name__}, which hides its weights; give "
            "the module, with Equinox as eqx.filter_vmap(module) instead of jax.vmap(module)"
        )
    return adapt_function(thing, weights)


def _is_module(thing: Any, framework: str, name: str) -> bool:
    """Whether this is an object of a framework; if the framework is not imported, it is not."""
    return framework in sys.modules and isinstance(thing, getattr(sys.modules[framework], name))


def _is_equinox_module(thing: Any) -> bool:
    """Whether this is a callable module; `filter_vmap` and the like turn even plain functions into modules."""
    if not _is_module(thing, "equinox", "Module") or not callable(thing):
        return False
    return not type(thing).__module__.startswith("equinox._") or any(map(is_array, jax.tree.leaves(thing)))


def _is_stateful_pair(thing: Any) -> bool:
    """Whether this is an Equinox module with its state, as returned by ``eqx.nn.make_with_state``."""
    return _is_pair(thing) and _is_module(thing[1], "equinox.nn", "State")


def _is_pair(thing: Any) -> bool:
    return type(thing) is tuple and len(thing) == 2


def _is_transform(thing: Any) -> bool:
    """Whether this is a Haiku transform: a pair with the fields ``init`` and ``apply``."""
    return isinstance(thing, tuple) and getattr(thing, "_fields", ()) == ("init", "apply")


def _check_inputs(arguments: Arguments) -> tuple[CheckInput, ...]:
    """Example arrays, if any, then random arrays, with integers in the range of the examples."""
    examples = arguments.examples
    ranges = {name: (int(a.min()), int(a.max())) for name, a in examples.items() if a.dtype.kind in "iu" and a.size}
    random = RandomInputs(arguments.inputs, ranges)
    return (ExampleInputs(arguments.inputs, examples), random) if examples else (random,)
