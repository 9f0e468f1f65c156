"""The kinds of output that users ask for, and how each follows from what an artifact computes.

For the published models: ``features`` (288, 2, 2, 2, 20) per window, ``tokens`` (160, 288), the same values as one
row per token, and ``embedding`` (288), their mean over tokens, which downstream heads take. ``logits`` are the outputs
of a head that is part of the artifact.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from swift_export.errors import UsageError
from swift_export.system.text import listed

__all__ = ["KINDS", "OutputKind", "as_kind", "check_kind", "kinds_from"]

OutputKind = Literal["features", "tokens", "embedding", "logits"]
KINDS: tuple[OutputKind, ...] = get_args(OutputKind)

#: What follows from the output of an artifact: the kind of the output itself comes first.
_FROM: dict[OutputKind, tuple[OutputKind, ...]] = {
    "features": ("features", "tokens", "embedding"),
    "embedding": ("embedding",),
    "logits": ("logits",),
}


def check_kind(kind: str) -> OutputKind:
    """``kind`` as an `OutputKind`; raises UsageError for any other name."""
    for known in KINDS:
        if kind == known:
            return known
    raise UsageError(f"--output-kind {kind}: expected one of {listed(KINDS)}")


def kinds_from(given: OutputKind) -> tuple[OutputKind, ...]:
    """The kinds that follow from an artifact's output."""
    return _FROM[given]


def as_kind(
    values: Float32[np.ndarray, "batch ..."], given: OutputKind, kind: OutputKind
) -> Float32[np.ndarray, "batch ..."]:
    """The output of an artifact, of the kind ``given``, as another kind that follows from it.

    Tokens are in the order of the axes (h, w, d, t), as fmri-fm-eval's patch embeddings.
    """
    if kind == given:
        return values
    assert kind in _FROM[given], (given, kind)
    tokens = values.reshape(*values.shape[:2], -1)
    if kind == "tokens":
        return np.ascontiguousarray(tokens.transpose(0, 2, 1))
    # In float64: the result then does not depend on how NumPy orders the sum.
    mean: np.ndarray = tokens.mean(axis=2, dtype=np.float64).astype(np.float32)
    return mean
