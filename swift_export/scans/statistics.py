"""What one pass over a run gathers: the statistics that normalise it, and what tells whether they mean something."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError

__all__ = ["NOISE", "TINY", "NonFinite", "RunStatistics"]

#: A value below this share of its frame's largest is no signal of a brain: what resampling leaves around one.
TINY = 1e-3
#: Below this share of its frame's largest a value is no more than the rounding of one.
NOISE = 1e-6

Volume = Float[np.ndarray, "x y z"]
Values = Float[np.ndarray, " values"]


@dataclass
class RunStatistics:
    """Mean, standard deviation and range of the non-background values of a run, gathered frame by frame.

    Accumulated in float64; frames are combined by the update of Chan, Golub and LeVeque (1979), which does not lose
    the deviations in the size of the mean as a sum of squares would.

    ``frame_means`` are the means of the frames' non-background values, NaN for empty frames, and ``tiny`` counts values
    that are nearly 0 beside the largest of their frame.
    """

    values: int = 0
    foreground: int = 0
    mean: float = 0.0
    smallest: float = math.inf
    largest: float = -math.inf
    tiny: int = 0
    frame_means: list[float] = field(default_factory=list)
    _squares: float = field(default=0.0, repr=False)

    @property
    def deviation(self) -> float:
        """Standard deviation with n - 1, as torch's ``std`` has it."""
        return math.sqrt(self._squares / (self.foreground - 1)) if self.foreground > 1 else 0.0

    @property
    def background(self) -> float:
        """The smallest z value of the run: what background becomes."""
        return (self.smallest - self.mean) / self.deviation

    def add(self, inside: Values, size: int) -> None:
        """Take a frame of ``size`` values into account whose non-background values are ``inside``."""
        self.values += size
        if not inside.size:
            self.frame_means.append(math.nan)
            return
        smallest, largest = float(inside.min()), float(inside.max())
        self.smallest, self.largest = min(self.smallest, smallest), max(self.largest, largest)
        self.tiny += int(np.count_nonzero(np.abs(inside) < TINY * max(-smallest, largest)))
        mean = float(inside.mean())
        self.frame_means.append(mean)
        # Squared and summed here: a product by BLAS starts threads that wait for each other.
        off = inside - mean
        off *= off
        total = self.foreground + inside.size
        step = mean - self.mean
        self._squares += float(off.sum()) + step * step * self.foreground * inside.size / total
        self.mean += step * inside.size / total
        self.foreground = total


@dataclass
class NonFinite:
    """Counts the values that are no numbers and remembers where the first one is."""

    count: int = 0
    first: tuple[int, ...] = ()

    def look(self, volume: Volume, frame: int) -> None:
        """Take a stored volume into account."""
        bad = ~np.isfinite(volume)
        found = int(np.count_nonzero(bad))
        if found and not self.count:
            # In the order of the file: x fastest.
            z, y, x = (int(i) for i in np.unravel_index(int(np.argmax(bad.T)), bad.T.shape))
            self.first = (x, y, z, frame)
        self.count += found

    def refuse(self, name: str, masked: bool) -> None:
        """Raise InputError if there was any."""
        if self.count:
            where = " inside the mask" if masked else ""
            advice = "" if masked else ", or give --mask if they lie outside the brain"
            raise InputError(
                f"{name}: expected finite values, found {self.count} NaN or infinite{where}, the first at voxel "
                f"{self.first[:3]} of frame {self.first[3]}; repair the run{advice}"
            )
