"""Networks for text in Flax NNX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from _bench_converter.networks.case import Case, tokens
from _bench_converter.networks.nnx_image import Block, trained

__all__ = ["decoder_bf16", "gpt"]

VOCABULARY = 4096


class _Decoder(nnx.Module):
    def __init__(self, width: int, heads: int, depth: int, length: int, dtype: Any, rngs: nnx.Rngs):
        types: dict[str, Any] = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.words, self.places = nnx.Embed(VOCABULARY, width, **types), nnx.Embed(length, width, **types)
        blocks = [Block(width, heads, rngs, exact=False, scale=None, dtype=dtype) for _ in range(depth)]
        self.blocks = nnx.List(blocks)
        self.norm = nnx.LayerNorm(width, **types)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.words(x) + self.places(jnp.arange(x.shape[1]))
        mask = nnx.make_causal_mask(x)
        for block in self.blocks:
            y = block(y, mask)
        return self.words.attend(self.norm(y)).astype(jnp.float32)


def gpt() -> Case:
    """A causal decoder with a tied head."""
    return Case(trained(lambda: _Decoder(384, 6, 6, 96, jnp.float32, nnx.Rngs(0))), (tokens(VOCABULARY, 1, 96),))


def decoder_bf16() -> Case:
    """The same in bfloat16, weights included."""
    return Case(trained(lambda: _Decoder(192, 3, 4, 64, jnp.bfloat16, nnx.Rngs(0))), (tokens(VOCABULARY, 1, 64),))
