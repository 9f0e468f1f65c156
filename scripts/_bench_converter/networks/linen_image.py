"""Networks for images in Flax Linen, channels last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["convnext", "efficientnet", "mixer_bf16", "resnet_f16"]


def _case(net: nn.Module, size: int) -> Case:
    images = noise(1, size, size, 3)
    weights = filled(jax.eval_shape(net.init, jax.random.key(0), images))
    return Case(lambda x: net.apply(weights, x), (images,))


class _ConvNextBlock(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.Conv(self.width, (7, 7), feature_group_count=self.width)(x)
        y = nn.LayerNorm(epsilon=1e-6)(y)
        y = nn.gelu(nn.Dense(4 * self.width)(y), approximate=False)
        y = nn.Dense(self.width)(y)
        return x + self.param("scale", nn.initializers.constant(0.1), (self.width,)) * y


class _ConvNext(nn.Module):
    depths: tuple[int, ...] = (2, 2, 6, 2)
    widths: tuple[int, ...] = (48, 96, 192, 384)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.LayerNorm(epsilon=1e-6)(nn.Conv(self.widths[0], (4, 4), (4, 4), "VALID")(x))
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if stage:
                x = nn.Conv(width, (2, 2), (2, 2), "VALID")(nn.LayerNorm(epsilon=1e-6)(x))
            for _ in range(depth):
                x = _ConvNextBlock(width)(x)
        return nn.Dense(1000)(nn.LayerNorm(epsilon=1e-6)(x.mean((1, 2))))


def convnext() -> Case:
    """Depthwise convolutions, LayerNorm over channels, exact GELU."""
    return _case(_ConvNext(), 128)


class _MBConv(nn.Module):
    width: int
    expansion: int
    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inside = x.shape[-1]
        inner = inside * self.expansion
        norm = partial(nn.BatchNorm, use_running_average=True, epsilon=1e-3)
        y = x
        if self.expansion > 1:
            y = nn.silu(norm()(nn.Conv(inner, (1, 1), use_bias=False)(y)))
        sizes, strides = (self.kernel,) * 2, (self.stride,) * 2
        y = nn.silu(norm()(nn.Conv(inner, sizes, strides, feature_group_count=inner, use_bias=False)(y)))
        # Squeeze and excite.
        gate = y.mean((1, 2), keepdims=True)
        gate = nn.silu(nn.Conv(max(1, inside // 4), (1, 1))(gate))
        y = y * nn.sigmoid(nn.Conv(inner, (1, 1))(gate))
        y = norm()(nn.Conv(self.width, (1, 1), use_bias=False)(y))
        return x + y if x.shape == y.shape else y


class _EfficientNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = partial(nn.BatchNorm, use_running_average=True, epsilon=1e-3)
        x = nn.silu(norm()(nn.Conv(32, (3, 3), (2, 2), use_bias=False)(x)))
        stages = ((16, 1, 3, 1, 1), (24, 6, 3, 2, 2), (40, 6, 5, 2, 2), (80, 6, 3, 2, 3), (112, 6, 5, 1, 3))
        for width, expansion, kernel, stride, depth in (*stages, (192, 6, 5, 2, 4), (320, 6, 3, 1, 1)):
            for block in range(depth):
                x = _MBConv(width, expansion, kernel, 1 if block else stride)(x)
        x = nn.silu(norm()(nn.Conv(1280, (1, 1), use_bias=False)(x)))
        return nn.Dense(1000)(x.mean((1, 2)))


def efficientnet() -> Case:
    """EfficientNet-B0: depthwise convolutions, squeeze and excite, BatchNorm, SiLU."""
    return _case(_EfficientNet(), 128)


class _Residual(nn.Module):
    width: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype, param_dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=True, dtype=self.dtype)
        strides = (self.stride, self.stride)
        y = nn.relu(norm()(conv(self.width, (3, 3), strides)(x)))
        y = norm(scale_init=nn.initializers.constant(0.3))(conv(self.width, (3, 3))(y))
        if x.shape != y.shape:
            x = norm()(conv(self.width, (1, 1), strides)(x))
        return nn.relu(x + y)


class _ResNet(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype, param_dtype=self.dtype)
        x = conv(32, (7, 7), (2, 2))(x.astype(self.dtype))
        x = nn.relu(nn.BatchNorm(use_running_average=True, dtype=self.dtype)(x))
        x = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="SAME")
        for width, stride in ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
            x = _Residual(width, stride, self.dtype)(x)
        return nn.Dense(1000, dtype=self.dtype, param_dtype=self.dtype)(x.mean((1, 2))).astype(jnp.float32)


def resnet_f16() -> Case:
    """Weights and arithmetic in float16; BatchNorm keeps its statistics in float32, as Flax does."""
    return _case(_ResNet(jnp.float16), 128)


class _Mlp(nn.Module):
    inner: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.gelu(nn.Dense(self.inner, dtype=self.dtype)(x))
        return nn.Dense(x.shape[-1], dtype=self.dtype)(y)


class _Mixer(nn.Module):
    width: int
    depth: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm: Callable[..., Any] = partial(nn.LayerNorm, dtype=self.dtype)
        x = nn.Conv(self.width, (16, 16), (16, 16), dtype=self.dtype)(x)
        x = x.reshape(len(x), -1, self.width)
        for _ in range(self.depth):
            y = _Mlp(self.width // 2, self.dtype)(norm()(x).swapaxes(1, 2))
            x = x + y.swapaxes(1, 2)
            x = x + _Mlp(4 * self.width, self.dtype)(norm()(x))
        return nn.Dense(1000)(norm()(x).mean(1).astype(jnp.float32))


def mixer_bf16() -> Case:
    """MLP-Mixer: weights in float32, arithmetic in bfloat16."""
    return _case(_Mixer(256, 6, jnp.bfloat16), 112)
