"""Networks for images in Flax NNX, channels last."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["Block", "dino", "resnet50", "swin", "trained", "unet", "vit_f16"]


def trained(make: Callable[[], Any]) -> Any:
    """The network in evaluation mode, its weights as after training."""
    net = nnx.eval_shape(make)
    net.eval()
    for kind in (nnx.Param, nnx.BatchStat):
        nnx.update(net, filled(nnx.state(net, kind)))
    return net


class _Normed(nnx.Module):
    """A convolution and the norm after it."""

    def __init__(self, inside: int, outside: int, size: int, stride: int, rngs: nnx.Rngs):
        self.conv = nnx.Conv(inside, outside, (size, size), stride, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(outside, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


class _Bottleneck(nnx.Module):
    def __init__(self, inside: int, inner: int, stride: int, rngs: nnx.Rngs):
        self.enter = _Normed(inside, inner, 1, 1, rngs)
        self.inner = _Normed(inner, inner, 3, stride, rngs)
        self.leave = _Normed(inner, 4 * inner, 1, 1, rngs)
        self.shortcut = _Normed(inside, 4 * inner, 1, stride, rngs) if inside != 4 * inner else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.inner(nnx.relu(self.enter(x))))
        return nnx.relu(self.leave(y) + (x if self.shortcut is None else self.shortcut(x)))


class _ResNet50(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.stem = _Normed(3, 64, 7, 2, rngs)
        blocks, inside = [], 64
        for stage, depth in enumerate((3, 4, 6, 3)):
            for block in range(depth):
                blocks.append(_Bottleneck(inside, 64 << stage, 1 + (stage > 0 and not block), rngs))
                inside = 256 << stage
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(inside, 1000, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(nnx.relu(self.stem(x)), window_shape=(3, 3), strides=(2, 2), padding="SAME")
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


def resnet50() -> Case:
    """Bottlenecks with BatchNorm."""
    return Case(trained(lambda: _ResNet50(nnx.Rngs(0))), (noise(1, 96, 96, 3),))


def _attention(q: jax.Array, k: jax.Array, v: jax.Array, **_: Any) -> jax.Array:
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
    return jnp.einsum("bhqk,bkhd->bqhd", nnx.softmax(scores), v)


class Block(nnx.Module):
    """A block of a transformer: attention and MLP behind norms, optionally with scales of the branches."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs, *, exact: bool, scale: float | None, dtype: Any):
        types: dict[str, Any] = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.norms = nnx.List([nnx.LayerNorm(width, epsilon=1e-6, **types) for _ in range(2)])
        # Flax asks for sums in float32, for which JAX has no product of float16 on a CPU.
        attend: Any = _attention if dtype == jnp.float16 else nnx.dot_product_attention
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, attention_fn=attend, **types)
        self.inner, self.outer = nnx.Linear(width, 4 * width, **types), nnx.Linear(4 * width, width, **types)
        self.scales = nnx.List([nnx.Param(jnp.full(width, scale or 1, dtype)) for _ in range(2 if scale else 0)])
        self.exact = exact

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        y = self.attention(self.norms[0](x), mask=mask)
        x = x + (self.scales[0] * y if self.scales else y)
        y = self.outer(nnx.gelu(self.inner(self.norms[1](x)), approximate=not self.exact))
        return x + (self.scales[1] * y if self.scales else y)


