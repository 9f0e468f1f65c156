"""What a network gives to the measurement, and the random numbers of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Case", "filled", "noise", "tokens"]

Tree = TypeVar("Tree")

#: Parts of the names of vectors that multiply or divide; all others are added.
_FACTORS = ("scale", "weight", "var", "gamma")


class Case(NamedTuple):
    """A function of arrays, with its weights inside, and arguments for it."""

    function: Callable[..., Any]
    arguments: tuple[np.ndarray, ...]


def noise(*shape: int) -> np.ndarray:
    """Normal random numbers in float32."""
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def tokens(vocabulary: int, *shape: int) -> np.ndarray:
    """Random indices below ``vocabulary``."""
    return np.random.default_rng(1).integers(0, vocabulary, shape).astype(np.int32)


def filled(weights: Tree, *, outputs: int = -1) -> Tree:
    """Weights as after training, from initial ones or their shapes: no bias is zero, no scale or variance 1.

    Kernels are normal, their variance is one by the number of inputs, twice that in convolutions; ``outputs`` is the
    axis of their outputs. Frameworks initialise layer by layer, which takes minutes in JAX; shapes alone take seconds.
    """
    rng = np.random.default_rng(0)

    def fill(path: Any, leaf: Any) -> Any:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, np.floating):
            return leaf
        # Some frameworks keep vectors with axes of size 1.
        if sum(size > 1 for size in leaf.shape) > 1:
            gain = 2 if len(leaf.shape) > 3 else 1
            values = rng.normal(0, math.sqrt(gain * leaf.shape[outputs] / math.prod(leaf.shape)), leaf.shape)
        elif any(part in jax.tree_util.keystr(path).lower() for part in _FACTORS):
            values = rng.uniform(0.7, 1.3, leaf.shape)
        else:
            values = rng.normal(0, 0.05, leaf.shape)
        return jnp.asarray(values.astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(fill, weights)
