"""How a shifted block cuts its tokens into groups that attend among themselves.

The definition attends inside windows and subtracts 100 from the score of every pair of tokens from different regions
(see `windows`). The same numbers come cheaper: windows that hold one region need no mask, and where the scores of a
block cannot spread far enough for e^-100 to be seen, each region attends for itself and no mask is left at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from swift_export.models.swift.backbone.windows import window_regions, window_tokens
from swift_export.models.swift.config import WindowPlan

__all__ = ["FORMS", "Partition", "WindowGroup", "partition"]

#: ``masked``: windows, with a mask where it is needed. ``regions``: one region of one window, no mask.
FORMS = ("masked", "regions")
WORTH_A_GROUP = 32


@dataclass(frozen=True)
class WindowGroup:
    """Sets of equally many tokens; ``regions`` numbers the tokens' regions where pairs of them need the mask."""

    sets: int
    tokens: int
    regions: Int[np.ndarray, "sets tokens"] | None


@dataclass(frozen=True)
class Partition:
    """``order`` lists the padded grid's tokens, numbered in C order, set after set and group after group."""

    order: Int[np.ndarray, " tokens"]
    groups: tuple[WindowGroup, ...]

    @property
    def inverse(self) -> Int[np.ndarray, " tokens"]:
        """Where each token of the grid stands in ``order``."""
        return np.argsort(self.order).astype(np.int32)


def partition(plan: WindowPlan, form: str) -> Partition:
    """Cut a block's tokens as ``form`` says: sets of one size together, unmasked before masked, large before small."""
    windows, regions = window_tokens(plan), window_regions(plan)
    cut = (regions != regions[:, :1]).any(1)
    # Few windows that need no mask are not worth a group of their own.
    masked = cut | (np.count_nonzero(~cut) < WORTH_A_GROUP and bool(cut.any()))
    sets: dict[tuple[bool, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    for tokens, region, with_mask in zip(windows, regions, masked, strict=True):
        if form == "regions":
            for number in np.unique(region):
                part = region == number
                sets.setdefault((False, -int(part.sum())), []).append((tokens[part], region[part]))
        else:
            sets.setdefault((bool(with_mask), -len(tokens)), []).append((tokens, region))
    order, groups = [], []
    for (with_mask, size), members in sorted(sets.items(), key=lambda item: item[0]):
        order += [tokens for tokens, _ in members]
        groups.append(WindowGroup(len(members), -size, np.stack([r for _, r in members]) if with_mask else None))
    return Partition(np.concatenate(order).astype(np.int32), tuple(groups))
