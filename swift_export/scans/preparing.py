"""Converts a whole run to a file of clips, in one pass over the run, with a sidecar that states the provenance."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any, BinaryIO, Literal

import numpy as np

from swift_export._version import __version__
from swift_export.errors import InputError, UsageError
from swift_export.scans.plausibility import Warn
from swift_export.scans.scan import Reading, Scan, is_nifti, open_scan
from swift_export.scans.sidecar import keep_others_sidecar
from swift_export.system.files import check_output, followed, replaced
from swift_export.system.machine import processors
from swift_export.system.progress import Progress, ignore_line

__all__ = ["DTYPES", "FRAMES", "GRID", "Prepared", "prepare_scan", "sidecar_of"]

#: Types of stored clips; the training volumes were float16.
DTYPES: tuple[Literal["float32", "float16"], ...] = ("float32", "float16")
#: More threads bring no gain, because memory bandwidth is the limit.
_MOST_THREADS = 4

#: The grid of the published models, and the frames of their clips.
GRID, FRAMES = (96, 96, 96), 20


@dataclass(frozen=True)
class Prepared:
    """The written files: the array, its sidecar and the optional picture; and the content of the sidecar."""

    path: Path
    sidecar: Path
    picture: Path | None
    facts: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """(windows, 1, H, W, D, frames)."""
        return tuple(self.facts["shape"])


def sidecar_of(output: Path) -> Path:
    """Path of the sidecar of an array: beside it, with the suffix ``.json``."""
    return output.with_suffix(".json")


def prepare_scan(
    scan: Path,
    output: Path,
    reading: Reading,
    *,
    size: tuple[int, int, int] = GRID,
    frames: int = FRAMES,
    mask: Path | None = None,
    dtype: str = DTYPES[0],
    picture: Path | None = None,
    warn: Warn | None = None,
    on_progress: Progress = ignore_line,
) -> Prepared:
    """Write the windows of a scan as a ``.npy`` array (windows, 1, H, W, D, frames), with a JSON sidecar beside it.

    The run is read once, and neither the run nor the clips are held in memory. All files appear complete or not at all.
    ``dtype`` is ``float32``, or ``float16`` like the training volumes. ``picture`` is the path of a PNG with the mean
    volume on the model's grid, the windows and the values. The other arguments are those of `open_scan`.

    Raises:
        InputError: the scan does not meet the input contract.
        UsageError: an option or an output path is invalid.
        MachineError: the disk is full.

    """
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: expected {' or '.join(DTYPES)}")
    if output.suffix != ".npy":
        raise UsageError(f"{output}: expected a file name that ends in .npy")
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: expected a file name that ends in .png")
    sidecar = sidecar_of(output)
    places = (output, sidecar, *([picture] if picture else []))
    for path in places:
        for source in (scan, *([mask] if mask else [])):
            check_output(path, sources=source)
    if len({followed(path) for path in places}) < len(places):
        raise UsageError(
            f"{output}: expected separate files for array, sidecar and picture, found links to one file; name another "
            "file"
        )
    if not (is_nifti(scan) or scan.is_dir()):
        raise InputError(f"{scan}: expected a NIfTI run (.nii, .nii.gz) or a folder of frame_N.pt")
    keep_others_sidecar(sidecar)
    # The unpacked foreground is a hidden file beside the output, where there is enough space.
    with (
        nullcontext() if picture is None else replaced(picture) as picture_draft,
        replaced(sidecar) as sidecar_draft,
        replaced(output) as draft,
        open_scan(
            scan, reading, size, frames, mask=mask, spool=output.parent, warn=warn, on_progress=on_progress
        ) as opened,
    ):
        shape = (len(opened), 1, *size, frames)
        with draft.open("r+b") as file:
            begin = _allocate(file, shape, np.dtype(dtype).newbyteorder("<"))
            digest = _fill(file.fileno(), begin, np.dtype(dtype).newbyteorder("<"), opened, scan, on_progress)
        facts = {
            "source": opened.name,
            "source_sha256": digest,
            **opened.facts,
            "dtype": dtype,
            "shape": list(shape),
            "versions": {"swift-export": __version__, "numpy": np.__version__},
        }
        sidecar_draft.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        if picture_draft is not None:
            _draw(picture_draft, opened, on_progress)
    return Prepared(output, sidecar, picture, facts)


def _allocate(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Write the header of an array and reserve space for its values; returns their offset."""
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    file.flush()
    begin = file.tell()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, begin + math.prod(shape) * dtype.itemsize)
    return begin


def _fill(file: int, begin: int, dtype: np.dtype, opened: Scan, path: Path, on_progress: Progress) -> str | None:
    """Compute all windows concurrently and write each to its position; returns the digest of the scan's file."""
    count, written, stopped = len(opened), Queue[int](), Event()

    def write(numbers: Sequence[int]) -> None:
        # Not through mapped memory: its page faults take five times as long.
        window = np.empty((*opened.size, opened.windows.frames), np.float32)
        for number in numbers:
            if stopped.is_set():
                return
            opened.write(number, window)
            try:
                with np.errstate(over="raise"):
                    stored = window.astype(dtype, copy=False)
            except FloatingPointError:
                raise InputError(
                    f"{path}: --dtype float16: expected z values within its range, found {np.abs(window).max():.3g}; "
                    "use --dtype float32"
                ) from None
            _write(file, stored.data.cast("B"), begin + number * stored.nbytes)
            written.put(number)

    threads = min(processors(), _MOST_THREADS, count)
    with ThreadPoolExecutor(threads + 1) as pool:
        digest = pool.submit(_digest, path)
        parts = [pool.submit(write, range(first, count, threads)) for first in range(threads)]
        try:
            while not all(part.done() for part in parts):
                wait(parts, timeout=0.1, return_when=FIRST_EXCEPTION)
                for part in parts:
                    if part.done():
                        part.result()
                on_progress(f"writing {path.name}: {written.qsize()} of {count} windows")
            for part in parts:
                part.result()
            return digest.result()
        except BaseException:
            stopped.set()
            raise


def _write(file: int, data: memoryview, place: int) -> None:
    while data:
        count = os.pwrite(file, data, place)
        data, place = data[count:], place + count


def _digest(path: Path) -> str | None:
    if path.is_dir():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _draw(path: Path, opened: Scan, on_progress: Progress) -> None:
    from swift_export.scans.picture import draw_scan

    on_progress(f"drawing {opened.name}")
    draw_scan(opened).save(path, format="PNG")
