"""The level ``group`` of a BIDS App: tables of a cohort's features, and a page about their quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swift_export.features.bids.group_table import read_scans, write_tables
from swift_export.features.bids.quality_page import Refusal, quality_page
from swift_export.features.bids.scan_table import Vector
from swift_export.system.files import replaced

__all__ = ["QUALITY_PAGE", "write_group"]

QUALITY_PAGE = "group.html"


def write_group(output: Path, refusals: Sequence[Refusal] = (), kind: Vector = "embedding") -> list[Path]:
    """Write the tables of all finished scans below ``output``, and the page; returns their paths.

    ``refusals`` are the scans of the cohort that have no features.

    Raises:
        InputError: there is no finished scan, a table is damaged, or scans are of different artifacts or placements.
        UsageError: a file cannot be written there.
        MachineError: the disk is full.

    """
    rows = read_scans(output, kind)
    tables = write_tables(output, rows, kind)
    page = output / QUALITY_PAGE
    with replaced(page) as draft:
        draft.write_text(quality_page(rows, refusals, kind), encoding="utf-8")
    return [*tables, page]
