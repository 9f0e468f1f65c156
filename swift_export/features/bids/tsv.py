"""Tables of tab-separated values as BIDS has them: a header, ``n/a`` for what is missing, UTF-8, no quotes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from swift_export.errors import InputError
from swift_export.system.text import error_line, shown

__all__ = ["MISSING", "Tsv", "read_tsv", "tsv_text"]

MISSING = "n/a"
#: Confounds of 1,200 frames have 10 MB at most; participants of UK Biobank, 50,000 rows.
_MAX_BYTES = 128 * 2**20
_MAX_COLUMNS = 20_000


@dataclass(frozen=True)
class Tsv:
    """A table; every row of ``cells`` is as long as ``columns``."""

    path: Path
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {column: place for place, column in enumerate(self.columns)}

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, str | None]]:
        """Some columns of each row; None for what is missing, and for columns that there are not."""
        places = [(column, self._places.get(column)) for column in columns]
        for row in self.cells:
            yield {column: None if place is None else _present(row[place]) for column, place in places}

    def numbers(self, column: str) -> list[float | None]:
        """A column of finite numbers; None for what is missing. Raises InputError for anything else."""
        place = self._places[column]
        return [self._number(row[place], column, line) for line, row in enumerate(self.cells, 2)]

    def _number(self, cell: str, column: str, line: int) -> float | None:
        if _present(cell) is None:
            return None
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"{self.path}: expected a number or n/a in column {shown(column)}, line {line}, found "
                f"{shown(cell, 40)}; correct it"
            )
        return value


def read_tsv(path: Path, wanted: Callable[[str], bool] = lambda column: True) -> Tsv:
    """Read the ``wanted`` columns of a table; raises InputError if it is no table, too large or unreadable."""

    def refuse(expected: str, found: str) -> InputError:
        return InputError(f"{path}: expected {expected}, found {found}; correct the file")

    try:
        if not path.is_file():
            raise refuse("a table of tab-separated values", "no such file")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise refuse("a readable file", error_line(error)) from None
    if len(data) > _MAX_BYTES:
        raise refuse(f"at most {_MAX_BYTES >> 20} MiB", "more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse("UTF-8 text", error_line(error)) from None
    # Not splitlines: that also breaks lines at characters that may be in a cell.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise refuse("a header line", "an empty file")
    columns = tuple(cell.strip() for cell in lines[0].split("\t"))
    if len(columns) > _MAX_COLUMNS or len(set(columns)) != len(columns):
        problem = f"{len(columns)} columns" if len(columns) > _MAX_COLUMNS else "a column twice"
        raise refuse(f"at most {_MAX_COLUMNS} columns, each once", problem)
    kept = [place for place, column in enumerate(columns) if wanted(column)]
    rows = []
    for line in lines[1:]:
        cells = line.split("\t")
        if len(cells) != len(columns):
            found = f"{len(cells)} after {shown(cells[0], 40)}"
            raise refuse(f"{len(columns)} cells in each row, as in the header", found)
        rows.append(tuple(cells[place] for place in kept))
    return Tsv(path, tuple(columns[place] for place in kept), tuple(rows))


def tsv_text(columns: Sequence[str], rows: Iterable[Sequence[str | int | float | None]]) -> str:
    """A table as text: None is ``n/a``; white space in text that would break the table becomes a space."""
    lines = ["\t".join(map(_cell, columns)), *("\t".join(map(_cell, row)) for row in rows)]
    return "\n".join(lines) + "\n"


def _cell(value: str | int | float | None) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else MISSING
    return " ".join(str(value).split()) or MISSING


def _present(cell: str) -> str | None:
    cell = cell.strip()
    return None if cell in ("", MISSING) else cell
