"""A bound, for every input, on how far the score of a masked key can exceed the query's score with itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from swift_export.models.swift.config import WindowPlan

__all__ = ["score_excess"]

#: Factors tried for a free parameter of a bound. Each gives a valid bound; the smallest is used.
GRID = np.logspace(-3, 3, 121)


def score_excess(tensors: Mapping[str, np.ndarray], name: str, heads: int, plan: WindowPlan) -> float:
    """An upper bound on (score of a query with any key) - (its score with its own token), over all heads and inputs.

    ``name`` is the name of the block in a checkpoint. The result is NaN if the weights are not finite.

    The LayerNorm computes ``weight * z + bias``, where z has mean 0 and |z|^2 is at most the number n of channels. With
    queries ``a + A z`` (including the scale) and keys ``b + K z'``, the difference is ``(a + A z) . K (z' - z)``. For a
    given z it is at most ``sqrt(n) |y| - z . y`` with ``y = K^T (a + A z)``, in the space of mean 0. Since
    ``sqrt(n) |y| <= n |y|^2 / (2 t) + t / 2`` for every t > 0, this is a quadratic form in z, which its Lagrange dual
    bounds over the ball. In tests, inputs reach the bound to four digits. Padding adds a key of 0 after the LayerNorm.
    """
    weight, bias = (np.asarray(tensors[f"{name}.norm1.{k}"], np.float64) for k in ("weight", "bias"))
    qkv, offset = (np.asarray(tensors[f"{name}.attn.qkv.{k}"], np.float64) for k in ("weight", "bias"))
    channels = len(weight)
    dim = channels // heads
    if not all(np.isfinite(a).all() for a in (weight, bias, qkv, offset)):
        return math.nan
    excess = 0.0
    for head in range(heads):
        rows = slice(head * dim, (head + 1) * dim)
        query, key = qkv[rows] / math.sqrt(dim), qkv[channels:][rows]
        a = query @ bias + offset[rows] / math.sqrt(dim)
        # Only the directions that queries and keys use matter: at most twice ``dim``, of mean 0.
        used = np.concatenate([query * weight, key * weight])
        used -= used.mean(1, keepdims=True)
        queries, keys = np.split(used @ np.linalg.qr(used.T)[0], 2)
        excess = max(excess, _tokens(keys.T @ queries, keys.T @ a, channels))
        if plan.padded != plan.grid:
            pad = key @ bias
            matrix, linear = keys.T @ queries, keys.T @ a + queries.T @ pad
            (bound,) = _maxima(-_symmetric(matrix)[None], -linear[None], channels)
            excess = max(excess, float(bound) - float(a @ pad))
    return excess


def _tokens(matrix: Float[np.ndarray, "n n"], y0: Float[np.ndarray, " n"], channels: int) -> float:
    """Bound on ``sqrt(channels) |y| - z . y`` for ``y = y0 + matrix z``."""
    largest = math.sqrt(channels) * np.linalg.norm(matrix, 2) + np.linalg.norm(y0)
    if largest == 0:
        return 0.0
    t = math.sqrt(channels) * largest * GRID
    k = channels / (2 * t)
    quadratic = k[:, None, None] * (matrix.T @ matrix) - _symmetric(matrix)
    linear = 2 * k[:, None] * (matrix.T @ y0) - y0
    return float((t / 2 + k * (y0 @ y0) + _maxima(quadratic, linear, channels)).min())


def _maxima(
    quadratic: Float[np.ndarray, "forms n n"], linear: Float[np.ndarray, "forms n"], radius2: float
) -> Float[np.ndarray, " forms"]:
    """Bounds on ``z . quadratic z + linear . z`` over |z|^2 <= radius2: the duals at the best multipliers tried."""
    values, vectors = np.linalg.eigh(quadratic)
    components = np.einsum("fji,fj->fi", vectors, linear) ** 2
    floor = np.maximum(values[:, -1], 0.0)
    step = np.sqrt(components.sum(1) / (4 * radius2))
    pure = step == 0  # without a linear term the maximum is at an eigenvector
    multipliers = floor[:, None] + np.where(pure, 1.0, step)[:, None] * GRID
    sums = (components[:, None] / (multipliers[..., None] - values[:, None])).sum(2)
    bounds = (multipliers * radius2 + 0.25 * sums).min(1)
    return np.asarray(np.where(pure, floor * radius2, bounds))


def _symmetric(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    return np.asarray((matrix + matrix.T) / 2)
