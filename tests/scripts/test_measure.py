"""The page of measurements."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from _measure import SECTIONS, page, written


def test_a_section_measured_anew_keeps_the_rows_of_the_others() -> None:
    tables = {name: [f"| {name} {n} | <= 1 | 0 | met |" for n in range(3)] for name in SECTIONS}
    assert written(page(tables)) == tables
