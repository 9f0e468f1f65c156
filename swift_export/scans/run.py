"""A run: measured in one pass over its file, then read in any order of frames, as the model sees them.

The steps are those of the published preprocessing (see ``docs/input-contract.md``). Background is every value equal to
0, voxel by voxel and frame by frame. Mean and standard deviation (n - 1) are computed over all other values of the run.
Background becomes the smallest z value of the run.

Voxels are numbered along the axes of the model's grid, the first axis fastest. The values of a brain therefore have one
order, and its statistics are identical to the bit in every stored grid and orientation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from swift_export.errors import InputError
from swift_export.scans.foreground import ForegroundStore, foreground_store
from swift_export.scans.grid import Geometry
from swift_export.scans.nifti import NiftiFile
from swift_export.scans.plausibility import Warn, check_signal
from swift_export.scans.statistics import NOISE, NonFinite, RunStatistics
from swift_export.system.progress import Progress, ignore_line

__all__ = ["Columns", "NiftiRun", "measured"]

T = TypeVar("T")

Volume = Float[np.ndarray, "x y z"]
Numbers = Int[np.ndarray, " voxels"]


@dataclass(frozen=True)
class Columns:
    """Some frames as the model sees them: z values of some voxels, and ``background`` elsewhere.

    ``voxels`` are numbered along the model's grid, the last axis fastest.
    """

    voxels: Numbers
    values: Float32[np.ndarray, "frames voxels"]
    background: float


@dataclass(frozen=True, eq=False)
class NiftiRun:
    """The frames of a scan that remain after dropping some.

    Attributes:
        scan: the file.
        geometry: the mapping of its volumes to the model's grid.
        statistics: statistics of the remaining frames.
        mean_volume: their mean over all voxels inside the mask, oriented like the model's grid.
        cut: number of voxels outside the model's grid that are non-zero in some frame, apart from rounding residues of
            resampling.
        foreground: number of non-zero values on the model's grid, for each frame.

    """

    scan: NiftiFile
    geometry: Geometry
    statistics: RunStatistics
    mean_volume: Volume
    cut: int
    foreground: tuple[int, ...]
    _store: ForegroundStore
    _first: int

    def columns(self, frames: Sequence[int]) -> Columns:
        """Frames in z values, counted from the first remaining one."""
        statistics, numbers = self.statistics, self._numbers
        voxels = {pattern: self._store.voxels_of(pattern) for pattern in {self._pattern(frame) for frame in frames}}
        seen = {pattern: numbers[found] >= 0 for pattern, found in voxels.items()}
        union = np.zeros(self._store.voxels, bool)
        for pattern, found in voxels.items():
            union[found[seen[pattern]]] = True
        everywhere = np.flatnonzero(union)
        values = np.empty((len(frames), len(everywhere)), np.float32)
        for row, frame in zip(values, frames, strict=True):
            pattern = self._pattern(frame)
            z = self.scan.scaled(self._store.values(frame - self._first))
            z -= statistics.mean
            z /= statistics.deviation
            if not seen[pattern].all():
                z = z[seen[pattern]]
            if len(z) == len(everywhere):
                row[...] = z
            else:
                row[...] = statistics.background
                row[np.searchsorted(everywhere, voxels[pattern][seen[pattern]])] = z
        return Columns(numbers[everywhere], values, statistics.background)

    def _pattern(self, frame: int) -> int:
        return self._store.pattern(frame - self._first)

    @cached_property
    def _numbers(self) -> Numbers:
        """For each voxel of the oriented volume, its number on the model's grid, or -1 outside."""
        geometry = self.geometry
        numbers = np.full(geometry.grid, -1, np.int64, order="F")
        on_grid = np.arange(np.prod(geometry.size)).reshape(geometry.size)
        numbers[geometry.covered][geometry.kept] = on_grid[geometry.target]
        return numbers.ravel("F")


@contextmanager
def measured(
    scan: NiftiFile,
    geometry: Geometry,
    *,
    drop: tuple[int, int] = (0, 0),
    wanted: range | None = None,
    inside: Bool[np.ndarray, "x y z"] | None = None,
    allow_crop: bool = False,
    spool: Path | None = None,
    warn: Warn,
    on_progress: Progress = ignore_line,
) -> Iterator[NiftiRun]:
    """Read a run once, from first to last frame, and provide its frames within the block.

    Args:
        scan: a 4D file.
        geometry: the mapping of its volumes to the model's grid.
        drop: frames to drop at the beginning and at the end.
        wanted: the frames that will be requested, counted from the first remaining one; by default all.
        inside: the brain voxels, as stored; all others become background.
        allow_crop: crop non-zero voxels.
        spool: folder for the foreground of the run; by default the one for temporary files.
        warn: receives notices about irregularities of the file.
        on_progress: receives the current step.

    Raises:
        InputError: a value (inside the mask) is not finite; the run is not masked, or contains only background or one
            constant; non-zero voxels would be cropped; or the file is truncated or damaged.

    """
    first, last = drop[0], scan.frames - drop[1]
    kept = range(last - first) if wanted is None else wanted
    gathering = _Gathering(scan, geometry, inside)
    dtype = scan.dtype.newbyteorder("=")
    with foreground_store(int(np.prod(geometry.grid)), dtype, spool) as store:
        for number, raw in enumerate(_ahead(scan.raw_volumes(warn))):
            on_progress(f"reading {scan.path.name}: frame {number + 1} of {scan.frames}")
            if not first <= number < last:
                continue
            pattern, values = gathering.look(raw, number)
            if number - first in kept:
                store.add(pattern, values.astype(dtype, copy=False))
        store.finish()
        name, masked, statistics = str(scan.path), inside is not None, gathering.statistics
        gathering.broken.refuse(name, masked=masked)
        check_signal(name, statistics, gathering.share, masked=masked)
        if gathering.cut and not allow_crop:
            _refuse_cut(name, gathering.cut, geometry)
        mean, seen = gathering.mean_volume, tuple(gathering.foreground)
        yield NiftiRun(scan, geometry, statistics, mean, gathering.cut, seen, store, kept.start)


