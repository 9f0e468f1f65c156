"""The work of one clip by the model's definition, for the comparison with the peaks of a card."""

from __future__ import annotations

import math

from swift_export.models.swift.config import SwiFTConfig, parameter_shapes

__all__ = ["clip_bytes", "clip_flop"]


def clip_flop(config: SwiFTConfig) -> int:
    """Floating-point operations of all matrix products for one clip; a product and its sum are two."""
    total = 0
    for stage, depth in enumerate(config.depths):
        channels, tokens = config.dim(stage), math.prod(config.grid(stage))
        if stage == 0:
            total += tokens * config.in_chans * math.prod(config.patch_size) * channels
        for block in range(depth):
            plan = config.window_plan(stage, block)
            padded = math.prod(plan.padded)
            # qkv and proj; scores and their use; the two layers of the MLP.
            total += 4 * padded * channels**2 + 2 * padded * plan.tokens * channels + 8 * tokens * channels**2
        if stage < config.stages - 1:
            total += tokens // 8 * 8 * channels * config.c_multiplier * channels
    return 2 * total


def clip_bytes(config: SwiFTConfig, itemsize: int = 4) -> int:
    """The bytes that cannot be avoided: a clip and its features in float32, and the weights in their type."""
    features = 4 * math.prod(config.output_shape())
    return config.clip_bytes() + features + itemsize * sum(map(math.prod, parameter_shapes(config).values()))
