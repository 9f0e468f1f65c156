"""Splits the tokens of a shifted block into groups with separate attention.

By definition, tokens attend within windows, and 100 is subtracted from the score of every pair of tokens from different
regions (see `windows`). The same numbers can be computed at lower cost. A window with a single region needs no mask. If
the scores of a block cannot spread far enough to make e^-100 visible, each region attends separately without a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from swift_export.models.swift.backbone.windows import window_regions, window_tokens
from swift_export.models.swift.config import WindowPlan

__all__ = ["FORMS", "Partition", "WindowGroup", "partition"]

#: ``masked``: sets are windows, with a mask if needed. ``regions``: sets are regions of a window, without a mask.
FORMS = ("masked", "regions")
#: Fewest windows without a mask that form a separate group.
WORTH_A_GROUP = 32


@dataclass(frozen=True)
class WindowGroup:
    """Sets with the same number of tokens; ``regions`` holds the region of each token, if pairs need the mask."""

    sets: int
    tokens: int
    regions: Int[np.ndarray, "sets tokens"] | None


@dataclass(frozen=True)
class Partition:
    """``order`` lists the tokens of the padded grid, numbered in C order, by group and set."""

    order: Int[np.ndarray, " tokens"]
    groups: tuple[WindowGroup, ...]

    @property
    def inverse(self) -> Int[np.ndarray, " tokens"]:
        """The position in ``order`` of each token of the grid."""
        return np.argsort(self.order).astype(np.int32)


def partition(plan: WindowPlan, form: str) -> Partition:
    """Group the tokens of a block by ``form`` and set size: unmasked before masked, large before small."""
    windows, regions = window_tokens(plan), window_regions(plan)
    cut = (regions != regions[:, :1]).any(1)
    # A separate group does not pay off for a few windows without a mask.
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
