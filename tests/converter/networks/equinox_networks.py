"""Real networks in Equinox, small in their sizes only. Each takes one example; a batch is made by ``vmap``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["NETWORKS"]

#: A function of a batch, and an example of one element of its input.
Network = tuple[Callable[[jax.Array], Any], np.ndarray]

KEY = jax.random.key(0)


def keys(number: int) -> list[jax.Array]:
    return list(jax.random.split(KEY, number))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def tokens(length: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, VOCABULARY, length).astype(np.int32)


VOCABULARY = 50


def mlp() -> Network:
    return jax.vmap(eqx.nn.MLP(16, 5, 32, 3, activation=jax.nn.gelu, key=KEY)), noise(16)


def convnet_with_batch_norm() -> Network:
    """BatchNorm with the statistics of a training step, then in inference mode."""
    first, second, third = keys(3)

    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        norm: eqx.nn.BatchNorm
        pool: eqx.nn.MaxPool2d
        depthwise: eqx.nn.Conv2d
        average: eqx.nn.AvgPool2d
        head: eqx.nn.Linear

        def __call__(self, x: jax.Array, state: Any) -> Any:
            x, state = self.norm(self.conv(x), state)
            x = self.pool(jax.nn.relu(x))
            x = self.average(jax.nn.silu(self.depthwise(x)))
            return self.head(x.reshape(-1)), state

    def make() -> Net:
        return Net(
            eqx.nn.Conv2d(3, 8, 3, padding="SAME", key=first),
            eqx.nn.BatchNorm(8, axis_name="batch", mode="batch"),
            eqx.nn.MaxPool2d(3, 2, padding=1),
            eqx.nn.Conv2d(8, 16, 3, groups=8, dilation=2, key=second),
            eqx.nn.AvgPool2d(2, 2),
            eqx.nn.Linear(16 * 2 * 2, 7, key=third),
        )

    net, state = eqx.nn.make_with_state(make)()
    batched = jax.vmap(net, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    _, state = batched(3 * noise(6, 3, 16, 16) + 1, state)
    tested = eqx.nn.inference_mode(net)
    return jax.vmap(lambda x: tested(x, state)[0]), noise(3, 16, 16)


def resnet() -> Network:
    class Block(eqx.Module):
        convs: list[eqx.nn.Conv2d]
        norms: list[eqx.nn.GroupNorm]
        shortcut: eqx.nn.Conv2d

        def __init__(self, inside: int, outside: int, stride: int, key: jax.Array) -> None:
            a, b, c = jax.random.split(key, 3)
            self.convs = [
                eqx.nn.Conv2d(inside, outside, 3, stride, 1, use_bias=False, key=a),
                eqx.nn.Conv2d(outside, outside, 3, 1, 1, use_bias=False, key=b),
            ]
            self.norms = [eqx.nn.GroupNorm(4, outside), eqx.nn.GroupNorm(4, outside)]
            self.shortcut = eqx.nn.Conv2d(inside, outside, 1, stride, key=c)

        def __call__(self, x: jax.Array) -> jax.Array:
            y = jax.nn.relu(self.norms[0](self.convs[0](x)))
            return jax.nn.relu(self.norms[1](self.convs[1](y)) + self.shortcut(x))

    k = keys(5)
    stem = eqx.nn.Conv2d(3, 8, 7, 2, 3, key=k[0])
    blocks = [Block(8, 8, 1, k[1]), Block(8, 16, 2, k[2]), Block(16, 32, 2, k[3])]
    head = eqx.nn.Linear(32, 10, key=k[4])
    pool = eqx.nn.MaxPool2d(3, 2, padding=1)

    def net(x: jax.Array) -> jax.Array:
        x = pool(jax.nn.relu(stem(x)))
        for block in blocks:
            x = block(x)
        return jax.nn.log_softmax(head(x.mean((1, 2))))

    return jax.vmap(net), noise(3, 32, 32)


def unet_3d() -> Network:
    k = keys(6)
    down = [eqx.nn.Conv3d(1, 4, 3, padding=1, key=k[0]), eqx.nn.Conv3d(4, 8, 3, 2, 1, key=k[1])]
    deep = eqx.nn.Conv3d(8, 8, 3, padding=1, dilation=1, key=k[2])
    up = eqx.nn.ConvTranspose3d(8, 4, 2, 2, key=k[3])
    last = eqx.nn.ConvTranspose3d(8, 4, 3, 1, padding=1, key=k[4])
    out = eqx.nn.Conv3d(4, 3, 1, key=k[5])
    norm = eqx.nn.GroupNorm(2, 8)

    def net(x: jax.Array) -> jax.Array:
        skip = jax.nn.leaky_relu(down[0](x))
        y = jax.nn.elu(norm(deep(jax.nn.relu(down[1](skip)))))
        y = jnp.concatenate([up(y), skip])
        return jax.nn.softmax(out(jax.nn.softplus(last(y))), axis=0)

    return jax.vmap(net), noise(1, 8, 12, 8)


class TransformerBlock(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    norms: list[eqx.nn.LayerNorm]
    mlp: eqx.nn.MLP
    rotary: eqx.nn.RotaryPositionalEmbedding | None
    causal: bool

    def __init__(self, size: int, heads: int, key: jax.Array, *, causal: bool = False) -> None:
        a, b = jax.random.split(key)
        self.attention = eqx.nn.MultiheadAttention(heads, size, use_query_bias=True, key=a)
        self.norms = [eqx.nn.LayerNorm(size), eqx.nn.LayerNorm(size)]
        self.mlp = eqx.nn.MLP(size, size, 2 * size, 1, activation=jax.nn.gelu, key=b)
        self.rotary = eqx.nn.RotaryPositionalEmbedding(size // heads) if causal else None
        self.causal = causal

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.vmap(self.norms[0])(x)
        mask = jnp.tril(jnp.ones((len(x), len(x)), bool)) if self.causal else None
        x = x + self.attention(y, y, y, mask=mask, process_heads=self._turn if self.causal else None)
        return x + jax.vmap(self.mlp)(jax.vmap(self.norms[1])(x))

    def _turn(self, q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        turn = jax.vmap(self.rotary, in_axes=1, out_axes=1)
        return turn(q), turn(k), v


def vit() -> Network:
    k = keys(6)
    patches = eqx.nn.Conv2d(3, 32, 4, 4, key=k[0])
    token, places = 0.1 * jax.random.normal(k[1], (1, 32)), 0.1 * jax.random.normal(k[2], (17, 32))
    blocks = [TransformerBlock(32, 4, k[3]), TransformerBlock(32, 4, k[4])]
    head = eqx.nn.Linear(32, 10, key=k[5])

    def net(x: jax.Array) -> jax.Array:
        x = jnp.concatenate([token, patches(x).reshape(32, -1).T]) + places
        for block in blocks:
            x = block(x)
        return head(x[0])

    return jax.vmap(net), noise(3, 16, 16)


def causal_decoder() -> Network:
    k = keys(4)
    embedding = eqx.nn.Embedding(VOCABULARY, 32, key=k[0])
    blocks = [TransformerBlock(32, 4, k[1], causal=True), TransformerBlock(32, 4, k[2], causal=True)]
    norm = eqx.nn.RMSNorm(32)

    def net(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = jax.vmap(embedding)(x)
        for block in blocks:
            y = block(y)
        logits = jax.vmap(norm)(y) @ embedding.weight.T
        return logits, jnp.argmax(logits[-1])

    return jax.vmap(net), tokens(12)


def gru() -> Network:
    cell = eqx.nn.GRUCell(6, 10, key=KEY)

    def net(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(state: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = cell(inputs, state)
            return state, state

        return jax.lax.scan(step, jnp.zeros(10), x)

    return jax.vmap(net), noise(9, 6)


def lstm() -> Network:
    cell, head = eqx.nn.LSTMCell(6, 10, key=KEY), eqx.nn.Linear(10, 3, key=KEY)

    def net(x: jax.Array) -> jax.Array:
        def step(state: tuple[jax.Array, jax.Array], inputs: jax.Array) -> tuple[Any, jax.Array]:
            state = cell(inputs, state)
            return state, head(state[0])

        return jax.lax.scan(step, (jnp.zeros(10), jnp.zeros(10)), x, reverse=True)[1]

    return jax.vmap(net), noise(9, 6)


def mixture_of_experts() -> Network:
    """Embedding lookup; each token goes to its two best experts, whose answers are added where they belong."""
    k = keys(4)
    embedding = jax.random.normal(k[0], (VOCABULARY, 16))
    gate = jax.random.normal(k[1], (16, 4))
    inner, outer = jax.random.normal(k[2], (4, 16, 24)) / 4, jax.random.normal(k[3], (4, 24, 16)) / 5

    def net(x: jax.Array) -> jax.Array:
        y = jnp.take(embedding, x, axis=0, mode="clip")
        scores, experts = jax.lax.top_k(y @ gate, 2)
        weights = jax.nn.softmax(scores)
        rows = jnp.repeat(jnp.arange(len(x)), 2)
        hidden = jax.nn.gelu(jnp.einsum("nd,ndh->nh", y[rows], inner[experts.reshape(-1)]))
        answers = jnp.einsum("nh,nhd->nd", hidden, outer[experts.reshape(-1)])
        return jnp.zeros_like(y).at[rows].add(weights.reshape(-1, 1) * answers)

    return jax.vmap(net), tokens(7)


NETWORKS = {
    function.__name__: function
    for function in (
        mlp,
        convnet_with_batch_norm,
        resnet,
        unet_3d,
        vit,
        causal_decoder,
        gru,
        lstm,
        mixture_of_experts,
    )
}
