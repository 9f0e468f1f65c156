"""Which affine a NIfTI header states: its sform where that is usable, else its qform, in mm."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError

__all__ = ["Affine", "read_affine"]

Affine = Float[np.ndarray, "4 4"]

#: Below this share of the box that its axes would span at right angles, a voxel is flat.
_FLAT = 1e-3
#: Beyond these, in any unit, steps and places are no image's; what computes with them would overflow.
_SMALLEST, _LARGEST = 1e-9, 1e9
#: How far the square of a quaternion's length may lie above 1: rounding to four digits, 0.03 degrees.
_QUATERNION_TOLERANCE = 1e-3
#: Below this cosine between the directions that they give to one axis, sform and qform contradict each other.
_AGREEMENT = 0.5
#: Codes of spatial units other than mm (2) and unknown (0), and their mm.
_UNITS = {1: ("metres", 1e3), 3: ("microns", 1e-3)}
#: Edges of voxels, in mm, that an image of a brain may have.
_EDGES = (0.1, 50.0)


def read_affine(path: Path, header: Any) -> tuple[Affine | None, tuple[str, ...]]:
    """The affine from voxel indices to mm, and what of the header was not taken as it stands, a line each.

    A form counts if its code is positive. The sform decides; a damaged one (not finite, flat, absurdly large) leaves it
    to the qform. None where no form counts, or where both do and point in different ways: neither can be relied on.

    Raises InputError where a form counts and none is usable.
    """
    # What is stored may be anything; what overflows or is no number fails the comparisons below.
    with np.errstate(all="ignore"):
        forms = {"sform": _sform, "qform": _qform}
        coded = {name: read(header) for name, read in forms.items() if int(header[f"{name}_code"]) > 0}
        good = {name: affine for name, affine in coded.items() if _is_usable(affine)}
        if coded and not good:
            raise InputError(
                f"{path}: the header's affine ({' and '.join(coded)}) is damaged, not finite or not invertible; "
                "correct it or convert the file again"
            )
        # A qfac of 0 was left out: a good sform tells which way the qform's third axis runs.
        if len(good) == 2 and not float(header["pixdim"][0]):
            good["qform"][:, 2] *= np.sign(np.linalg.det(good["qform"]) * np.linalg.det(good["sform"]))
        if not good or _cosine(*good.values()) < _AGREEMENT:
            return None, ()
        used, stated = next(iter(good.items()))
        affine, notes = _in_mm(path, header, stated)
    ignored = [
        f"{path}: the header's {name} is damaged and was left aside; the voxels lie where its {used} puts them"
        for name in coded
        if name not in good
    ]
    return affine, (*ignored, *notes)


def _sform(header: Any) -> Affine:
    return np.array([header["srow_x"], header["srow_y"], header["srow_z"], (0, 0, 0, 1)], np.float64)


def _qform(header: Any) -> Affine:
    """The affine of quaternion, voxel sizes and offset, as nifti1.h defines it; NaN where they define none."""
    affine = np.full((4, 4), np.nan)
    # "If pixdim[0]=0.0 (which should not occur), we take qfac=1."
    qfac = float(header["pixdim"][0]) or 1.0
    sizes = np.array(header["pixdim"][1:4], np.float64)
    b, c, d = (float(header[f"quatern_{part}"]) for part in "bcd")
    rest = 1 - (b * b + c * c + d * d)
    if qfac in (-1, 1) and (sizes > 0).all() and rest >= -_QUATERNION_TOLERANCE:
        a = math.sqrt(max(rest, 0.0))
        # Of length 1, unless b, c and d were rounded to a little more.
        a, b, c, d = np.array((a, b, c, d)) / math.hypot(a, b, c, d)
        rotation = [
            (a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)),
            (2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)),
            (2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c),
        ]
        affine[:3, :3] = np.array(rotation) * sizes * (1, 1, qfac)
        affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
        affine[3] = (0, 0, 0, 1)
    return affine


def _is_usable(affine: Affine) -> bool:
    if not (np.abs(affine) <= _LARGEST).all():
        return False
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(edges.min() >= _SMALLEST and abs(np.linalg.det(affine[:3, :3])) > _FLAT * edges.prod())


def _cosine(one: Affine, other: Affine | None = None) -> float:
    """The smallest cosine between the directions that two affines give to an axis; 1 for one alone."""
    if other is None:
        return 1.0
    steps = one[:3, :3] * other[:3, :3]
    lengths = np.linalg.norm(one[:3, :3], axis=0) * np.linalg.norm(other[:3, :3], axis=0)
    return float((steps.sum(axis=0) / lengths).min())


def _in_mm(path: Path, header: Any, affine: Affine) -> tuple[Affine, tuple[str, ...]]:
    """Convert metres and microns, unless that makes of a brain's voxels something else."""
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS:
        return affine, ()
    unit, factor = _UNITS[code]
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if _are_edges(edges) and not _are_edges(edges * factor):
        sizes = " x ".join(f"{edge:.4g}" for edge in edges)
        return affine, (f"{path}: the header says voxels of {sizes} {unit}; the unit was taken to be mm",)
    affine = affine.copy()
    affine[:3] *= factor
    return affine, (f"{path}: the header's affine is in {unit}; it was converted to mm",)


def _are_edges(edges: Float[np.ndarray, " axes"]) -> bool:
    return bool(((edges >= _EDGES[0]) & (edges <= _EDGES[1])).all())
