"""Acceptance limits of scan preparation: memory and time for a full HCP-like run, against reading it with nibabel."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["scan_bars", "write_run"]

#: An HCP resting-state run: 1200 frames on FSL's MNI152 grid at 2 mm, int16.
_GRID, _FRAMES = (91, 109, 91), 1200
_WINDOWS = 59

_READING = """
import sys, time
import nibabel, numpy
begun = time.perf_counter()
numpy.asanyarray(nibabel.load(sys.argv[1]).dataobj)
print(time.perf_counter() - begun)
"""

_PREPARING = """
import sys, time
from swift_export.cli import main
begun = time.perf_counter()
status = main(["prepare", sys.argv[1], "-o", sys.argv[2], "--placement", "hcp", "--quiet"])
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(time.perf_counter() - begun, int(peak.split()[1]) * 1024)
sys.exit(status)
"""


def scan_bars(folder: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Name, limit, measured value and verdict. ``folder`` holds the run (half a gigabyte) and its clips (4 GB)."""
    scan, clips = folder / "run.nii.gz", folder / "run.npy"
    write_run(scan)
    runs = []
    for _ in range(3):
        (reading,) = _run(_READING, scan)
        seconds, peak = _run(_PREPARING, scan, clips)
        runs.append((seconds / reading, peak))
    ratio, memory = sorted(runs)[1]
    windows = len(np.load(clips, mmap_mode="r"))
    name = f"`prepare` of all {windows} clips of a 91x109x91x1200 int16 .nii.gz"
    found = f"{ratio:.2f} times"
    yield name, "<= 1.5 times reading it once with nibabel", found, ratio <= 1.5 and windows == _WINDOWS
    yield "its peak memory", "<= 1.5 GB", f"{memory / 1e9:.2f} GB", memory <= 1.5e9
    for file in (scan, clips):
        file.unlink()


def _run(code: str, *arguments: Path) -> list[float]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def write_run(path: Path, frames: int = _FRAMES, mask: Path | None = None) -> None:
    """Write a brain-sized ellipsoid with anatomy and noise, and its mask; compressed if the name ends in ``.gz``."""
    import nibabel

    affine = nibabel.affines.from_matvec(np.diag([-2.0, 2, 2]), (90, -126, -72))
    header = nibabel.Nifti1Header()
    header.set_data_shape((*_GRID, frames))
    header.set_data_dtype(np.int16)
    header.set_zooms((2, 2, 2, 0.72))
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, 4)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    x, y, z = (
        affine[axis, axis] * index + affine[axis, 3]
        for axis, index in enumerate(np.meshgrid(*map(np.arange, _GRID), indexing="ij", sparse=True))
    )
    brain = (x / 70) ** 2 + ((y + 17) / 88) ** 2 + ((z - 6) / 74) ** 2 < 1
    rng = np.random.default_rng(0)
    level = (9000 + 10 * x - 5 * y + 8 * z + rng.normal(0, 600, _GRID)).astype(np.float32)
    if mask is not None:
        nibabel.save(nibabel.Nifti1Image(brain.astype(np.uint8), affine), mask)
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(frames):
            noise = rng.standard_normal(_GRID, dtype=np.float32) * np.float32(90)
            file.write(np.where(brain, level + noise, 0).astype("<i2").tobytes(order="F"))
