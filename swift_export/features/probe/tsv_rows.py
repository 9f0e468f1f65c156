"""Reads tables of tab-separated values as BIDS defines them, row by row and within limits."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from swift_export.errors import InputError
from swift_export.system.text import listed, shown

__all__ = ["MISSING", "PARTICIPANT", "TsvRows", "participant"]

PARTICIPANT = "participant_id"
#: Fields without a value: BIDS writes ``n/a``, spreadsheets leave fields empty.
MISSING = frozenset({"n/a", ""})

_MAX_LINE = 4 * 2**20
_MAX_COLUMNS = 70_000


@dataclass(frozen=True)
class TsvRows:
    """A table's file and its columns; `rows` reads the rest."""

    path: Path
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> TsvRows:
        """Read the header; raises InputError unless it has different names, ``participant_id`` among them."""
        lines = _lines(path)
        try:
            columns = tuple(next(lines, "").split("\t"))
        finally:
            lines.close()
        twice = sorted({name for name in columns if columns.count(name) > 1}) if len(columns) <= _MAX_COLUMNS else []
        if twice or PARTICIPANT not in columns[:_MAX_COLUMNS] or len(columns) > _MAX_COLUMNS:
            found = f"{len(columns):,} columns, {listed((shown(name, 40) for name in columns), most=6)}"
            found = f"{listed(shown(name, 40) for name in twice)} twice" if twice else found
            raise InputError(
                f"{path}: expected a table of tab-separated values with different columns, {PARTICIPANT} among them, "
                f"found {found}"
            )
        return cls(path, columns)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The line number and fields of each row, without blank lines; raises InputError for rows of other lengths."""
        lines = _lines(self.path)
        next(lines, None)
        for number, line in enumerate(lines, 2):
            fields = line.split("\t")
            if fields == [""]:
                continue
            if len(fields) != len(self.columns):
                raise InputError(
                    f"{self.path}: line {number}: expected {len(self.columns)} columns as in the first line, found "
                    f"{len(fields)}"
                )
            yield number, fields

    def sha256(self) -> str:
        """The digest of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def participant(label: str) -> str:
    """A participant's label, which BIDS writes with or without ``sub-``."""
    return label.strip().removeprefix("sub-")


def _lines(path: Path) -> Generator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            while line := file.readline(_MAX_LINE):
                if len(line) == _MAX_LINE:
                    raise InputError(f"{path}: expected lines of at most {_MAX_LINE:,} characters, found a longer one")
                yield line.removesuffix("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected text in UTF-8, found other bytes; save it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
