"""Deterministic random weights, for trials without a trained model."""

from __future__ import annotations

import numpy as np

from swift_export.errors import UsageError
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.variants import CUSTOM
from swift_export.models.swift.weights.weights import Provenance, Weights

__all__ = ["synthetic_weights"]


def synthetic_weights(config: SwiFTConfig, seed: int = 0, variant: str = CUSTOM) -> Weights:
    """Draw weights from NumPy's PCG64 stream of ``seed``, tensor by tensor in sorted order.

    The distribution is that of the golden recipe, in which every block affects the output. The values differ from those
    of the golden checkpoints, which draw the heads from the same stream.

    Raises UsageError for a seed that is not an integer from 0 to 2**64 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise UsageError(f"--weights synthetic:SEED: expected a seed from 0 to 2**64 - 1, found {seed}")
    rng = np.random.default_rng(seed)
    tensors = {name: _draw(rng, name, shape) for name, shape in sorted(parameter_shapes(config).items())}
    return Weights(config, tensors, {}, variant, Provenance("synthetic", f"synthetic:{seed}", seed=seed))


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    z = rng.standard_normal(shape, dtype=np.float32)
    if "pos_embeds" in name:
        values = 0.5 * z
    elif "norm" in name and name.endswith("weight"):
        values = 1 + 0.2 * z
    elif name.endswith("bias"):
        values = 0.1 * z
    else:
        values = z * np.float32(1.2 / np.sqrt(shape[-1]))
    values.flags.writeable = False
    return values
