"""Multi-head self-attention inside windows, without relative position bias."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from swift_export.backbone.config import WindowPlan
from swift_export.backbone.layers import Linear, Tensors
from swift_export.backbone.windows import merge_windows, split_windows

__all__ = ["WindowAttention"]


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
        mask: Float[Array, "windows 1 tokens tokens"] | None,
    ) -> Float[Array, "batch h w d t channels"]:
        """Cut into windows, attend, put back."""
        windows = split_windows(x, plan)
        batch, count, tokens, channels = windows.shape
        head_dim = channels // self.heads

        def by_head(a: Float[Array, "batch windows tokens channels"]) -> Float[Array, "batch windows heads tokens dim"]:
            return a.reshape(batch, count, tokens, self.heads, head_dim).transpose(0, 1, 3, 2, 4)

        q, k, v = map(by_head, lax.split(self.qkv(windows), (channels,) * 3, axis=3))
        batched = (0, 1, 2)
        scores = lax.dot_general(q * jnp.float32(head_dim**-0.5), k, (((4,), (4,)), (batched, batched)))
        if mask is not None:
            scores = scores + mask
        out = lax.dot_general(jax.nn.softmax(scores, axis=-1), v, (((4,), (3,)), (batched, batched)))
        out = out.transpose(0, 1, 3, 2, 4).reshape(batch, count, tokens, channels)
        return merge_windows(self.proj(out), plan)
