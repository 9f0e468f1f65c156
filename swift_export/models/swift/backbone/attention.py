"""Multi-head self-attention inside windows, without relative position bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from swift_export.models.swift.backbone.layers import Linear, Tensors
from swift_export.models.swift.backbone.partition import Partition, partition
from swift_export.models.swift.backbone.windows import (
    FLOAT32,
    crop_grid,
    merge_windows,
    pad_grid,
    region_mask,
    split_windows,
)
from swift_export.models.swift.config import MASK_FLOOR, WindowPlan

__all__ = ["Cut", "Mask", "WindowAttention"]

#: Added to the scores of windows; None without a mask.
Mask = Float[Array, "windows 1 tokens tokens"] | None


@dataclass(frozen=True)
class Cut:
    """A partition and the masks of its groups."""

    partition: Partition
    masks: tuple[Mask, ...]

    @classmethod
    def load(cls, plan: WindowPlan, form: str, dtype: jnp.dtype = FLOAT32) -> Cut:
        """The partition with its masks, which have the type of the scores, on the device."""
        found = partition(plan, form)
        return cls(found, tuple(None if g.regions is None else region_mask(g.regions, dtype) for g in found.groups))


class WindowAttention(eqx.Module):
    """Attention among the tokens of each window; padded tokens stay visible as keys."""

    qkv: Linear
    proj: Linear
    heads: int = eqx.field(static=True)

    @property
    def dtype(self) -> jnp.dtype:
        """The type of queries, keys, values and scores."""
        return self.qkv.weight.dtype

    @classmethod
    def load(cls, tensors: Tensors, name: str, heads: int) -> WindowAttention:
        """Take ``name.qkv`` and ``name.proj``."""
        return cls(Linear.load(tensors, f"{name}.qkv"), Linear.load(tensors, f"{name}.proj"), heads)

    def __call__(
        self, x: Float[Array, "batch h w d t channels"], plan: WindowPlan, mask: Mask
    ) -> Float[Array, "batch h w d t channels"]:
        """The definition: split into windows, attend, reassemble."""
        q, k, v = self._projected(split_windows(x, plan))
        return merge_windows(self.proj(self._attend(q, k, v, mask)), plan)

    def by_group(
        self, x: Float[Array, "batch tokens channels"], plan: WindowPlan, cut: Cut
    ) -> Float[Array, "batch tokens channels"]:
        """The same result with another partition; input and output are the grid's tokens in C order."""
        batch, _, channels = x.shape
        if plan.padded != plan.grid:
            x = pad_grid(x.reshape(batch, *plan.grid, channels), plan).reshape(batch, -1, channels)
        projected = self._projected(_take(x, cut.partition.order))
        start, attended = 0, []
        for group, mask in zip(cut.partition.groups, cut.masks, strict=True):
            stop = start + group.sets * group.tokens
            # With masks, the sets of a clip need an axis. Without, clips and sets share one, because runtimes recognise
            # attention in four dimensions.
            front = (batch * group.sets,) if mask is None else (batch, group.sets)
            q, k, v = (
                lax.slice_in_dim(a, start, stop, axis=1).reshape(*front, group.tokens, a.shape[-1]) for a in projected
            )
            attended.append(self._attend(q, k, v, mask, floored=True).reshape(batch, stop - start, q.shape[-1]))
            start = stop
        out = self.proj(attended[0] if len(attended) == 1 else lax.concatenate(attended, 1))
        out = _take(out, cut.partition.inverse)
        if plan.padded != plan.grid:
            out = crop_grid(out.reshape(batch, *plan.padded, channels), plan).reshape(batch, -1, channels)
        return out

    def _projected(self, tokens: Float[Array, "*batch channels"]) -> Sequence[Float[Array, "*batch width"]]:
        """Scaled queries, keys and values: as wide as the channels, or wider if the heads are padded."""
        channels, width = tokens.shape[-1], self.qkv.weight.shape[0] // 3
        q, k, v = lax.split(self.qkv(tokens), (width,) * 3, axis=tokens.ndim - 1)
        return q * jnp.asarray((channels // self.heads) ** -0.5, q.dtype), k, v

    def _attend(
        self,
        q: Float[Array, "*sets tokens channels"],
        k: Float[Array, "*sets tokens channels"],
        v: Float[Array, "*sets tokens channels"],
        mask: Mask,
        *,
        floored: bool = False,
    ) -> Float[Array, "*sets tokens channels"]:
        *sets, tokens, channels = q.shape
        rank = len(sets)
        heads_first = (*range(rank), rank + 1, rank, rank + 2)

        def by_head(a: Float[Array, "*sets tokens channels"]) -> Float[Array, "*sets heads tokens dim"]:
            return a.reshape(*sets, tokens, self.heads, channels // self.heads).transpose(heads_first)

        q, k, v = map(by_head, (q, k, v))
        batched = tuple(range(rank + 1))
        scores = lax.dot_general(q, k, (((rank + 2,), (rank + 2,)), (batched, batched)))
        if mask is not None:
            scores = scores + mask
            if floored:
                scores = lax.max(scores, _row_sums(q * k) - MASK_FLOOR)
        weights = jax.nn.softmax(scores.astype(jnp.float32), axis=-1).astype(v.dtype)
        out = lax.dot_general(weights, v, (((rank + 2,), (rank + 1,)), (batched, batched)))
        return out.transpose(heads_first).reshape(*sets, tokens, channels)


def _row_sums(x: Float[Array, "*rows n"]) -> Float[Array, "*rows 1"]:
    """Sums over the last axis, in the type of ``x``; jax would widen half precision."""
    sums: Array = lax.reduce(x, np.zeros((), x.dtype), lax.add, (x.ndim - 1,))
    return sums[..., None]


def _take(
    x: Float[Array, "batch tokens channels"], order: Int[np.ndarray, " places"]
) -> Float[Array, "batch places channels"]:
    """``x[:, order]``, with the batch as a batching dimension of the gather.

    In the slices, a batch of unknown size would need another op, which few programs can read.
    """
    batch = x.shape[0]
    indices = jnp.broadcast_to(jnp.asarray(order)[None, :, None], (batch, len(order), 1))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(2,),
        collapsed_slice_dims=(1,),
        start_index_map=(1,),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )
    return lax.gather(
        x, indices, numbers, (1, 1, x.shape[2]), unique_indices=True, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS
    )
