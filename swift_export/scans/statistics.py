"""Statistics from one pass over a run: for its normalisation, and for checks of plausibility."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError

__all__ = ["NOISE", "TINY", "NonFinite", "RunStatistics"]

#: Values below this share of the frame's largest are not brain signal, but residues of resampling.
TINY = 1e-3
#: Values below this share of the frame's largest are only rounding.
NOISE = 1e-6

Volume = Float[np.ndarray, "x y z"]
Values = Float[np.ndarray, " values"]


@dataclass
class RunStatistics:
    """Mean, standard deviation and range of the non-background values of a run, accumulated frame by frame.

    Accumulation uses float64 and the update of Chan, Golub and LeVeque (1979), which, unlike a sum of squares, does not
    lose small deviations beside a large mean.

    ``frame_means`` are the means of the frames' non-background values, NaN for empty frames, and ``tiny`` counts values
    that are nearly 0 compared with the largest of their frame.
    """

    values: int = 0
    foreground: int = 0
    mean: float = 0.0
    smallest: float = math.inf
    largest: float = -math.inf
    tiny: int = 0
    frame_means: list[float] = field(default_factory=list)
    _squares: float = field(default=0.0, repr=False)
    _scratch: Values = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @property
    def deviation(self) -> float:
        """Standard deviation with n - 1, like torch's ``std``."""
        return math.sqrt(self._squares / (self.foreground - 1)) if self.foreground > 1 else 0.0

    @property
    def background(self) -> float:
        """The z value of background: the smallest of the run."""
        return (self.smallest - self.mean) / self.deviation

    def add(self, inside: Values, size: int) -> None:
        """Add a frame of ``size`` values with the non-background values ``inside``."""
        self.values += size
        if not inside.size:
            self.frame_means.append(math.nan)
            return
        smallest, largest = float(inside.min()), float(inside.max())
        self.smallest, self.largest = min(self.smallest, smallest), max(self.largest, largest)
        # Memory is reused: new memory costs more than what is computed in it.
        if self._scratch.shape != inside.shape:
            self._scratch = np.empty_like(inside)
        off = np.abs(inside, out=self._scratch)
        self.tiny += int(np.count_nonzero(off < TINY * max(-smallest, largest)))
        mean = float(inside.mean())
        self.frame_means.append(mean)
        # Not a BLAS product, which would start threads that wait for each other.
        np.subtract(inside, mean, out=off)
        off *= off
        total = self.foreground + inside.size
        step = mean - self.mean
        self._squares += float(off.sum()) + step * step * self.foreground * inside.size / total
        self.mean += step * inside.size / total
        self.foreground = total


@dataclass
class NonFinite:
    """Counts non-finite values and records the position of the first."""

    count: int = 0
    first: tuple[int, ...] = ()

    def look(self, volume: Volume, frame: int) -> None:
        """Add a stored volume."""
        bad = ~np.isfinite(volume)
        found = int(np.count_nonzero(bad))
        if found and not self.count:
            # The first in the order of the file, with x fastest.
            z, y, x = (int(i) for i in np.unravel_index(int(np.argmax(bad.T)), bad.T.shape))
            self.first = (x, y, z, frame)
        self.count += found

    def refuse(self, name: str, masked: bool) -> None:
        """Raise InputError if there are any."""
        if self.count:
            where = " inside the mask" if masked else ""
            advice = "" if masked else ", or give --mask if they lie outside the brain"
            raise InputError(
                f"{name}: expected finite values, found {self.count} NaN or infinite{where}, the first at voxel "
                f"{self.first[:3]} of frame {self.first[3]}; repair the run{advice}"
            )
