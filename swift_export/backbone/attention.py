"""Multi-head self-attention inside windows, without relative position bias."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from swift_export.backbone.config import MASK_FLOOR, WindowPlan
from swift_export.backbone.layers import Linear, Tensors
from swift_export.backbone.partition import Partition
from swift_export.backbone.windows import crop_grid, merge_windows, pad_grid, split_windows

__all__ = ["Mask", "WindowAttention"]

#: What is added to the scores of the windows of a group; None where nothing is.
Mask = Float[Array, "windows 1 tokens tokens"] | None


class WindowAttention(eqx.Module):
    """Attention among the tokens of each window; padded tokens stay visible as keys."""

    qkv: Linear
    proj: Linear
    heads: int = eqx.field(static=True)

    @classmethod
    def load(cls, tensors: Tensors, name: str, heads: int) -> WindowAttention:
        """Take ``name.qkv`` and ``name.proj``."""
        return cls(Linear.load(tensors, f"{name}.qkv"), Linear.load(tensors, f"{name}.proj"), heads)

    def __call__(
        self,
        x: Float[Array, "batch h w d t channels"],
        plan: WindowPlan,
        masks: Sequence[Mask],
        partition: Partition | None = None,
    ) -> Float[Array, "batch h w d t channels"]:
        """Cut into windows, attend, put back; or cut as ``partition`` says. ``masks`` has one entry a group of it, else
        one for all windows.
        """
        if partition is not None:
            return self._by_group(x, plan, masks, partition)
        (mask,) = masks
        q, k, v = self._projected(split_windows(x, plan))
        out = self._attend(q, k, v, mask)
        return merge_windows(self.proj(out), plan)

    def _by_group(
        self,
        x: Float[Array, "batch h w d t channels"],
        plan: WindowPlan,
        masks: Sequence[Mask],
        partition: Partition,
    ) -> Float[Array, "batch h w d t channels"]:
        x = pad_grid(x, plan)
        batch, channels = x.shape[0], x.shape[-1]
        tokens = _take(x.reshape(batch, -1, channels), partition.order)
        projected = self._projected(tokens)
        start, attended = 0, []
        for group, mask in zip(partition.groups, masks, strict=True):
            stop = start + group.sets * group.tokens
            q, k, v = (
                lax.slice_in_dim(a, start, stop, axis=1).reshape(batch, group.sets, group.tokens, channels)
                for a in projected
            )
            attended.append(self._attend(q, k, v, mask, floored=True).reshape(batch, stop - start, channels))
            start = stop
        out = self.proj(attended[0] if len(attended) == 1 else lax.concatenate(attended, 1))
        return crop_grid(_take(out, partition.inverse).reshape(x.shape), plan)

    def _projected(self, tokens: Float[Array, "*batch channels"]) -> Sequence[Float[Array, "*batch channels"]]:
        """Queries, keys and values."""
        return lax.split(self.qkv(tokens), (tokens.shape[-1],) * 3, axis=tokens.ndim - 1)

    def _attend(
        self,
        q: Float[Array, "batch windows tokens channels"],
        k: Float[Array, "batch windows tokens channels"],
        v: Float[Array, "batch windows tokens channels"],
        mask: Mask,
        *,
        floored: bool = False,
    ) -> Float[Array, "batch windows tokens channels"]:
        batch, count, tokens, channels = q.shape
        head_dim = channels // self.heads

        def by_head(a: Float[Array, "batch windows tokens channels"]) -> Float[Array, "batch windows heads tokens dim"]:
            return a.reshape(batch, count, tokens, self.heads, head_dim).transpose(0, 1, 3, 2, 4)

        q, k, v = by_head(q) * jnp.float32(head_dim**-0.5), by_head(k), by_head(v)
        batched = (0, 1, 2)
        scores = lax.dot_general(q, k, (((4,), (4,)), (batched, batched)))
        if mask is not None:
            scores = scores + mask
            if floored:
                scores = lax.max(scores, (q * k).sum(-1, keepdims=True) - MASK_FLOOR)
        out = lax.dot_general(jax.nn.softmax(scores, axis=-1), v, (((4,), (3,)), (batched, batched)))
        return out.transpose(0, 1, 3, 2, 4).reshape(batch, count, tokens, channels)


def _take(
    x: Float[Array, "batch tokens channels"], order: Int[np.ndarray, " places"]
) -> Float[Array, "batch places channels"]:
    """``x[:, order]``. The batch is a batching dimension of the gather, not part of its slices: its size may be
    unknown, and slices of unknown size make another op, which few programs read.
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
