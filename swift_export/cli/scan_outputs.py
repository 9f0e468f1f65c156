"""The files that a command writes for scans: one named file, or one for each scan in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from swift_export.errors import UsageError
from swift_export.scans.sidecar import stem
from swift_export.system.disk import write_error

__all__ = ["made_folders", "output_places", "picture_places"]

#: Suffixes of files, which a folder does not have.
_FILES = (".npy", ".npz", ".safetensors", ".tsv")


def output_places(files: Sequence[Path], output: Path, suffix: str, what: str) -> list[Path]:
    """The file to write for each scan: ``output``, or for several scans one of the scan's name in that folder.

    ``what`` is the content. Raises UsageError unless there is one place for each scan.
    """
    if len(files) == 1 and not output.is_dir():
        return [output]
    if not output.is_dir() and (output.exists() or output.suffix in _FILES):
        found = "a file" if output.exists() else "a file name"
        raise UsageError(f"{output}: expected a folder for the {what} of {len(files)} scans, found {found}")
    return _named(files, output, suffix)


def picture_places(files: Sequence[Path], picture: Path | None) -> list[Path | None]:
    """The picture of each scan: ``picture``, or for several scans one of the scan's name in that folder."""
    if picture is None:
        return [None] * len(files)
    if len(files) == 1 and not picture.is_dir():
        return [picture]
    if picture.exists() and not picture.is_dir():
        raise UsageError(f"--picture {picture}: expected a folder for the pictures of {len(files)} scans, found a file")
    return [*_named(files, picture, ".png")]


@contextmanager
def made_folders(folders: Iterable[Path]) -> Iterator[None]:
    """Create the folders for the block; afterwards, remove those of them that are empty."""
    new = {folder for path in folders for folder in (path, *path.parents) if not folder.exists()}
    try:
        for path in folders:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(path, error) from None
        yield
    finally:
        for folder in sorted(new, reverse=True):
            with suppress(OSError):
                folder.rmdir()


def _named(files: Sequence[Path], folder: Path, suffix: str) -> list[Path]:
    """A file for each scan, with the name of the scan."""
    names = [file.resolve().name if file.is_dir() else file.name.removesuffix(".npy") for file in files]
    stems = list(map(stem, names))
    twice = [name for name in stems if stems.count(name) > 1]
    if twice:
        raise UsageError(
            f"{folder}: expected scans with different names, found two called {twice[0]}; give them separately"
        )
    return [folder / f"{name}{suffix}" for name in stems]
