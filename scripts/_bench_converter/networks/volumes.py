"""Networks for volumes, in Equinox and Flax Linen."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
from equinox import nn

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["resnet_3d", "unet_3d"]


class _Double(eqx.Module):
    convs: list[nn.Conv3d]
    norms: list[nn.GroupNorm]

    def __init__(self, inside: int, outside: int, key: jax.Array):
        a, b = jax.random.split(key)
        conv = partial(nn.Conv3d, kernel_size=3, padding=1, use_bias=False)
        self.convs = [conv(inside, outside, key=a), conv(outside, outside, key=b)]
        self.norms = [nn.GroupNorm(4, outside), nn.GroupNorm(4, outside)]

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.leaky_relu(norm(conv(x)))
        return x


class _UNet3d(eqx.Module):
    down: list[_Double]
    pool: nn.MaxPool3d
    up: list[nn.ConvTranspose3d]
    merge: list[_Double]
    out: nn.Conv3d

    def __init__(self, widths: tuple[int, ...], key: jax.Array):
        keys = iter(jax.random.split(key, 3 * len(widths)))
        pairs = list(pairwise(widths))
        self.down = [_Double(a, b, next(keys)) for a, b in pairs]
        self.pool = nn.MaxPool3d(2, 2)
        self.up = [nn.ConvTranspose3d(b, a, 2, 2, key=next(keys)) for a, b in pairs[:0:-1]]
        self.merge = [_Double(2 * a, a, next(keys)) for a, _ in pairs[:0:-1]]
        self.out = nn.Conv3d(widths[1], 3, 1, key=next(keys))

    def __call__(self, x: jax.Array) -> jax.Array:
        skips = [self.down[0](x)]
        for block in self.down[1:]:
            skips.append(block(self.pool(skips[-1])))
        x = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(jnp.concatenate([up(x), skips.pop()]))
        return jax.nn.softmax(self.out(x), axis=0)


def unet_3d() -> Case:
    """A segmentation of a volume, with GroupNorm."""
    net = filled(eqx.filter_eval_shape(_UNet3d, (1, 8, 16, 32), jax.random.key(0)), outputs=0)
    return Case(jax.vmap(net), (noise(1, 1, 32, 32, 32),))


class _Basic(linen.Module):
    """Two convolutions and a shortcut."""

    width: int
    stride: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        strides = (self.stride,) * 3
        y = linen.Conv(self.width, (3, 3, 3), strides, use_bias=False)(x)
        y = linen.relu(linen.BatchNorm(use_running_average=True)(y))
        y = linen.Conv(self.width, (3, 3, 3), use_bias=False)(y)
        y = linen.BatchNorm(use_running_average=True)(y)
        if x.shape != y.shape:
            x = linen.Conv(self.width, (1, 1, 1), strides, use_bias=False)(x)
            x = linen.BatchNorm(use_running_average=True)(x)
        return linen.relu(x + y)


class _ResNet3d(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.Conv(32, (3, 7, 7), (1, 2, 2), use_bias=False)(x)
        x = linen.relu(linen.BatchNorm(use_running_average=True)(x))
        for width, stride in ((32, 1), (64, 2), (128, 2), (128, 1)):
            x = _Basic(width, stride)(x)
        return linen.Dense(400)(x.mean((1, 2, 3)))


def resnet_3d() -> Case:
    """Clips of video, channels last."""
    net, clips = _ResNet3d(), noise(1, 8, 56, 56, 3)
    weights = filled(jax.eval_shape(net.init, jax.random.key(0), clips))
    return Case(lambda x: net.apply(weights, x), (clips,))
