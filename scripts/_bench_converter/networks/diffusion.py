"""Networks that predict the noise of an image, in Flax NNX and Linen."""

from __future__ import annotations

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from _bench_converter.networks.case import Case, filled, noise
from _bench_converter.networks.nnx_image import trained

__all__ = ["ddpm", "dit"]


def _waves(time: jax.Array, width: int) -> jax.Array:
    """Sines and cosines of a time, of frequencies in a geometric series."""
    rates = jnp.exp(-jnp.log(10000.0) * jnp.arange(width // 2) / (width // 2))
    angles = time.astype(jnp.float32)[:, None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class _Residual(nnx.Module):
    def __init__(self, inside: int, outside: int, embedding: int, rngs: nnx.Rngs):
        self.norms = nnx.List([nnx.GroupNorm(width, 8, rngs=rngs) for width in (inside, outside)])
        self.convs = nnx.List([nnx.Conv(width, outside, (3, 3), rngs=rngs) for width in (inside, outside)])
        self.time = nnx.Linear(embedding, outside, rngs=rngs)
        self.shortcut = nnx.Conv(inside, outside, (1, 1), rngs=rngs) if inside != outside else None

    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        y = self.convs[0](nnx.silu(self.norms[0](x)))
        y = y + self.time(nnx.silu(time))[:, None, None]
        y = self.convs[1](nnx.silu(self.norms[1](y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class _Attention(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        self.norm = nnx.GroupNorm(width, 8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, width, decode=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm(x).reshape(len(x), -1, x.shape[-1])
        return x + self.attention(y).reshape(x.shape)


class _Ddpm(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        wide, time = 2 * width, 4 * width
        self.time = nnx.List([nnx.Linear(width, time, rngs=rngs), nnx.Linear(time, time, rngs=rngs)])
        self.enter = nnx.Conv(3, width, (3, 3), rngs=rngs)
        self.down = nnx.List([_Residual(width, width, time, rngs), _Residual(width, wide, time, rngs)])
        self.shrink = nnx.Conv(width, width, (3, 3), 2, rngs=rngs)
        self.middle = nnx.List([_Residual(wide, wide, time, rngs) for _ in range(2)])
        self.attention = nnx.List([_Attention(wide, rngs) for _ in range(2)])
        self.up = nnx.List([_Residual(2 * wide, wide, time, rngs), _Residual(wide + width, width, time, rngs)])
        self.grow = nnx.Conv(wide, wide, (3, 3), rngs=rngs)
        self.norm, self.leave = nnx.GroupNorm(width, 8, rngs=rngs), nnx.Conv(width, 3, (3, 3), rngs=rngs)
        self.width = width

    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        t = self.time[1](nnx.silu(self.time[0](_waves(time, self.width))))
        fine = self.down[0](self.enter(x), t)
        coarse = self.attention[0](self.down[1](self.shrink(fine), t))
        y = self.middle[1](self.attention[1](self.middle[0](coarse, t)), t)
        y = self.up[0](jnp.concatenate([y, coarse], axis=-1), t)
        batch, height, width, channels = y.shape
        y = self.grow(jax.image.resize(y, (batch, 2 * height, 2 * width, channels), "nearest"))
        y = self.up[1](jnp.concatenate([y, fine], axis=-1), t)
        return self.leave(nnx.silu(self.norm(y)))


def ddpm() -> Case:
    """A U-Net with GroupNorm, SiLU, attention and the embedding of a time."""
    return Case(trained(lambda: _Ddpm(48, nnx.Rngs(0))), (noise(1, 32, 32, 3), np.array([321], np.int32)))


class _DitBlock(linen.Module):
    heads: int

    @linen.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        width = x.shape[-1]
        changes = linen.Dense(6 * width)(linen.silu(condition))[:, None]
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = jnp.split(changes, 6, axis=-1)
        y = linen.LayerNorm(use_bias=False, use_scale=False)(x) * (1 + scale) + shift
        x = x + gate * linen.MultiHeadDotProductAttention(self.heads)(y)
        y = linen.LayerNorm(use_bias=False, use_scale=False)(x) * (1 + scale_mlp) + shift_mlp
        return x + gate_mlp * linen.Dense(width)(linen.gelu(linen.Dense(4 * width)(y)))


class _Dit(linen.Module):
    width: int
    heads: int
    depth: int

    @linen.compact
    def __call__(self, x: jax.Array, time: jax.Array, label: jax.Array) -> jax.Array:
        batch, size, _, channels = x.shape
        grid = size // 2
        x = linen.Conv(self.width, (2, 2), (2, 2), "VALID")(x).reshape(batch, grid**2, self.width)
        x = x + self.param("places", linen.initializers.normal(0.1), (1, grid**2, self.width))
        condition = linen.Dense(self.width)(linen.silu(linen.Dense(self.width)(_waves(time, 128))))
        condition = condition + linen.Embed(1001, self.width)(label)
        for _ in range(self.depth):
            x = _DitBlock(self.heads)(x, condition)
        shift, scale = jnp.split(linen.Dense(2 * self.width)(linen.silu(condition))[:, None], 2, axis=-1)
        x = linen.LayerNorm(use_bias=False, use_scale=False)(x) * (1 + scale) + shift
        x = linen.Dense(4 * channels)(x).reshape(batch, grid, grid, 2, 2, channels)
        return jnp.einsum("bhwpqc->bhpwqc", x).reshape(batch, size, size, channels)


def dit() -> Case:
    """A transformer whose norms a time and a label modulate."""
    net = _Dit(256, 4, 8)
    arguments = (noise(1, 16, 16, 4), np.array([500], np.int32), np.array([7], np.int32))
    weights = filled(jax.eval_shape(net.init, jax.random.key(0), *arguments))
    return Case(lambda x, time, label: net.apply(weights, x, time, label), arguments)
