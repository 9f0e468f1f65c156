"""The table of outcomes of a cohort, ``logs/status.tsv``: a row a scan, also of those that have no features.

Several runs into one folder, such as the shards of an array job, keep their rows in one table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from swift_export.errors import InputError
from swift_export.features.bids.tsv import read_tsv
from swift_export.features.cohort.plan import COLUMNS, Outcome
from swift_export.system.files import write_text
from swift_export.system.locks import locked

__all__ = ["STATUS_FILE", "read_status", "update_status"]

STATUS_FILE = Path("logs/status.tsv")
_MISSING = "n/a"


def update_status(output: Path, outcomes: Iterable[Outcome]) -> Path:
    """Add outcomes to the table in an output folder, in place of earlier ones of the same scans."""
    path = output / STATUS_FILE
    with locked(path.parent):
        rows = read_status(output)
        rows |= {outcome.scan: _row(outcome) for outcome in outcomes}
        lines = ["\t".join(COLUMNS), *("\t".join(rows[scan][column] for column in COLUMNS) for scan in sorted(rows))]
        write_text(path, "".join(f"{line}\n" for line in lines))
    return path


def read_status(output: Path) -> dict[str, Mapping[str, str]]:
    """The rows of the table by scan; empty if there is none, or one of another program."""
    path = output / STATUS_FILE
    if not path.is_file():
        return {}
    try:
        table = read_tsv(path)
    except InputError:
        return {}
    if not set(COLUMNS) <= set(table.columns):
        return {}
    found: dict[str, Mapping[str, str]] = {}
    for row in table.rows(COLUMNS):
        cells = {column: row[column] or _MISSING for column in COLUMNS}
        found[cells["scan"]] = cells
    return found


def _row(outcome: Outcome) -> dict[str, str]:
    cells = {
        "participant_id": outcome.participant_id,
        "scan": outcome.scan,
        "status": outcome.status,
        "windows": outcome.windows,
        "seconds": None if outcome.seconds is None else f"{outcome.seconds:.2f}",
        "reason": outcome.reason,
    }
    return {column: _MISSING if cell is None else _cell(str(cell)) for column, cell in cells.items()}


def _cell(text: str) -> str:
    """Text without the separators of a table."""
    return " ".join(text.split()) or _MISSING
