"""The ratios of full runs on processors of other kinds, which a run keeps beside its own.

A ratio depends on the widest vectors: runtimes use them to different degrees. So each kind of processor has a set, and
a run replaces only that of its kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from _bench.rows import ROWS
from _bench.tables import cell, markdown

__all__ = ["RatioSet", "kept_sets", "plain", "ratio_table", "with_set"]


@dataclass(frozen=True)
class RatioSet:
    """Ratios to the first row, for one clip, by row; ``vectors`` is the kind of the processor."""

    vectors: str
    processor: str
    ratios: Mapping[str, float]


def kept_sets(path: Path) -> list[RatioSet]:
    """The sets in the JSON file of the last run, if there is one."""
    if not path.exists():
        return []
    return [RatioSet(**found) for found in json.loads(path.read_text(encoding="utf-8")).get("by_processor", [])]


def with_set(kept: list[RatioSet], own: RatioSet) -> list[RatioSet]:
    """The kept sets with that of a run in place of the one of its kind, in alphabetical order."""
    return sorted([*(a for a in kept if a.vectors != own.vectors), own], key=lambda a: a.vectors)


def ratio_table(sets: list[RatioSet]) -> list[str]:
    """Lines of the table of all sets, in Markdown."""
    rows = [[row.title, *(cell(a.ratios.get(row.name), "{:.2f}") for a in sets)] for row in ROWS]
    return [
        "## Ratios by processor",
        "",
        "Each column is a run on a processor of its kind, relative to the first row. A run replaces only the column of "
        "its own kind.",
        "",
        *markdown(["row", *(a.processor for a in sets)], rows, 1),
    ]


def plain(sets: list[RatioSet]) -> list[dict[str, object]]:
    """Plain data for JSON."""
    return [asdict(a) for a in sets]