class _ViT(nnx.Module):
    def __init__(self, width: int, heads: int, depth: int, patch: int, length: int, rngs: nnx.Rngs, **block: Any):
        dtype = block["dtype"]
        types: dict[str, Any] = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.patches = nnx.Conv(3, width, (patch, patch), patch, padding="VALID", **types)
        self.token = nnx.Param(0.1 * jax.random.normal(rngs.params(), (1, 1, width), dtype))
        self.places = nnx.Param(0.1 * jax.random.normal(rngs.params(), (1, length + 1, width), dtype))
        self.blocks = nnx.List([Block(width, heads, rngs, **block) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, **types)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x.astype(self.token.dtype))
        x = x.reshape(len(x), -1, x.shape[-1])
        token = jnp.broadcast_to(self.token[...], (len(x), 1, x.shape[-1]))
        x = jnp.concatenate([token, x], axis=1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.norm(x).astype(jnp.float32)


def dino() -> Case:
    """12 blocks with layer scale and exact GELU, as DINOv2-S/14."""
    net = trained(lambda: _ViT(384, 6, 12, 14, 49, nnx.Rngs(0), exact=True, scale=0.1, dtype=jnp.float32))
    return Case(net, (noise(1, 98, 98, 3),))


def vit_f16() -> Case:
    """Weights and arithmetic in float16."""
    net = trained(lambda: _ViT(256, 4, 6, 16, 36, nnx.Rngs(0), exact=False, scale=None, dtype=jnp.float16))
    return Case(net, (noise(1, 96, 96, 3),))


class _Double(nnx.Module):
    def __init__(self, inside: int, outside: int, rngs: nnx.Rngs):
        self.layers = nnx.List([_Normed(inside, outside, 3, 1, rngs), _Normed(outside, outside, 3, 1, rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return x


class _UNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        widths = (3, 24, 48, 96, 192)
        pairs = list(pairwise(widths))
        self.down = nnx.List([_Double(a, b, rngs) for a, b in pairs])
        self.up = nnx.List([nnx.ConvTranspose(b, a, (2, 2), (2, 2), rngs=rngs) for a, b in pairs[:0:-1]])
        self.merge = nnx.List([_Double(2 * a, a, rngs) for a, _ in pairs[:0:-1]])
        self.out = nnx.Conv(widths[1], 5, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        skips = [self.down[0](x)]
        for block in self.down[1:]:
            skips.append(block(nnx.max_pool(skips[-1], window_shape=(2, 2), strides=(2, 2))))
        x = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(jnp.concatenate([up(x), skips.pop()], axis=-1))
        return nnx.log_softmax(self.out(x))


def unet() -> Case:
    """A segmentation with BatchNorm and transposed convolutions."""
    return Case(trained(lambda: _UNet(nnx.Rngs(0))), (noise(1, 96, 96, 3),))


class _SwinBlock(nnx.Module):
    """Attention in windows of a grid, of which every second block shifts the windows."""

    def __init__(self, width: int, heads: int, window: int, grid: int, shift: int, rngs: nnx.Rngs):
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.qkv, self.project = nnx.Linear(width, 3 * width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)
        self.inner, self.outer = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)
        table = 0.1 * jax.random.normal(rngs.params(), ((2 * window - 1) ** 2, heads))
        self.table = nnx.Param(table)
        self.heads, self.window, self.grid, self.shift = heads, window, grid, shift

    def _biases(self) -> jax.Array:
        places = np.stack(np.meshgrid(*[np.arange(self.window)] * 2, indexing="ij"), -1).reshape(-1, 2)
        apart = places[:, None] - places[None] + self.window - 1
        index = apart[..., 0] * (2 * self.window - 1) + apart[..., 1]
        return self.table[index].transpose(2, 0, 1)

    def _mask(self) -> np.ndarray:
        """Pairs of places that the shift brought together from opposite edges, by window."""
        region = np.repeat([0, 1, 2], [self.grid - self.window, self.window - self.shift, self.shift])
        regions = self._windows(3 * region[:, None, None] + region[None, :, None])[..., 0]
        apart: np.ndarray = regions[:, None, :] != regions[:, :, None]
        return np.where(apart, np.float32(-100), np.float32(0))[:, None]

    def _windows(self, x: Any) -> Any:
        """(grid, grid, c) to (windows, places of a window, c)."""
        count, c = self.grid // self.window, x.shape[-1]
        return x.reshape(count, self.window, count, self.window, c).swapaxes(1, 2).reshape(-1, self.window**2, c)

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, grid, _, width = x.shape
        y = self.norms[0](x)
        y = jnp.roll(y, (-self.shift, -self.shift), (1, 2)) if self.shift else y
        y = jax.vmap(self._windows)(y)
        y = self.qkv(y).reshape(*y.shape[:3], 3, self.heads, -1)
        q, k, v = (y[:, :, :, part].swapaxes(2, 3) for part in range(3))
        scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5 + self._biases()
        scores = scores + self._mask() if self.shift else scores
        y = (nnx.softmax(scores) @ v).swapaxes(2, 3)
        count = grid // self.window
        y = self.project(y.reshape(batch, count, count, self.window, self.window, width))
        y = y.swapaxes(2, 3).reshape(x.shape)
        x = x + (jnp.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y)
        return x + self.outer(nnx.gelu(self.inner(self.norms[1](x)), approximate=False))


class _Swin(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.patches = nnx.Conv(3, 64, (4, 4), 4, padding="VALID", rngs=rngs)
        stages, norms, merges = [], [], []
        for stage, (grid, width) in enumerate(((28, 64), (14, 128))):
            stages += [_SwinBlock(width, 2 << stage, 7, grid, shift, rngs) for shift in (0, 3)]
            norms.append(nnx.LayerNorm(4 * width, rngs=rngs))
            merges.append(nnx.Linear(4 * width, 2 * width, use_bias=False, rngs=rngs))
        self.blocks, self.norms, self.merges = nnx.List(stages), nnx.List(norms), nnx.List(merges)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x)
        for stage, (norm, merge) in enumerate(zip(self.norms, self.merges, strict=True)):
            for block in self.blocks[2 * stage : 2 * stage + 2]:
                x = block(x)
            x = jnp.concatenate([x[:, i::2, j::2] for j in range(2) for i in range(2)], axis=-1)
            x = merge(norm(x))
        return x.mean((1, 2))


def swin() -> Case:
    """Two stages of shifted windows and the merging of patches."""
    return Case(trained(lambda: _Swin(nnx.Rngs(0))), (noise(1, 112, 112, 3),))
