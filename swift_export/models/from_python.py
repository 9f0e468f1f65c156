"""Any JAX function, Equinox, Flax NNX or Linen module or Haiku transform as a `Model`.

Frameworks are imported only where an object of theirs is met.
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
    """Make a model of ``thing``.

    Args:
        thing: a function ``f(*inputs)`` or, with ``weights``, ``f(weights, *inputs)``; an Equinox module, or one with
            its state as ``(module, state)``; a Flax NNX module; a Linen module as ``(module, variables)``; a Haiku
            transform with its ``weights``, or ``(transform.apply, weights)``. A `Model` is given back as it is.
        inputs: for each argument its shape such as ``("batch", 3, 224, 224)``, ``(shape, dtype)``,
            ``"float32[batch,3,224,224]"``, a ``jax.ShapeDtypeStruct``, an example array or a pytree of these, by name
            or in order. Names that are all parameters of the function are given by name, others by position.
        weights: the function's first argument, a pytree; or what takes the place of a module's own arrays.
        name: of the model; by default, that of the function or the module's class.
        outputs: names of the outputs in order, or new names by old ones.
        dims: names of the dimensions of inputs that are unknown, None where the size stays: ``{"x": ("batch", None)}``.
        call: further keyword arguments of every call, such as ``{"train": False}``.
        sizes: sizes of the unknown dimensions to check at.
        licence: of the weights.
        copyright: of the weights.
        citation: what to cite.
        description: one line.
        rebuild: see `Model`.

    Raises UsageError for a thing, specification or name that is none, for what JAX cannot trace, and for results that
    are no arrays; WeightsError for weights that do not fit.

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
    """Whether `as_model` takes such an object: anything that can be called, or a pair with it."""
    own = thing[0] if _is_pair(thing) else thing
    return isinstance(thing, Model) or _is_transform(own) or (callable(own) and not isinstance(own, type))


class _Function:
    """The function of weights by name and a flat list of arrays."""

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
    """`_Function` with its results by name."""

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
        raise UsageError(f"model: expected a function or a module that can be called, found {what}")
    inner = getattr(thing, "__wrapped__", None)
    if _is_module(inner, "equinox", "Module") or _is_module(inner, "flax.nnx", "Module"):
        if isinstance(thing, jax.stages.Wrapped):  # jit changes nothing
            return _adapt(inner, weights)
        raise UsageError(
            f"model: found a function around {type(inner).__name__}, which hides its weights; give the module itself, "
            "with Equinox as eqx.filter_vmap(module) in place of jax.vmap(module)"
        )
    return adapt_function(thing, weights)


def _is_module(thing: Any, framework: str, name: str) -> bool:
    """Whether this is an object of a framework: there is none before that is imported."""
    return framework in sys.modules and isinstance(thing, getattr(sys.modules[framework], name))


def _is_equinox_module(thing: Any) -> bool:
    """Whether this is a module that can be called; `filter_vmap` and the like make modules of plain functions too."""
    if not _is_module(thing, "equinox", "Module") or not callable(thing):
        return False
    return not type(thing).__module__.startswith("equinox._") or any(map(is_array, jax.tree.leaves(thing)))


def _is_stateful_pair(thing: Any) -> bool:
    """Whether this is an Equinox module with its state, as ``eqx.nn.make_with_state`` gives them."""
    return _is_pair(thing) and _is_module(thing[1], "equinox.nn", "State")


def _is_pair(thing: Any) -> bool:
    return type(thing) is tuple and len(thing) == 2


def _is_transform(thing: Any) -> bool:
    """Whether this is a transform of Haiku's: its functions ``init`` and ``apply``, by name."""
    return isinstance(thing, tuple) and getattr(thing, "_fields", ()) == ("init", "apply")


def _check_inputs(arguments: Arguments) -> tuple[CheckInput, ...]:
    """Examples first, where there are any, then random arrays, with integers in the range of the examples'."""
    examples = arguments.examples
    ranges = {name: (int(a.min()), int(a.max())) for name, a in examples.items() if a.dtype.kind in "iu" and a.size}
    random = RandomInputs(arguments.inputs, ranges)
    return (ExampleInputs(arguments.inputs, examples), random) if examples else (random,)
