"""A transformer block: attention and MLP, each after a LayerNorm and with a residual connection."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from swift_export.models.swift.backbone.attention import Cut, Mask, WindowAttention
from swift_export.models.swift.backbone.layers import LayerNorm, Linear, Tensors, gelu
from swift_export.models.swift.config import WindowPlan

__all__ = ["Block"]


class MLP(eqx.Module):
    """Two linear layers around an exact GELU, with four times the width inside."""

    linear1: Linear
    linear2: Linear

    @classmethod
    def load(cls, tensors: Tensors, name: str) -> MLP:
        """Take ``name.linear1`` and ``name.linear2``."""
        return cls(Linear.load(tensors, f"{name}.linear1"), Linear.load(tensors, f"{name}.linear2"))

    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        """Apply to each token."""
        return self.linear2(gelu(self.linear1(x)))


class Block(eqx.Module):
    """``x += attention(norm1(x)); x += mlp(norm2(x))``."""

    norm1: LayerNorm
    attention: WindowAttention
    norm2: LayerNorm
    mlp: MLP

    @classmethod
    def load(cls, tensors: Tensors, name: str, heads: int) -> Block:
        """Take the tensors of the block ``name``."""
        return cls(
            LayerNorm.load(tensors, f"{name}.norm1"),
            WindowAttention.load(tensors, f"{name}.attn", heads),
            LayerNorm.load(tensors, f"{name}.norm2"),
            MLP.load(tensors, f"{name}.mlp"),
        )

    def __call__(
        self, x: Float[Array, "batch h w d t channels"], plan: WindowPlan, mask: Mask
    ) -> Float[Array, "batch h w d t channels"]:
        """The definition; ``mask`` is the result of ``attention_mask(plan)``."""
        return self._around(x, lambda y: self.attention(y, plan, mask))

    def by_group(
        self, x: Float[Array, "batch tokens channels"], plan: WindowPlan, cut: Cut
    ) -> Float[Array, "batch tokens channels"]:
        """The same result with attention split into groups."""
        return self._around(x, lambda y: self.attention.by_group(y, plan, cut))

    def _around(
        self, x: Float[Array, "*batch channels"], attend: Callable[[Array], Array]
    ) -> Float[Array, "*batch channels"]:
        with jax.named_scope("norm1"):
            y = self.norm1(x)
        with jax.named_scope("attention"):
            x = x + attend(y).astype(x.dtype)
        with jax.named_scope("norm2"):
            y = self.norm2(x)
        with jax.named_scope("mlp"):
            y = self.mlp(y)
        # A separate scope, after which exporters name the result of the block.
        with jax.named_scope("output"):
            return x + y.astype(x.dtype)
