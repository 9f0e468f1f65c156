"""The published checkpoints, from the local cache or the authors' pinned commit, verified before use."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from swift_export.errors import MachineError, SwiftExportError, UsageError, WeightsError
from swift_export.models.swift.variants import UPSTREAM, Variant
from swift_export.models.swift.weights.file_digests import file_digests
from swift_export.models.swift.weights.network import UnreachableError, host_of, open_url
from swift_export.system.text import shown

__all__ = ["cache_folder", "published_file", "published_url"]

CONNECT_SECONDS = 2.0
MAX_BYTES = 4 * 2**30
_PIECE = 2**18


def cache_folder() -> Path:
    """Folder of downloads: ``SWIFT_EXPORT_CACHE``, or else the platform's folder for caches."""
    override = os.environ.get("SWIFT_EXPORT_CACHE")
    if override:
        return Path(override).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "swift-export"


def published_url(variant: Variant) -> str:
    """The URL of the published file; ``SWIFT_EXPORT_UPSTREAM`` names a mirror with the authors' folder layout.

    A mirror need not be trusted, because the digest is verified.
    """
    mirror = os.environ.get("SWIFT_EXPORT_UPSTREAM")
    return f"{mirror.rstrip('/')}/{variant.path}" if mirror else UPSTREAM.url(variant.path)


def published_file(variant: Variant, *, cache: Path | None = None, url: str | None = None, quiet: bool = True) -> Path:
    """The published checkpoint of a variant, verified by its digests.

    An interrupted transfer leaves its data in the cache, and the next call resumes it. If several processes call this
    function, one downloads and the others wait.

    Raises:
        UnreachableError: the server cannot be reached.
        WeightsError: the transfer was interrupted, or the file is not the published one.
        UsageError: the cache cannot be written.
        MachineError: the disk is full.

    """
    from filelock import FileLock

    folder = cache_folder() if cache is None else cache
    file = folder / variant.git_blob / Path(variant.path).name
    if file.is_file() and _mismatch(file, variant) is None:
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(file.name + ".lock")):
            # Another process may have finished while this one waited.
            if not (file.is_file() and _mismatch(file, variant) is None):
                _download(variant, url or published_url(variant), file, quiet)
    except OSError as error:
        raise _cache_error(folder, error) from None
    return file


def _download(variant: Variant, url: str, file: Path, quiet: bool) -> None:
    part = file.with_name(file.name + ".part")
    wrong = None
    if part.is_file():
        # First resume the kept part. If the result is wrong, download the whole file again.
        wrong = _mismatch(part, variant)
        if wrong and _resume(url, part, variant.size, quiet):
            wrong = _mismatch(part, variant)
        if wrong:
            part.unlink()
    if not part.is_file():
        _fetch(url, part, variant.size, quiet)
        wrong = _mismatch(part, variant)
    if wrong:
        part.unlink()
        raise WeightsError(
            f"{file.name} from {host_of(url)}: not the published file: {wrong}; the download was deleted"
        )
    os.replace(part, file)


def _resume(url: str, part: Path, size: int | None, quiet: bool) -> bool:
    """Resume a download; returns whether the server has more data than ``part``."""
    try:
        _fetch(url, part, size, quiet)
    except UnreachableError as error:
        if error.status == 416:  # the server's file is shorter, so ``part`` is not its beginning
            return False
        raise
    return True


def _mismatch(file: Path, variant: Variant) -> str | None:
    """The differences between a file and the published one; None if it is the published file.

    The git blob id identifies the file. Size and SHA-256, if known, are independent, and a mismatch also rejects it.
    """
    found = file_digests(file)
    pairs = [("git blob id", variant.git_blob, found.git_blob)]
    if variant.sha256 is not None:
        pairs.append(("sha256", variant.sha256, found.sha256))
    if variant.size is not None:
        pairs.append(("size", str(variant.size), str(found.size)))
    if all(expected == actual for _, expected, actual in pairs):
        return None
    return ", ".join(f"{name} expected {expected}, found {actual}" for name, expected, actual in pairs)


def _fetch(url: str, part: Path, size: int | None, quiet: bool) -> None:
    """Download to ``part``, resuming from its present length if the server supports that."""
    received = part.stat().st_size if part.is_file() else 0
    if size is not None and received >= size:
        received = 0
    with open_url(url, CONNECT_SECONDS, {"Range": f"bytes={received}-"} if received else None) as response:
        if received and not _continues(response, received):
            received = 0
        length = response.headers.get("Content-Length", "")
        total = received + int(length) if length.isdecimal() and len(length) < 20 else None
        limit = size or MAX_BYTES
        if total is not None and (total > limit or (size is not None and total != size)):
            wanted = size or f"at most {limit}"
            raise WeightsError(f"{part.stem} from {host_of(url)}: expected {wanted} bytes, the server offers {total}")
        with part.open("ab" if received else "wb") as file, _progress(part.stem, received, total, quiet) as advance:
            for piece in _pieces(response, url, part.stem):
                received += len(piece)
                if received > limit:
                    raise WeightsError(f"{part.stem} from {host_of(url)}: expected at most {limit} bytes, found more")
                file.write(piece)
                advance(len(piece))
    if total is not None and received < total:
        raise _interrupted(part.stem, url, f"{received} of {total} bytes")


def _pieces(response: HTTPResponse, url: str, name: str) -> Iterator[bytes]:
    while True:
        try:
            piece = response.read1(_PIECE)
        except (OSError, HTTPException) as error:
            raise _interrupted(name, url, shown(error)) from None
        if not piece:
            return
        yield piece


def _interrupted(name: str, url: str, progress: str) -> WeightsError:
    return WeightsError(
        f"{name} from {host_of(url)}: the transfer was interrupted ({progress}); run the command again to resume it"
    )


def _continues(response: HTTPResponse, received: int) -> bool:
    """Whether the body starts after ``received`` bytes; a server may ignore the range and send everything."""
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {received}-")


@contextmanager
def _progress(name: str, received: int, total: int | None, quiet: bool) -> Iterator[Callable[[int], None]]:
    if quiet or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, completed=received)
        yield lambda count: bar.update(task, advance=count)


def _cache_error(folder: Path, error: OSError) -> SwiftExportError:
    name, reason = shown(folder, 4096), error.strerror or shown(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return MachineError(
            f"{name}: the download cannot be stored ({reason}); set SWIFT_EXPORT_CACHE to another folder"
        )
    return UsageError(f"{name}: the cache cannot be written ({reason}); set SWIFT_EXPORT_CACHE or give --weights PATH")
