"""Files of a BIDS data set and their entities, by bids2table: https://github.com/childmindresearch/bids2table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from swift_export.errors import InputError, UsageError
from swift_export.features.bids.entities import is_bids_name
from swift_export.system.text import error_line, listed, shown

__all__ = ["BidsName", "index_files", "need_bids2table", "parse_name"]

#: The library compares each of these with the name of each participant; beyond, it indexes all participants instead.
_MOST_PATTERNS = 100


@dataclass(frozen=True)
class BidsName:
    """The parts of a name; ``entities`` keep their order, and ``extension`` begins at the first dot."""

    entities: Mapping[str, str]
    suffix: str
    extension: str


def need_bids2table(bids_dir: Path) -> None:
    """Raise UsageError with the package to install if the library is missing."""
    try:
        import bids2table  # noqa: F401 - the functions below use it
    except ImportError as error:
        raise UsageError(
            f"{bids_dir}: reading a BIDS data set requires bids2table; install it with: pip install "
            "'swift-export[scale]'"
        ) from error


def parse_name(name: str) -> BidsName | None:
    """The parts of a file's name; None if BIDS does not allow it, which the library does not check."""
    if not is_bids_name(name):
        return None
    from bids2table import parse_bids_entities

    parts = parse_bids_entities(name)
    suffix, extension = parts.pop("suffix"), parts.pop("ext")
    return BidsName(parts, suffix, extension)


def index_files(root: Path, participants: Sequence[str]) -> dict[str, list[str]]:
    """Names of all files of the participants (labels) but sidecars, by their folder relative to ``root``.

    Columns of the table are not used: its column ``run`` has numbers, where run-1 and run-01 are one.

    Raises InputError for a name that cannot be in a table, and for a participant that the library does not find.
    """
    from bids2table import index_dataset

    # Allowed since BIDS 1.10.
    if unknown := [label for label in participants if "+" in label]:
        raise InputError(
            f"{root}: expected participants whose labels bids2table finds, of letters and digits, found "
            f"{listed(unknown)}; rename them, or choose others with --participant-label"
        )
    if not participants:
        return {}
    wanted = [f"sub-{label}" for label in participants] if len(participants) <= _MOST_PATTERNS else None
    files: dict[str, list[str]] = {}
    with _linked(root) as link, _quiet():
        try:
            table = index_dataset(link, wanted)
        except ValueError as error:
            # The number of a run beyond 32 bits, or a name that is not Unicode.
            found = error.object if isinstance(error, UnicodeEncodeError) else error
            raise InputError(
                f"{root}: expected names that bids2table can index, found: {shown(found)}; rename the file"
            ) from None
    for path in table["path"].to_pylist():
        folder, _, name = path.rpartition("/")
        files.setdefault(folder, []).append(name)
    return files


@contextmanager
def _linked(root: Path) -> Iterator[Path]:
    """A link of a plain, new name to the data set, outside of it.

    The library finds nothing in a folder with a dot in its name (fmriprep-24.1.1) or with brackets in its path, and
    remembers for the life of the process what a path was.
    """
    try:
        temporary = gettempdir()
        # The folder of an array job may be named 12[3].
        place = TemporaryDirectory(prefix="swift-export-", dir=None if escape(temporary) == temporary else "/tmp")
    except OSError as error:
        raise UsageError(f"expected a folder for temporary files, found: {error_line(error)}; set TMPDIR") from None
    with place as folder:
        link = Path(folder, "dataset")
        link.symlink_to(root.absolute(), target_is_directory=True)
        yield link


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from writing names on the standard error stream; those of scans are checked here."""
    logger = logging.getLogger("bids2table")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
