"""SwiFT's exported form written for attention kernels: sets of tokens, heads as wide as their weights.

A set that needs a mask is computed without a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from swift_export.models.swift.backbone.partition import Partition, partition
from swift_export.models.swift.backbone.windows import FLOAT32, region_mask
from swift_export.models.swift.config import LAYER_NORM_EPSILON, SwiFTConfig, WindowPlan

__all__ = ["SetsSwiFT"]

Tensors = Mapping[str, Array]
Tokens = Float[Array, "batch tokens channels"]


class SetsSwiFT:
    """The forward pass on tensors of `wide_heads.widened`, in their type; statistics and masked scores in float32."""

    def __init__(self, config: SwiFTConfig, forms: Mapping[tuple[int, int], str], kernel: str):
        self._config = config
        self._forms = forms
        self._kernel: Any = kernel

    def __call__(self, tensors: Tensors, bold: Float[Array, "batch c H W D T"]) -> Float[Array, "batch c h w d T"]:
        """Features of clips."""
        config = self._config
        x = _patches(bold, config) @ tensors["model.patch_embed.fc.weight"].T + tensors["model.patch_embed.fc.bias"]
        for stage in range(config.stages):
            embeddings = (f"model.pos_embeds.{stage}.{part}" for part in ("pos_embed", "time_embed"))
            for name in embeddings:
                x = x + tensors[name].transpose(0, 2, 3, 4, 5, 1)
            shape = x.shape
            x = x.reshape(shape[0], -1, shape[-1])
            for block in range(config.depths[stage]):
                x = self._block(tensors, x, stage, block)
            x = x.reshape(shape)
            if stage < config.stages - 1:
                x = _merged(tensors, f"model.layers.{stage}.downsample", x)
        return x.transpose(0, 5, 1, 2, 3, 4)

    def _block(self, tensors: Tensors, x: Tokens, stage: int, block: int) -> Tokens:
        name = f"model.layers.{stage}.blocks.{block}"
        plan = self._config.window_plan(stage, block)
        form = self._forms[stage, block] if plan.shifted else "masked"
        x = x + self._attention(tensors, name, _norm(tensors, f"{name}.norm1", x), plan, form, stage)
        y = _linear(tensors, f"{name}.mlp.linear1", _norm(tensors, f"{name}.norm2", x))
        return x + _linear(tensors, f"{name}.mlp.linear2", jax.nn.gelu(y, approximate=False))

    def _attention(self, tensors: Tensors, name: str, x: Tokens, plan: WindowPlan, form: str, stage: int) -> Tokens:
        sets, heads, (batch, _, channels) = partition(plan, form), self._config.num_heads[stage], x.shape
        if plan.padded != plan.grid:
            ends = [(0, p - n) for p, n in zip(plan.padded, plan.grid, strict=True)]
            x = jnp.pad(x.reshape(batch, *plan.grid, channels), [(0, 0), *ends, (0, 0)]).reshape(batch, -1, channels)
        qkv = _linear(tensors, f"{name}.attn.qkv", x[:, sets.order])
        qkv = qkv.reshape(batch, qkv.shape[1], 3, heads, -1)
        attended = self._by_set(qkv, sets, (channels // heads) ** -0.5)
        x = _linear(tensors, f"{name}.attn.proj", attended)[:, sets.inverse]
        if plan.padded != plan.grid:
            h, w, d, t = plan.grid
            x = x.reshape(batch, *plan.padded, channels)[:, :h, :w, :d, :t].reshape(batch, -1, channels)
        return x

    def _by_set(self, qkv: Float[Array, "batch tokens 3 heads dim"], sets: Partition, scale: float) -> Tokens:
        batch, start, attended = len(qkv), 0, []
        for group in sets.groups:
            stop = start + group.sets * group.tokens
            part = qkv[:, start:stop].reshape(batch * group.sets, group.tokens, *qkv.shape[2:])
            q, k, v = part[:, :, 0], part[:, :, 1], part[:, :, 2]
            if group.regions is None:
                out = jax.nn.dot_product_attention(q, k, v, scale=scale, implementation=self._kernel)
            else:
                out = _masked(q, k, v, scale, region_mask(group.regions, FLOAT32))
            attended.append(out.reshape(batch, stop - start, -1))
            start = stop
        return jnp.concatenate(attended, 1)


def _masked(q: Array, k: Array, v: Array, scale: float, mask: Float[Array, "sets 1 tokens tokens"]) -> Array:
    """Attention with a mask of its own for each of the sets, which repeat for every clip."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k).astype(jnp.float32) * scale
    clips = len(q) // len(mask)
    scores = scores.reshape(clips, len(mask), *scores.shape[1:]) + mask
    weights = jax.nn.softmax(scores, axis=-1).reshape(len(q), *scores.shape[2:]).astype(v.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


def _linear(tensors: Tensors, name: str, x: Tokens) -> Tokens:
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def _norm(tensors: Tensors, name: str, x: Float[Array, "*tokens channels"]) -> Float[Array, "*tokens channels"]:
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + LAYER_NORM_EPSILON)
    return scaled.astype(x.dtype) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def _patches(bold: Float[Array, "batch c H W D T"], config: SwiFTConfig) -> Float[Array, "batch h w d t numbers"]:
    batch, channels, *_, frames = bold.shape
    (kh, kw, kd), (h, w, d, _) = config.patch_size[:3], config.grid(0)
    x = bold.reshape(batch, channels, h, kh, w, kw, d, kd, frames).transpose(0, 2, 4, 6, 8, 3, 5, 7, 1)
    return x.reshape(batch, h, w, d, frames, -1)


def _merged(tensors: Tensors, name: str, x: Float[Array, "batch h w d t channels"]) -> Array:
    batch, h, w, d, t, channels = x.shape
    x = x.reshape(batch, h // 2, 2, w // 2, 2, d // 2, 2, t, channels)
    x = x.transpose(0, 1, 3, 5, 7, 2, 4, 6, 8).reshape(batch, h // 2, w // 2, d // 2, t, 8 * channels)
    return _norm(tensors, f"{name}.norm", x) @ tensors[f"{name}.reduction.weight"].T
