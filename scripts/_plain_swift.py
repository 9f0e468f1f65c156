"""SwiFT as usually written in Equinox: the library's own layers, rolls, reshapes, masks as constants.

This second, independent forward pass is for ``scripts/bench_cpu``. It stands for the model that a user would write in
JAX, and is the input of other exporters. Weights and features are the same; it is not optimised for lowering.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from swift_export.models.swift.config import LAYER_NORM_EPSILON, MASK_VALUE, SwiFTConfig, WindowPlan

__all__ = ["PlainSwiFT"]

Tensors = Mapping[str, np.ndarray]
Tokens = Float[Array, "batch h w d t channels"]


def linear(tensors: Tensors, name: str, *, bias: bool = True) -> eqx.nn.Linear:
    """``eqx.nn.Linear`` with the weights named ``name``."""
    weight = jnp.asarray(tensors[f"{name}.weight"])
    layer = eqx.nn.Linear(weight.shape[1], weight.shape[0], use_bias=bias, key=jax.random.key(0))
    layer = eqx.tree_at(lambda layer: layer.weight, layer, weight)
    if bias:
        layer = eqx.tree_at(lambda layer: layer.bias, layer, jnp.asarray(tensors[f"{name}.bias"]))
    assert isinstance(layer, eqx.nn.Linear)
    return layer


def layer_norm(tensors: Tensors, name: str) -> eqx.nn.LayerNorm:
    """``eqx.nn.LayerNorm`` with the weights named ``name``."""
    weight, bias = (jnp.asarray(tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
    layer = eqx.nn.LayerNorm(weight.shape, eps=LAYER_NORM_EPSILON)
    layer = eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, bias))
    assert isinstance(layer, eqx.nn.LayerNorm)
    return layer


def per_token(layer: Callable[[Array], Array], x: Float[Array, "*tokens i"]) -> Float[Array, "*tokens o"]:
    """Map a layer over all leading axes, because Equinox's layers take one vector."""
    for _ in x.shape[:-1]:
        layer = jax.vmap(layer)
    return layer(x)


def partition(x: Tokens, plan: WindowPlan) -> Float[Array, "batch windows tokens channels"]:
    """Split the grid into windows."""
    (nh, nw, nd, nt), (wh, ww, wd, wt) = plan.counts, plan.window
    x = x.reshape(x.shape[0], nh, wh, nw, ww, nd, wd, nt, wt, x.shape[-1])
    x = x.transpose(0, 1, 3, 5, 7, 2, 4, 6, 8, 9)
    return x.reshape(x.shape[0], nh * nw * nd * nt, plan.tokens, x.shape[-1])


def reverse(x: Float[Array, "batch windows tokens channels"], plan: WindowPlan) -> Tokens:
    """Reassemble the grid from windows."""
    x = x.reshape(x.shape[0], *plan.counts, *plan.window, x.shape[-1])
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4, 8, 9)
    return x.reshape(x.shape[0], *plan.padded, x.shape[-1])


def shift_mask(plan: WindowPlan) -> Float[np.ndarray, "windows 1 tokens tokens"]:
    """Swin's mask: number the regions, split them into windows, compare (Liu et al., arXiv:2103.14030)."""
    regions = np.zeros((1, *plan.padded, 1), np.float32)
    for axis, (window, shift) in enumerate(zip(plan.window, plan.shift, strict=True), start=1):
        if shift:
            number = np.zeros(regions.shape[axis], np.float32)
            number[-window:-shift] = 1
            number[-shift:] = 2
            regions = regions * 3 + number.reshape([-1 if a == axis else 1 for a in range(6)])
    windows = np.asarray(partition(regions, plan))[0, :, :, 0]  # type: ignore[arg-type]  # NumPy has the same methods
    return np.where(windows[:, None, :, None] == windows[:, None, None, :], 0, MASK_VALUE).astype(np.float32)


