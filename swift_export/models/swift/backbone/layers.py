"""The basic layers, on channels-last tokens."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from swift_export.models.swift.config import LAYER_NORM_EPSILON

__all__ = ["LayerNorm", "Linear", "gelu"]

Tensors = Mapping[str, Array]


class Linear(eqx.Module):
    """``x @ weight.T + bias`` over the last axis; ``weight`` is laid out (out, in) as in the checkpoint."""

    weight: Float[Array, "out in"]
    bias: Float[Array, " out"] | None

    @classmethod
    def load(cls, tensors: Tensors, name: str, *, bias: bool = True) -> Linear:
        """Take ``name.weight`` and, by default, ``name.bias``."""
        return cls(tensors[f"{name}.weight"], tensors[f"{name}.bias"] if bias else None)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Apply to the last axis, in the type of the weights."""
        y = lax.dot_general(x.astype(self.weight.dtype), self.weight, (((x.ndim - 1,), (1,)), ((), ())))
        return y if self.bias is None else y + self.bias


class LayerNorm(eqx.Module):
    """Normalisation over the last axis with the biased variance, epsilon 1e-5.

    Mean, variance and quotient are computed in float32: in half precision, the squares of large numbers overflow.
    """

    weight: Float[Array, " channels"]
    bias: Float[Array, " channels"]

    @classmethod
    def load(cls, tensors: Tensors, name: str) -> LayerNorm:
        """Take ``name.weight`` and ``name.bias``."""
        return cls(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        """Apply to the last axis."""
        wide = x.astype(jnp.float32)
        centred = wide - wide.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        normalised = centred * lax.rsqrt(variance + LAYER_NORM_EPSILON)
        return normalised.astype(x.dtype) * self.weight + self.bias


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Exact GELU.

    It uses erf, which lowers to one op. ``jax.nn.gelu`` uses erfc, which lowers to a polynomial. It is computed in
    float32: in half precision, 1 + erf has few correct digits for negative numbers.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1.0 + lax.erf(wide * jnp.float32(0.5**0.5)))).astype(x.dtype)
