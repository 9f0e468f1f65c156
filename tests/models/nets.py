"""Small models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

KEY = jax.random.key(0)


class Block(eqx.Module):
    norm: eqx.nn.LayerNorm
    mlp: eqx.nn.MLP

    def __init__(self, size: int, key: Any) -> None:
        self.norm = eqx.nn.LayerNorm(size)
        self.mlp = eqx.nn.MLP(size, size, 2 * size, 1, key=key)

    def __call__(self, x: Any) -> Any:
        return x + jax.vmap(self.mlp)(jax.vmap(self.norm)(x))


class Transformer(eqx.Module):
    """One example: tokens by channels."""

    embedding: eqx.nn.Linear
    blocks: list[Block]
    dropout: eqx.nn.Dropout
    head: eqx.nn.Linear

    def __init__(self) -> None:
        k = jax.random.split(KEY, 4)
        self.embedding, self.head = eqx.nn.Linear(3, 8, key=k[0]), eqx.nn.Linear(8, 2, key=k[1])
        self.blocks = [Block(8, k[2]), Block(8, k[3])]
        self.dropout = eqx.nn.Dropout(0.5)

    def __call__(self, x: Any) -> Any:
        x = jax.vmap(self.embedding)(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.dropout(x.mean(0)))


class ConvNet(eqx.Module):
    """One example: channels by height and width."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    head: eqx.nn.Linear

    def __call__(self, x: Any, state: Any) -> Any:
        x, state = self.norm(self.conv(x), state)
        return self.head(jax.nn.relu(x).mean((1, 2))), state


@cache
def transformer() -> Transformer:
    return filled(Transformer)


@cache
def conv_net() -> tuple[ConvNet, eqx.nn.State]:
    """With the statistics of a training step."""
    make = eqx.nn.make_with_state(
        lambda: ConvNet(
            eqx.nn.Conv2d(3, 4, 3, padding=1, key=KEY),
            eqx.nn.BatchNorm(4, axis_name="batch", mode="batch"),
            eqx.nn.Linear(4, 2, key=KEY),
        )
    )
    net, state = make()
    step = eqx.filter_vmap(net, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    return net, eqx.filter_jit(step)(3 * noise(4, 3, 6, 6) + 1, state)[1]


class Rotary(nnx.Module):
    """Causal attention with rotary embeddings of places."""

    def __init__(self, size: int, rngs: nnx.Rngs) -> None:
        self.project = nnx.Linear(size, 3 * size, rngs=rngs)
        self.out = nnx.Linear(size, size, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        q, k, v = jnp.split(self.project(x), 3, -1)
        length, size = x.shape[1:]
        angles = jnp.arange(length)[:, None] * 10.0 ** -jnp.arange(size // 2)

        def turn(y: Any) -> Any:
            a, b = jnp.split(y, 2, -1)
            return jnp.concatenate(
                [a * jnp.cos(angles) - b * jnp.sin(angles), a * jnp.sin(angles) + b * jnp.cos(angles)], -1
            )

        scores = turn(q) @ turn(k).swapaxes(1, 2) / size**0.5
        mask = jnp.tril(jnp.ones((length, length), bool))
        return self.out(jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)) @ v)


class Decoder(nnx.Module):
    """Integer tokens to logits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(11, 8, rngs=rngs)
        self.layers = nnx.List([Rotary(8, rngs), Rotary(8, rngs)])
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, tokens: Any) -> Any:
        x = self.embed(tokens)
        for layer in self.layers:
            x = x + layer(x)
        return self.embed.attend(self.dropout(self.norm(x)))


def decoder() -> Decoder:
    """In training, with some statistics of batches."""
    net = nnx.jit(lambda: Decoder(nnx.Rngs(0)))()
    net.norm.mean[...] = noise(8)
    net.norm.var[...] = noise(8) ** 2 + 0.5
    return net


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        x = linen.Conv(4, (3, 3))(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        return {"logits": linen.Dense(2)(linen.relu(x).mean((1, 2)))}


def linen_net() -> tuple[LinenNet, Any]:
    net = LinenNet()
    return net, filled(lambda: net.init(KEY, noise(2, 6, 6, 3)))


def three_outputs(x: Any, y: Any) -> Any:
    return x @ y, jnp.argmax(x, 1), {"sum": x.sum(1), "positive": x > 0}


def linear(weights: Any, x: Any) -> Any:
    return x @ weights["layer"]["w"] + weights["layer"]["b"]


def linear_weights() -> dict[str, Any]:
    return {"layer": {"w": noise(3, 2), "b": noise(2)}}


def filled(make: Callable[[], Any]) -> Any:
    """What a function makes, with other numbers: initialisers take long to compile."""

    def draw(leaf: Any) -> Any:
        return jnp.asarray(np.abs(noise(*leaf.shape)) / 3) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

    return jax.tree.map(draw, eqx.filter_eval_shape(make))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 11, shape).astype(np.int32)
