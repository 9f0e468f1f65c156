"""Networks for images in Equinox. Each takes one image; a batch is made by ``vmap``."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import nn

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["resnet18", "vit"]


class _Normed(eqx.Module):
    """A convolution and the norm after it."""

    conv: nn.Conv2d
    norm: nn.BatchNorm

    def __init__(self, inside: int, outside: int, size: int, stride: int, key: jax.Array):
        self.conv = nn.Conv2d(inside, outside, size, stride, size // 2, use_bias=False, key=key)
        self.norm = nn.BatchNorm(outside, axis_name="batch", mode="ema")

    def __call__(self, x: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        return self.norm(self.conv(x), state)


class _Basic(eqx.Module):
    first: _Normed
    second: _Normed
    shortcut: _Normed | None

    def __init__(self, inside: int, outside: int, stride: int, key: jax.Array):
        a, b, c = jax.random.split(key, 3)
        self.first = _Normed(inside, outside, 3, stride, a)
        self.second = _Normed(outside, outside, 3, 1, b)
        self.shortcut = _Normed(inside, outside, 1, stride, c) if stride > 1 else None

    def __call__(self, x: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        y, state = self.first(x, state)
        y, state = self.second(jax.nn.relu(y), state)
        if self.shortcut is not None:
            x, state = self.shortcut(x, state)
        return jax.nn.relu(x + y), state


class _ResNet18(eqx.Module):
    stem: _Normed
    pool: nn.MaxPool2d
    blocks: list[_Basic]
    head: nn.Linear

    def __init__(self, key: jax.Array):
        keys = jax.random.split(key, 10)
        widths = (64, 64, 128, 256, 512)
        self.stem = _Normed(3, 64, 7, 2, keys[0])
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.blocks = [
            _Basic(widths[stage + block], widths[stage + 1], 1 + (stage > 0 and not block), keys[2 * stage + block + 1])
            for stage in range(4)
            for block in range(2)
        ]
        self.head = nn.Linear(512, 1000, key=keys[9])

    def __call__(self, x: jax.Array, state: nn.State) -> tuple[jax.Array, nn.State]:
        x, state = self.stem(x, state)
        x = self.pool(jax.nn.relu(x))
        for block in self.blocks:
            x, state = block(x, state)
        return self.head(x.mean((1, 2))), state


def resnet18() -> Case:
    """BatchNorm in inference mode, with the statistics of a training."""
    shapes, state = eqx.filter_eval_shape(nn.make_with_state(_ResNet18), jax.random.key(0))
    net = filled(nn.inference_mode(shapes), outputs=0)
    for norm in jax.tree.leaves(net, is_leaf=lambda part: isinstance(part, nn.BatchNorm)):
        if isinstance(norm, nn.BatchNorm):
            assert norm.ema_state_index is not None
            statistics = dict(zip(("mean", "var"), state.get(norm.ema_state_index), strict=True))
            state = state.set(norm.ema_state_index, tuple(filled(statistics).values()))
    return Case(jax.vmap(lambda x: net(x, state)[0]), (noise(1, 3, 128, 128),))


class _Block(eqx.Module):
    attention: nn.MultiheadAttention
    norms: list[nn.LayerNorm]
    mlp: nn.MLP

    def __init__(self, size: int, heads: int, key: jax.Array):
        a, b = jax.random.split(key)
        biases = {f"use_{part}_bias": True for part in ("query", "key", "value", "output")}
        self.attention = nn.MultiheadAttention(heads, size, key=a, **biases)
        self.norms = [nn.LayerNorm(size), nn.LayerNorm(size)]
        self.mlp = nn.MLP(size, size, 4 * size, 1, activation=jax.nn.gelu, key=b)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y)
        return x + jax.vmap(self.mlp)(jax.vmap(self.norms[1])(x))


class _ViT(eqx.Module):
    patches: nn.Conv2d
    token: jax.Array
    places: jax.Array
    blocks: list[_Block]
    norm: nn.LayerNorm
    head: nn.Linear

    def __init__(self, size: int, heads: int, depth: int, length: int, key: jax.Array):
        a, b, c, d, *keys = jax.random.split(key, 4 + depth)
        self.patches = nn.Conv2d(3, size, 16, 16, key=a)
        self.token = 0.1 * jax.random.normal(b, (1, size))
        self.places = 0.1 * jax.random.normal(c, (length + 1, size))
        self.blocks = [_Block(size, heads, k) for k in keys]
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, 1000, key=d)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x)
        x = jnp.concatenate([self.token, x.reshape(len(x), -1).T]) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[0]))


def vit() -> Case:
    """ViT-S/16 at 112 pixels."""
    net = filled(eqx.filter_eval_shape(_ViT, 384, 6, 12, 49, jax.random.key(0)), outputs=0)
    return Case(jax.vmap(net), (noise(1, 3, 112, 112),))
