"""Values inside a function, found by named scopes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swift_export.errors import UsageError
from swift_export.models.swift.backbone.swift import SwiFT
from swift_export.models.swift.places import place_names
from swift_export.models.trace import scopes, values_at

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def test_values_of_the_plain_backbone_by_the_names_of_its_places(weights) -> None:
    config, tensors = weights.config, weights.tensors
    clip = np.random.default_rng(0).standard_normal((2, *config.input_shape()), dtype=np.float32)
    places = place_names(config)

    def forward(weights: Any, bold: Any) -> Any:
        return SwiFT(config, weights).named_outputs(bold)

    @jax.jit
    def both(weights: Any, bold: Any) -> Any:
        return (
            values_at(forward, weights, [bold], places),
            SwiFT(config, weights).patch_embed(bold),
            forward(weights, bold),
        )

    found, embedded, outputs = both(tensors, clip)
    np.testing.assert_array_equal(found["patch_embed"], embedded)
    features = np.moveaxis(outputs["features"], 1, -1)
    np.testing.assert_array_equal(np.reshape(found[places[-1]], features.shape), features)
    assert [scope for scope in scopes(forward, tensors, [clip]) if scope in places] == list(places)


def values(function: Any, x: Any = X) -> dict[str, Any]:
    def forward(weights: Any, *inputs: Any) -> Any:
        return {"output": function(*inputs)}

    return values_at(forward, {}, [x], scopes(forward, {}, [x]))


def test_the_last_float_value_of_each_scope_in_order() -> None:
    @jax.named_scope("last")
    def last(x: Any) -> Any:
        return x * (x > 0), jnp.argmax(x, 1), jnp.sum(x)

    def function(x: Any) -> Any:
        with jax.named_scope("first"):
            x = jnp.exp(jnp.sin(x))
        with jax.named_scope("dead"):
            jnp.cos(x)
        with jax.named_scope("outer"):
            with jax.named_scope("inner"):
                x = x + 1
            return last(x - 3)

    found = values(function)
    assert list(found) == ["first", "outer/inner", "outer", "outer/last"]
    np.testing.assert_allclose(found["first"], np.exp(np.sin(X)), 1e-6)
    y = np.exp(np.sin(X)) - 2
    np.testing.assert_allclose(found["outer"], y, 1e-5, 1e-6)
    np.testing.assert_allclose(found["outer/last"], y * (y > 0), 1e-5, 1e-6)


@pytest.mark.parametrize("scoped", ["jit", "custom_jvp", "custom_vjp", "checkpoint", "vmap"])
def test_scopes_inside_calls_and_transformations_count(scoped) -> None:
    def inside(x: Any) -> Any:
        with jax.named_scope("layers/0"):
            return jnp.sin(x) * 2

    if scoped == "jit":
        called = jax.jit(inside)
    elif scoped == "vmap":
        called = jax.vmap(inside)
    elif scoped == "checkpoint":
        called = jax.checkpoint(inside)
    elif scoped == "custom_jvp":
        called = jax.custom_jvp(inside)
        called.defjvp(lambda x, t: (inside(x[0]), t[0]))
    else:
        called = jax.custom_vjp(inside)
        called.defvjp(lambda x: (inside(x), None), lambda _, t: (t,))

    def function(x: Any) -> Any:
        with jax.named_scope("net"):
            return jnp.cos(called(called(x)))

    place = "net/checkpoint/layers/0" if scoped == "checkpoint" else "net/layers/0"
    found = values(function)
    assert list(found) == [place, "net"]
    np.testing.assert_allclose(found[place], 2 * np.sin(2 * np.sin(X)), 1e-5, 1e-6)


def test_a_loop_is_one_value_and_its_body_is_not_looked_into() -> None:
    def function(x: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            with jax.named_scope("step"):
                return jnp.sin(state), None

        with jax.named_scope("loop"):
            return jax.lax.scan(step, x, None, length=3)[0]

    found = values(function)
    assert list(found) == ["loop"]
    np.testing.assert_allclose(found["loop"], np.sin(np.sin(np.sin(X))), 1e-5, 1e-6)


def test_an_unknown_place_is_refused(refused) -> None:
    with refused("places", "nowhere", error=UsageError):
        values_at(lambda weights, x: {"output": jnp.sin(x)}, {}, [X], ["nowhere"])
