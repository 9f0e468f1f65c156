"""Networks in Flax NNX: a batch is their first axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

__all__ = ["NETWORKS"]

Network = tuple[Callable[[jax.Array], Any], np.ndarray]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def convnet_with_batch_norm() -> Network:
    rngs = nnx.Rngs(0)
    convs = [nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.Conv(8, 16, (3, 3), strides=2, feature_group_count=8, rngs=rngs)]
    norm, head = nnx.BatchNorm(8, rngs=rngs), nnx.Linear(16, 5, rngs=rngs)
    dropout = nnx.Dropout(0.5, rngs=rngs)
    norm(3 * noise(4, 16, 16, 8) + 1)  # statistics of a training step
    norm.eval()
    dropout.eval()

    def net(x: jax.Array) -> jax.Array:
        x = nnx.relu(norm(convs[0](x)))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        x = nnx.avg_pool(nnx.swish(convs[1](x)), (2, 2), (2, 2), "SAME")
        return head(dropout(x.mean((1, 2))))

    return net, noise(16, 16, 3)


def unet() -> Network:
    rngs = nnx.Rngs(1)
    down, deep = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs), nnx.Conv(4, 8, (3, 3), kernel_dilation=2, rngs=rngs)
    up, norm = nnx.ConvTranspose(8, 4, (4, 4), strides=(2, 2), rngs=rngs), nnx.GroupNorm(8, 2, rngs=rngs)
    out = nnx.Conv(6, 2, (1, 1), rngs=rngs)

    def net(x: jax.Array) -> jax.Array:
        y = nnx.gelu(norm(deep(nnx.relu(down(x)))))
        return nnx.tanh(out(jnp.concatenate([up(y), x], axis=-1)))

    return net, noise(12, 16, 2)


def transformer() -> Network:
    rngs = nnx.Rngs(2)
    embedding = nnx.Embed(40, 32, rngs=rngs)
    attention = nnx.MultiHeadAttention(4, 32, decode=False, rngs=rngs)
    norms = [nnx.LayerNorm(32, rngs=rngs), nnx.RMSNorm(32, rngs=rngs)]
    mlp = [nnx.Linear(32, 64, rngs=rngs), nnx.Linear(64, 32, rngs=rngs)]

    def net(x: jax.Array) -> jax.Array:
        y = embedding(x)
        y = y + attention(norms[0](y), mask=nnx.make_causal_mask(x))
        y = y + mlp[1](nnx.gelu(mlp[0](norms[1](y))))
        return embedding.attend(y)

    return net, np.arange(9, dtype=np.int32) * 4


def recurrent(cell: nnx.Module, states: int) -> Network:
    """A scan over time; the layer's variables are made anew in each trace, as NNX wants for its own scan."""
    graph, variables = nnx.split(nnx.RNN(cell, return_carry=True))

    def net(x: jax.Array) -> Any:
        start = jnp.zeros((x.shape[0], 10))
        return nnx.merge(graph, variables, copy=True)(x, initial_carry=start if states == 1 else (start,) * states)

    return net, noise(8, 6)


def lstm() -> Network:
    return recurrent(nnx.OptimizedLSTMCell(6, 10, rngs=nnx.Rngs(3)), 2)


def gru() -> Network:
    return recurrent(nnx.GRUCell(6, 10, rngs=nnx.Rngs(4)), 1)


NETWORKS = {function.__name__: function for function in (convnet_with_batch_norm, unet, transformer, lstm, gru)}