def _refuse_cut(name: str, cut: int, geometry: Geometry) -> None:
    size = "x".join(map(str, geometry.size))
    whole = all(c.stop - c.start == n for c, n in zip(geometry.covered, geometry.grid, strict=True))
    box = "x".join(str(k.stop - k.start) for k in geometry.kept)
    seen = size if whole else f"{size}, cropped to {box} as in training"
    raise InputError(
        f"{name}: expected only background outside the model's grid ({seen}), found {cut} non-zero voxels; give a "
        "tighter --mask, or use --allow-crop to crop them"
    )


class _Gathering:
    """Collects, frame by frame, the results of one pass over a run."""

    def __init__(self, scan: NiftiFile, geometry: Geometry, inside: Bool[np.ndarray, "x y z"] | None) -> None:
        self.statistics, self.broken = RunStatistics(), NonFinite()
        #: Number of non-zero voxels on the model's grid, for each frame.
        self.foreground: list[int] = []
        self._scan, self._geometry, self._inside = scan, geometry, inside
        self._flat_inside = None if inside is None else self._flat(inside)
        covered, seen = np.zeros(geometry.grid, bool), np.zeros(geometry.grid, bool)
        covered[geometry.covered] = True
        seen[geometry.covered][geometry.kept] = True
        self._covered, self._seen = covered.ravel("F"), seen.ravel("F")
        self._size = int(np.count_nonzero(self._covered))
        self._total = np.zeros(self._seen.shape)
        self._sum: Float[np.ndarray, " foreground"] | float = 0.0
        self._cut = np.zeros(self._seen.shape, bool)
        self._taken = 0
        # Memory that every frame reuses: new memory costs more than what is computed in it.
        self._fresh, self._differs = np.empty_like(self._seen), np.empty_like(self._seen)
        # State of the previous frame.
        self._pattern: Bool[np.ndarray, " voxels"] | None = None
        self._voxels: Numbers = np.zeros(0, int)
        self._inner: Bool[np.ndarray, " foreground"] | None = None
        self._outer: Numbers | None = None
        self._seen_count = 0

    @property
    def cut(self) -> int:
        """Number of voxels outside the model's grid that exceed noise in some frame."""
        return int(np.count_nonzero(self._cut))

    @property
    def share(self) -> float:
        """Share of non-zero values in the file, inside the mask."""
        return self._taken / (self._seen.size * len(self.statistics.frame_means))

    @property
    def mean_volume(self) -> Volume:
        """The mean over all frames, including values of 0."""
        self._settle()
        return (self._total / len(self.statistics.frame_means)).reshape(self._geometry.grid, order="F")

    def look(self, raw: bytes, number: int) -> tuple[Bool[np.ndarray, " voxels"], np.ndarray]:
        """Add a frame; returns the pattern of foreground voxels, and their stored values."""
        stored = self._flat(self._scan.stored(raw))
        self._turn(self._foreground(stored))
        assert self._pattern is not None
        taken = stored.take(self._voxels)
        values = self._scan.scaled(taken)
        with np.errstate(over="ignore", invalid="ignore"):
            # The sum is finite only if all values are.
            if not np.isfinite(values.sum()):
                volume = self._scan.decode(raw)
                self.broken.look(volume if self._inside is None else np.where(self._inside, volume, 0.0), number)
            if not self.broken.count:
                self._sum += values
                self._taken += values.size
                if self._outer is not None:
                    sizes = np.abs(values)
                    lost = self._outer[sizes[self._outer] >= NOISE * sizes.max()]
                    self._cut[self._voxels[lost]] = True
                self.statistics.add(values if self._inner is None else values[self._inner], self._size)
                self.foreground.append(self._seen_count)
        return self._pattern, taken

    def _flat(self, volume: np.ndarray) -> np.ndarray:
        return self._geometry.oriented(volume).ravel("F")

    def _foreground(self, stored: np.ndarray) -> Bool[np.ndarray, " voxels"]:
        # Without an intercept, values are 0 exactly where the stored ones are.
        shifted = self._scan.scaling is not None and self._scan.scaling[1] != 0
        pattern: np.ndarray = np.not_equal(self._scan.scaled(stored) if shifted else stored, 0, out=self._fresh)
        if self._flat_inside is not None:
            pattern &= self._flat_inside
        return pattern

    def _turn(self, pattern: Bool[np.ndarray, " voxels"]) -> None:
        """Switch to the foreground of another frame; in most runs it equals that of the previous frame."""
        if self._pattern is not None and not np.not_equal(pattern, self._pattern, out=self._differs).any():
            return
        self._settle()
        self._pattern, self._voxels = pattern.copy(), np.flatnonzero(pattern)
        inner = self._covered[self._voxels]
        self._inner = None if inner.all() else inner
        outer = np.flatnonzero(~self._seen[self._voxels])
        self._outer = outer if outer.size else None
        self._seen_count = len(self._voxels) - len(outer)

    def _settle(self) -> None:
        """Add the sum over frames with the same foreground to the total."""
        self._total[self._voxels] += self._sum
        self._sum = 0.0


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The items; a thread computes the next item while the current one is in use."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item
