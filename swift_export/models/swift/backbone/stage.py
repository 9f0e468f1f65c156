"""The patch embedding, and the stages: position embeddings, blocks and, except in the last, patch merging."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from swift_export.models.swift.backbone.attention import Cut
from swift_export.models.swift.backbone.blocks import Block
from swift_export.models.swift.backbone.layers import LayerNorm, Linear, Tensors
from swift_export.models.swift.backbone.partition import FORMS
from swift_export.models.swift.backbone.windows import attention_mask
from swift_export.models.swift.config import SwiFTConfig, WindowPlan

__all__ = ["PatchEmbedding", "Stage", "channels_first"]


class PatchEmbedding(eqx.Module):
    """Linear map of non-overlapping patches of (kh, kw, kd) voxels and one frame."""

    fc: Linear
    patch: tuple[int, int, int] = eqx.field(static=True)

    @classmethod
    def load(cls, tensors: Tensors, config: SwiFTConfig) -> PatchEmbedding:
        """Take ``model.patch_embed.fc``."""
        return cls(Linear.load(tensors, "model.patch_embed.fc"), config.patch_size[:3])

    def __call__(self, bold: Float[Array, "batch in H W D T"]) -> Float[Array, "batch h w d t channels"]:
        """Split into patches and map them to tokens."""
        bold = bold.astype(self.fc.weight.dtype)
        batch, chans, *volume, frames = bold.shape
        h, w, d = (n // k for n, k in zip(volume, self.patch, strict=True))
        kh, kw, kd = self.patch
        x = bold.reshape(batch, chans, h, kh, w, kw, d, kd, frames)
        # A patch flattens to (kh, kw, kd, channel). Time stays innermost, so that whole runs of frames move instead of
        # single numbers, which is several times faster for a clip of 71 MB. The patches of a row along the third axis
        # stay beside each other, so that products are wide: 320 columns at the published sizes.
        x = x.transpose(0, 2, 4, 3, 5, 7, 1, 6, 8).reshape(batch, h * w, -1, d * frames)
        y = lax.dot_general(x, self.fc.weight, (((2,), (1,)), ((), ())))
        assert self.fc.bias is not None
        return y.reshape(batch, h, w, d, frames, -1) + self.fc.bias


class PositionEmbedding(eqx.Module):
    """Learnt embeddings of position and frame, added to the tokens."""

    space: Float[Array, "1 channels h w d 1"]
    time: Float[Array, "1 channels 1 1 1 frames"]

    @classmethod
    def load(cls, tensors: Tensors, name: str) -> PositionEmbedding:
        """Take ``name.pos_embed`` and ``name.time_embed``."""
        return cls(tensors[f"{name}.pos_embed"], tensors[f"{name}.time_embed"])

    def __call__(self, x: Float[Array, "batch h w d t channels"]) -> Float[Array, "batch h w d t channels"]:
        """Add the embeddings; a shorter clip uses the first time embeddings."""
        to_tokens = (0, 2, 3, 4, 5, 1)
        time = lax.slice_in_dim(self.time, 0, x.shape[4], axis=5)
        return x.astype(self.space.dtype) + self.space.transpose(to_tokens) + time.transpose(to_tokens)


class PatchMerging(eqx.Module):
    """Concatenate the 8 spatial neighbours of every other token, normalise and reduce; time is never merged."""

    norm: LayerNorm
    reduction: Linear

    @classmethod
    def load(cls, tensors: Tensors, name: str) -> PatchMerging:
        """Take ``name.norm`` and ``name.reduction`` (no bias)."""
        return cls(LayerNorm.load(tensors, f"{name}.norm"), Linear.load(tensors, f"{name}.reduction", bias=False))

    def __call__(self, x: Float[Array, "batch h w d t channels"]) -> Float[Array, "batch h/2 w/2 d/2 t channels2"]:
        """Halve the spatial grid."""
        batch, h, w, d, t, channels = x.shape
        x = x.reshape(batch, h // 2, 2, w // 2, 2, d // 2, 2, t, channels)
        x = x.transpose(0, 1, 3, 5, 7, 2, 4, 6, 8).reshape(batch, h // 2, w // 2, d // 2, t, 8 * channels)
        return self.reduction(self.norm(x))


class Stage(eqx.Module):
    """Position embeddings, blocks, merging."""

    embedding: PositionEmbedding
    blocks: tuple[Block, ...]
    merging: PatchMerging | None
    config: SwiFTConfig = eqx.field(static=True)
    index: int = eqx.field(static=True)

    @classmethod
    def load(cls, tensors: Tensors, config: SwiFTConfig, index: int) -> Stage:
        """Take the tensors of stage ``index``."""
        name, heads = f"model.layers.{index}", config.num_heads[index]
        last = index == config.stages - 1
        return cls(
            PositionEmbedding.load(tensors, f"model.pos_embeds.{index}"),
            tuple(Block.load(tensors, f"{name}.blocks.{j}", heads) for j in range(config.depths[index])),
            None if last else PatchMerging.load(tensors, f"{name}.downsample"),
            config,
            index,
        )

    def __call__(
        self,
        x: Float[Array, "batch h w d t channels"],
        forms: Mapping[tuple[int, int], str] | None = None,
    ) -> Float[Array, "batch h2 w2 d2 t channels2"]:
        """Compute by definition or, with ``forms``, with attention split into groups.

        ``forms`` holds the forms of all shifted blocks by stage and block number. The number of frames comes from ``x``
        and determines the windows along the time axis.
        """
        with jax.named_scope("embedding"):
            x = self.embedding(x)
        x = self._as_defined(x) if forms is None else self._by_group(x, forms)
        if self.merging is not None:
            with jax.named_scope("merging"):
                x = self.merging(x)
        return x

    @property
    def _scores(self) -> jnp.dtype:
        """The type of the scores in all blocks."""
        return self.blocks[0].attention.dtype

    def _as_defined(self, x: Float[Array, "batch h w d t channels"]) -> Float[Array, "batch h w d t channels"]:
        # All shifted blocks of a stage share one mask.
        with jax.named_scope("mask"):
            mask = attention_mask(self.config.window_plan(self.index, 1, frames=x.shape[4]), self._scores)
        for j, block in enumerate(self.blocks):
            plan = self.config.window_plan(self.index, j, frames=x.shape[4])
            with jax.named_scope(f"block{j}"):
                x = block(x, plan, mask if plan.shifted else None)
        return x

    def _by_group(
        self, x: Float[Array, "batch h w d t channels"], forms: Mapping[tuple[int, int], str]
    ) -> Float[Array, "batch h w d t channels"]:
        shape = x.shape
        cuts: dict[tuple[WindowPlan, str], Cut] = {}
        # Blocks do not need the grid. Their results, which exporters name, are its tokens in C order.
        with jax.named_scope("embedding"):
            x = x.reshape(shape[0], -1, shape[-1])
        for j, block in enumerate(self.blocks):
            plan = self.config.window_plan(self.index, j, frames=shape[4])
            key = (plan, forms[self.index, j] if plan.shifted else FORMS[0])
            if key not in cuts:
                with jax.named_scope("mask"):
                    cuts[key] = Cut.load(*key, self._scores)
            with jax.named_scope(f"block{j}"):
                x = block.by_group(x, plan, cuts[key])
        with jax.named_scope("map"):
            return x.reshape(shape)


def channels_first(x: Float[Array, "batch h w d t channels"]) -> Float[Array, "batch channels h w d t"]:
    """Convert to the layout of features and stage maps outside the backbone."""
    return x.transpose(0, 5, 1, 2, 3, 4)
