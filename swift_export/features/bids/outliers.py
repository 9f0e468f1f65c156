"""Scans whose embedding lies far from those of the others, by medians, which few bad scans cannot move."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["FEWEST", "LIMIT", "robust_scores"]

#: Scores above this are outliers: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993).
LIMIT = 3.5
#: Fewer scans have no typical distance.
FEWEST = 8
#: Median absolute deviations of a normal distribution in one standard deviation.
_NORMAL = 1.4826


def robust_scores(vectors: Float[np.ndarray, "scans channels"]) -> Float[np.ndarray, " scans"] | None:
    """How unusual the distance of each scan from the median scan is; None for fewer than `FEWEST` scans.

    Each channel is centred on its median over scans and divided by its median absolute deviation. The distance of a
    scan is the root mean square over channels, and its score the difference from the median distance over the
    (scaled) median absolute deviation of distances.
    """
    if len(vectors) < FEWEST:
        return None
    centred = vectors.astype(np.float64) - np.median(vectors, axis=0)
    scale = _NORMAL * np.median(np.abs(centred), axis=0)
    varying = scale > 0
    if not varying.any():
        return np.zeros(len(vectors))
    distances = np.sqrt(np.mean((centred[:, varying] / scale[varying]) ** 2, axis=1))
    beyond = distances - np.median(distances)
    typical = _NORMAL * np.median(np.abs(beyond))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: np.ndarray = np.where(beyond == 0, 0.0, beyond / typical)
    return scores
