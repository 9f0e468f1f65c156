"""The position of the training arrays on the model's grid: one placement for each training data set.

The position embeddings of the model are absolute, and the authors placed each data set differently. A placement
consists of the point of MNI152, in mm, at the centre voxel of the grid (index 48 of 96 on each axis), the orientation,
and the other steps of the authors' code for that data set: the box cropped from the volumes, and the dropped frames.

The authors' code, in voxels of the stored array:

``hcp``   91x109x91 LAS, ``[8:-8, 8:-8, 0:-10]``, then padded by (11,10), (2,1), (8,7). SwiFT ``datasets.py``, class
          S1200; the crop: ML4HPC/4D_fMRI_Transformer ``preprocessing2.py``.
``ukb``   91x109x91 LAS, whole, then (3,2), (-7,-6), (3,2). SwiFT ``datasets.py``, class UKB.
``abcd``  99x117x95 RAS, ``[10:-10, 10:-10, 0:-10]``, then (9,8), (0,-1), (6,5). SwiFT ``datasets.py``, class ABCD; the
          crop: a comment in SwiFT's first commit; origin and orientation are inferred.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from swift_export.errors import UsageError

__all__ = [
    "CENTRE",
    "DATASETS",
    "PLACEMENTS",
    "PLACEMENT_CHOICES",
    "Orientation",
    "Placement",
    "check_orientation",
    "parse_drop_frames",
    "parse_placement",
]

#: ``LAS`` is the orientation of FSL's MNI152 grids, ``RAS`` fMRIPrep's; ``keep`` takes the array as stored.
Orientation = Literal["LAS", "RAS", "keep"]

Axes = tuple[int, int, int]
#: Voxels in front of and behind an array on each axis: padding if positive, cropping if negative.
Paddings = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: Index of a placement's point on the published grid of 96; on another grid, half its size.
CENTRE = 48

PLACEMENT_CHOICES = "hcp, ukb, abcd or a point X,Y,Z of MNI152 in mm"


@dataclass(frozen=True)
class Placement:
    """The position of a scan's voxels on the model's grid.

    Attributes:
        name: ``hcp``, ``ukb``, ``abcd``, or the text from the user.
        point: point of MNI152, in mm, at the centre voxel of the grid; None if only paddings are known.
        orientation: orientation of the training arrays.
        drop_frames: frames that the authors dropped at the beginning and at the end of each run.
        paddings: paddings of the authors' code around the box of voxels in their arrays.
        stored: for arrays used as stored, the voxels in front of them on a grid of 96 (negative: cropped), by shape.
            The whole grid comes first.
        note: a remark on uncertain values.

    """

    name: str
    point: tuple[float, float, float] | None
    orientation: Orientation = "LAS"
    drop_frames: tuple[int, int] = (0, 0)
    paddings: Paddings | None = None
    stored: Mapping[Axes, Axes] = field(default_factory=dict)
    note: str | None = None

    def box(self, size: Axes) -> tuple[slice, slice, slice] | None:
        """The indices on a grid of ``size`` that the training arrays covered; they may extend beyond the grid.

        None if unknown, as for a point given by the user.
        """
        if self.paddings is None or not self.stored:
            return None
        x, y, z = (
            slice(n // 2 - CENTRE + front, n // 2 + CENTRE - back)
            for n, (front, back) in zip(size, self.paddings, strict=True)
        )
        return x, y, z

    def left(self, size: Axes) -> tuple[slice, slice, slice]:
        """The indices on a grid of ``size`` that the authors' crop keeps: `box`, but open on sides without a crop.

        On such a side, the training arrays end with their stored grid, and a larger grid may extend further.
        """
        box = self.box(size)
        if box is None:
            return slice(None), slice(None), slice(None)
        grid, front = next(iter(self.stored.items()))
        x, y, z = (
            slice(
                None if part.start == m // 2 - CENTRE + first else part.start,
                None if part.stop == m // 2 - CENTRE + first + n else part.stop,
            )
            for part, m, n, first in zip(box, size, grid, front, strict=True)
        )
        return x, y, z

    def describe(self) -> str:
        """The placement in a few words."""
        if self.point is None:
            return f"voxel paddings {self.name}"
        point = ", ".join(f"{mm:g}" for mm in self.point)
        named = f"{self.name}: " if self.name in PLACEMENTS else ""
        return f"{named}index {CENTRE} at ({point}) mm"


PLACEMENTS = {
    placement.name: placement
    for placement in (
        Placement(
            "hcp",
            (0, -18, 8),
            "LAS",
            drop_frames=(10, 10),
            paddings=((11, 10), (2, 1), (8, 7)),
            stored={(91, 109, 91): (3, -6, 8), (75, 93, 81): (11, 2, 8)},
        ),
        Placement(
            "ukb",
            (0, -16, 18),
            "LAS",
            paddings=((3, 2), (-7, -6), (3, 2)),
            stored={(91, 109, 91): (3, -7, 3)},
        ),
        Placement(
            "abcd",
            (0, -18, 12),
            "RAS",
            drop_frames=(20, 0),
            paddings=((9, 8), (0, -1), (6, 5)),
            stored={(99, 117, 95): (-1, -10, 6), (79, 97, 85): (9, 0, 6)},
            note="orientation and origin of abcd are inferred, not verified",
        ),
    )
}

#: Placements by the data set names in the authors' training code (``dataset_name`` of a checkpoint).
DATASETS = {"S1200": PLACEMENTS["hcp"], "UKB": PLACEMENTS["ukb"], "ABCD": PLACEMENTS["abcd"]}

# [0-9], because \d matches digits of any script.
_NUMBER = r"\s*[+-]?(?:[0-9]{1,5}(?:\.[0-9]{0,6})?|\.[0-9]{1,6})\s*"
_INTEGER = r"\s*[+-]?[0-9]{1,5}\s*"


def parse_placement(text: str) -> Placement:
    """A placement by its name, as a point ``X,Y,Z`` in mm, or as six voxel paddings (front and back of each axis).

    Raises UsageError for anything else.
    """
    if text.lower() in PLACEMENTS:
        return PLACEMENTS[text.lower()]
    if re.fullmatch(f"{_NUMBER}(?:,{_NUMBER}){{2}}", text):
        x, y, z = map(float, text.split(","))
        return Placement(text.replace(" ", ""), (x, y, z))
    if re.fullmatch(f"{_INTEGER}(?:,{_INTEGER}){{5}}", text):
        a, b, c, d, e, f = map(int, text.split(","))
        return Placement(text.replace(" ", ""), None, paddings=((a, b), (c, d), (e, f)))
    raise UsageError(
        f"--placement {text}: expected {PLACEMENT_CHOICES}; with --orientation keep, also six voxel paddings, front "
        "and back of each axis, such as 3,2,-7,-6,3,2"
    )


def check_orientation(orientation: str) -> Orientation:
    """The orientation with this name; raises UsageError for any other name."""
    names: dict[str, Orientation] = {name.lower(): name for name in get_args(Orientation)}
    if orientation.lower() not in names:
        raise UsageError(f"--orientation {orientation}: expected one of {', '.join(names.values())}")
    return names[orientation.lower()]


def parse_drop_frames(text: str) -> tuple[int, int]:
    """``FIRST,LAST`` as two numbers of frames; raises UsageError for anything else."""
    if not re.fullmatch(r"\s*[0-9]{1,6}\s*,\s*[0-9]{1,6}\s*", text):
        raise UsageError(f"--drop-frames {text}: expected two numbers of frames, first and last, such as 10,10")
    first, last = map(int, text.split(","))
    return first, last


def check_positive(option: str, value: float) -> None:
    """Raise UsageError unless ``value`` is a positive, finite number."""
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{option} {value:g}: expected a positive number")
