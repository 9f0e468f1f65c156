"""Networks in Haiku: one that comes with it, and one for sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import numpy as np

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["mobilenet", "tcn"]


def _case(forward: Callable[[Any, bool], Any], example: np.ndarray) -> Case:
    net = hk.without_apply_rng(hk.transform_with_state(forward))
    shapes = jax.eval_shape(lambda key, x: net.init(key, x, True), jax.random.key(0), example)
    params, state = (filled(tree) for tree in shapes)
    return Case(lambda x: net.apply(params, state, x, False)[0], (example,))


def mobilenet() -> Case:
    """Haiku's own MobileNetV1."""
    return _case(lambda x, training: hk.nets.MobileNetV1(num_classes=1000)(x, training), noise(1, 128, 128, 3))


def tcn() -> Case:
    """Dilated causal convolutions with residuals."""

    def forward(x: Any, training: bool) -> Any:
        x = hk.Conv1D(160, 1)(x)
        for level in range(6):
            y = x
            for _ in range(2):
                y = hk.Conv1D(160, 3, rate=2**level, padding=hk.pad.causal)(y)
                y = jax.nn.relu(hk.LayerNorm(-1, create_scale=True, create_offset=True)(y))
            x = jax.nn.relu(x + y)
        return hk.Linear(10)(x[:, -1])

    return _case(forward, noise(1, 400, 16))
