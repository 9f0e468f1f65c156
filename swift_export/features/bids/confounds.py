"""Motion and dummy frames of a run, from fMRIPrep's table of confounds: one row a frame.

https://fmriprep.org/en/stable/outputs.html#confounds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swift_export.errors import InputError
from swift_export.features.bids.tsv import read_tsv

__all__ = ["Confounds", "frame_at", "read_confounds"]

#: Positions between frames are products of binary fractions.
_ROUNDING = 1e-6
_DISPLACEMENT, _DUMMY = "framewise_displacement", "non_steady_state_outlier"


@dataclass(frozen=True)
class Confounds:
    """What a table of confounds says.

    Attributes:
        frames: number of frames, from the run's first one.
        dummy_frames: frames at the beginning that were taken before the magnetization was in a steady state.
        displacement: framewise displacement in mm of each frame (Power et al. 2012); None where it is not known, as in
            the first frame, or everywhere.

    """

    frames: int
    dummy_frames: int
    displacement: Sequence[float | None]

    def motion(self, first: float, end: float) -> tuple[float | None, float | None]:
        """Mean and maximum of the framewise displacement of frames ``first`` to ``end``, which is not among them.

        Frames of a resampled run may begin between two frames; both count. None if no frame's displacement is known.
        """
        inside = self.displacement[frame_at(first) : math.ceil(end - _ROUNDING)]
        known = [value for value in inside if value is not None]
        return (math.fsum(known) / len(known), max(known)) if known else (None, None)


def frame_at(position: float) -> int:
    """The frame in which a position of a resampled run lies."""
    return math.floor(position + _ROUNDING)


def read_confounds(path: Path, frames: int | None = None) -> Confounds:
    """Read a table; raises InputError if it is malformed, or if it has not one row for each of ``frames`` frames."""
    table = read_tsv(path, lambda column: column == _DISPLACEMENT or column.startswith(_DUMMY))
    count = len(table.cells)
    if frames is not None and count != frames:
        raise InputError(f"{path}: expected one row for each of {frames} frames, found {count}; run fMRIPrep again")
    displacement = table.numbers(_DISPLACEMENT) if _DISPLACEMENT in table.columns else [None] * count
    if any(value is not None and value < 0 for value in displacement):
        raise InputError(f"{path}: expected a framewise_displacement of at least 0, found less; run fMRIPrep again")
    flags = [table.numbers(column) for column in table.columns if column.startswith(_DUMMY)]
    flagged = [any(column[frame] for column in flags) for frame in range(count)]
    return Confounds(count, next((frame for frame in range(count) if not flagged[frame]), count), displacement)
