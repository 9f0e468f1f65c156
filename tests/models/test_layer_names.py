"""Layers of modules have scopes of their names while a function is traced, and at no other time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from swift_export.errors import UsageError
from swift_export.models.from_python import as_model
from swift_export.models.outputs import symbolic
from swift_export.models.trace import scopes

sys.path.insert(0, str(Path(__file__).parent))
import nets


def linear() -> eqx.nn.Linear:
    return nets.filled(lambda: eqx.nn.Linear(3, 3, key=nets.KEY))


def scopes_of(net: Any, *shape: str | int, **options: Any) -> list[str]:
    model = as_model(net, {"x": shape}, **options)
    return list(scopes(model.forward, dict(model.weights), symbolic(model.inputs)))


def test_nested_equinox_modules_over_a_batch() -> None:
    found = scopes_of(eqx.filter_vmap(nets.transformer()), "batch", 5, 3)
    assert found == [
        "embedding",
        "blocks/0/norm",
        "blocks/0/mlp/layers/0",
        "blocks/0/mlp",
        "blocks/0/mlp/layers/1",
        "blocks/0",
        "blocks/1/norm",
        "blocks/1/mlp/layers/0",
        "blocks/1/mlp",
        "blocks/1/mlp/layers/1",
        "blocks/1",
        "head",
    ]


def test_a_sequence_of_layers_and_the_user_s_own_scopes() -> None:
    @jax.named_scope("own")
    def activation(x: Any) -> Any:
        return jax.nn.relu(x)

    net = eqx.nn.Sequential([linear(), eqx.nn.Lambda(activation), linear()])
    assert scopes_of(net, 3) == ["layers/0", "layers/1/own", "layers/2"]


def test_a_layer_in_two_places() -> None:
    class Net(eqx.Module):
        first: eqx.nn.Linear
        second: eqx.nn.Linear

        def __call__(self, x: Any) -> Any:
            return self.second(self.first(x))

    shared = linear()
    assert scopes_of(Net(shared, shared), 3) == ["first", "second"]


def test_a_layer_of_another_branch_is_beneath_the_one_that_calls_it() -> None:
    class Inner(eqx.Module):
        def __call__(self, x: Any, layer: Any) -> Any:
            return layer(x) * 2

    class Net(eqx.Module):
        encoder: eqx.nn.Linear
        decoder: Inner

        def __call__(self, x: Any) -> Any:
            return self.decoder(x, self.encoder)

    assert scopes_of(Net(linear(), Inner()), 3) == ["decoder/encoder", "decoder"]


def test_layers_by_the_call_of_a_base_class() -> None:
    assert scopes_of(eqx.nn.Sequential([eqx.nn.AvgPool1d(1), eqx.nn.Lambda(jnp.ravel), linear()]), 1, 3) == [
        "layers/0",
        "layers/1",
        "layers/2",
    ]


def test_layers_inside_jit_are_known_by_their_class() -> None:
    class Net(eqx.Module):
        head: eqx.nn.Linear
        norm: eqx.nn.LayerNorm

        @eqx.filter_jit
        def __call__(self, x: Any) -> Any:
            return self.norm(eqx.filter_jit(self.head)(x))

    assert scopes_of(Net(linear(), eqx.nn.LayerNorm(3)), 3) == ["head", "norm"]


def test_stacked_layers() -> None:
    class Net(eqx.Module):
        layers: eqx.nn.Linear

        def __call__(self, x: Any) -> Any:
            return eqx.filter_vmap(lambda layer, x: layer(x), in_axes=(0, None))(self.layers, x)

    stacked = nets.filled(
        lambda: eqx.filter_vmap(lambda key: eqx.nn.Linear(3, 3, key=key))(jax.random.split(nets.KEY, 4))
    )
    assert scopes_of(Net(stacked), 3) == ["layers"]


def test_a_class_that_calls_the_one_it_is_derived_from() -> None:
    class Scaled(eqx.nn.Linear):
        def __call__(self, x: Any, *, key: Any = None) -> Any:
            return 2 * super().__call__(x)

    class Net(eqx.Module):
        parts: list[Any]

        def __call__(self, x: Any) -> Any:
            for part in self.parts:
                x = part(x)
            return x

    assert scopes_of(Net([linear(), Scaled(3, 3, key=nets.KEY)]), 3) == ["parts/0", "parts/1"]


def test_nnx_modules() -> None:
    model = as_model(nets.decoder(), {"tokens": "int32[batch,5]"})
    found = scopes(model.forward, dict(model.weights), symbolic(model.inputs))
    assert {"embed", "layers/0/project", "layers/0/out", "layers/0", "layers/1/out", "norm"} <= set(found)


@pytest.mark.parametrize("fails", [False, True])
def test_classes_are_afterwards_as_they_were(fails, refused) -> None:
    class Derived(eqx.nn.Linear):
        """Without a call of its own."""

    class Net(eqx.Module):
        layer: Derived

        def __call__(self, x: Any) -> Any:
            if fails:
                raise ValueError("too bad")
            return self.layer(x)

    classes = (Net, Derived, eqx.nn.Linear, nnx.Linear)
    before = [dict(vars(cls)) for cls in classes]
    if fails:
        with refused("ValueError: too bad", error=UsageError):
            scopes_of(Net(Derived(3, 3, key=nets.KEY)), 3)
    else:
        assert scopes_of(Net(Derived(3, 3, key=nets.KEY)), 3) == ["layer"]
        scopes_of(nnx.Linear(3, 3, rngs=nnx.Rngs(0)), 3)
    assert [dict(vars(cls)) for cls in classes] == before