class Attention(eqx.Module):
    """Multi-head self-attention among the tokens of each window."""

    qkv: eqx.nn.Linear
    proj: eqx.nn.Linear
    heads: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, "batch windows tokens channels"], mask: np.ndarray | None) -> Array:
        batch, windows, tokens, channels = x.shape
        qkv = per_token(self.qkv, x).reshape(batch, windows, tokens, 3, self.heads, channels // self.heads)
        q, k, v = qkv.transpose(3, 0, 1, 4, 2, 5)
        scores = jnp.matmul(q * (channels // self.heads) ** -0.5, k.swapaxes(-2, -1))
        if mask is not None:
            scores = scores + jnp.asarray(mask, scores.dtype)
        out = jnp.matmul(jax.nn.softmax(scores, axis=-1), v)
        return per_token(self.proj, out.transpose(0, 1, 3, 2, 4).reshape(batch, windows, tokens, channels))


class Block(eqx.Module):
    """Attention and MLP, each after a LayerNorm and with a residual connection."""

    norm1: eqx.nn.LayerNorm
    attention: Attention
    norm2: eqx.nn.LayerNorm
    linear1: eqx.nn.Linear
    linear2: eqx.nn.Linear
    plan: WindowPlan = eqx.field(static=True)

    def __call__(self, x: Tokens) -> Tokens:
        y, plan, axes = per_token(self.norm1, x), self.plan, (1, 2, 3, 4)
        if plan.padded != plan.grid:
            ends = [(0, p - n) for p, n in zip(plan.padded, plan.grid, strict=True)]
            y = jnp.pad(y, [(0, 0), *ends, (0, 0)])
        if plan.shifted:
            y = jnp.roll(y, [-s for s in plan.shift], axes)
        y = reverse(self.attention(partition(y, plan), shift_mask(plan) if plan.shifted else None), plan)
        if plan.shifted:
            y = jnp.roll(y, plan.shift, axes)
        h, w, d, t = plan.grid
        x = x + y[:, :h, :w, :d, :t]
        hidden = jax.nn.gelu(per_token(self.linear1, per_token(self.norm2, x)), approximate=False)
        return x + per_token(self.linear2, hidden)


class Merging(eqx.Module):
    """Swin's patch merging in space: eight strided slices, normalised and reduced."""

    norm: eqx.nn.LayerNorm
    reduction: eqx.nn.Linear

    def __call__(self, x: Tokens) -> Tokens:
        corners = [x[:, i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        return per_token(self.reduction, per_token(self.norm, jnp.concatenate(corners, axis=-1)))


class Stage(eqx.Module):
    """Position embeddings, blocks and, except in the last stage, merging."""

    position: Float[Array, "1 h w d 1 channels"]
    time: Float[Array, "1 1 1 1 frames channels"]
    blocks: list[Block]
    merging: Merging | None

    def __call__(self, x: Tokens) -> Tokens:
        x = x + self.position + self.time
        for block in self.blocks:
            x = block(x)
        return x if self.merging is None else self.merging(x)


class PlainSwiFT(eqx.Module):
    """SwiFT's backbone for clips of the model's full length. ``tensors`` are named as in the published checkpoints."""

    embedding: eqx.nn.Linear
    stages: list[Stage]
    patch: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, config: SwiFTConfig, tensors: Tensors):
        self.patch = config.patch_size[:3]
        self.embedding = linear(tensors, "model.patch_embed.fc")
        self.stages = [stage(config, tensors, index) for index in range(config.stages)]

    def __call__(self, bold: Float[Array, "batch c H W D T"]) -> Float[Array, "batch channels h w d T"]:
        """Features of a batch of clips."""
        batch, chans, height, width, depth, frames = bold.shape
        kh, kw, kd = self.patch
        h, w, d = height // kh, width // kw, depth // kd
        x = bold.reshape(batch, chans, h, kh, w, kw, d, kd, frames)
        x = x.transpose(0, 2, 4, 6, 8, 3, 5, 7, 1).reshape(batch, h, w, d, frames, kh * kw * kd * chans)
        x = per_token(self.embedding, x)
        for stage in self.stages:
            x = stage(x)
        return x.transpose(0, 5, 1, 2, 3, 4)


def stage(config: SwiFTConfig, tensors: Tensors, index: int) -> Stage:
    """A stage with its weights."""
    to_tokens = (0, 2, 3, 4, 5, 1)
    embeddings, layers = f"model.pos_embeds.{index}", f"model.layers.{index}"
    last = index == config.stages - 1
    return Stage(
        jnp.asarray(tensors[f"{embeddings}.pos_embed"]).transpose(to_tokens),
        jnp.asarray(tensors[f"{embeddings}.time_embed"]).transpose(to_tokens),
        [block(config, tensors, index, j, f"{layers}.blocks.{j}") for j in range(config.depths[index])],
        None
        if last
        else Merging(
            layer_norm(tensors, f"{layers}.downsample.norm"),
            linear(tensors, f"{layers}.downsample.reduction", bias=False),
        ),
    )


def block(config: SwiFTConfig, tensors: Tensors, index: int, number: int, name: str) -> Block:
    """A block with its weights."""
    return Block(
        layer_norm(tensors, f"{name}.norm1"),
        Attention(linear(tensors, f"{name}.attn.qkv"), linear(tensors, f"{name}.attn.proj"), config.num_heads[index]),
        layer_norm(tensors, f"{name}.norm2"),
        linear(tensors, f"{name}.mlp.linear1"),
        linear(tensors, f"{name}.mlp.linear2"),
        config.window_plan(index, number),
    )
