"""The affine in a NIfTI header, in mm: its sform if usable, otherwise its qform."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError

__all__ = ["Affine", "read_affine"]

Affine = Float[np.ndarray, "4 4"]

#: A voxel is flat if its volume is below this share of the box with the same edges.
_FLAT = 1e-3
#: Limits of steps and positions, in any unit. Beyond them, no header is valid and computations would overflow.
_SMALLEST, _LARGEST = 1e-9, 1e9
#: Allowed excess of a quaternion's squared length over 1, from rounding to four digits (0.03 degrees).
_QUATERNION_TOLERANCE = 1e-3
#: sform and qform contradict each other if their directions of an axis have a smaller cosine.
_AGREEMENT = 0.5
#: Codes of spatial units other than mm (2) and unknown (0), with name and size in mm.
_UNITS = {1: ("metres", 1e3), 3: ("microns", 1e-3)}
#: Plausible edge lengths of voxels in a brain image, in mm.
_EDGES = (0.1, 50.0)


def read_affine(path: Path, header: Any) -> tuple[Affine | None, tuple[str, ...]]:
    """The affine from voxel indices to mm, and one line for each correction of the header.

    A form applies if its code is positive. The sform has priority. If it is damaged (not finite, flat, absurdly large),
    the qform is used. The affine is None if no form applies, or if both do and contradict each other.

    Raises:
        InputError: a form applies, but none is usable.

    """
    # The header may hold any values. Overflows and NaN fail the comparisons below.
    with np.errstate(all="ignore"):
        forms = {"sform": _sform, "qform": _qform}
        coded = {name: read(header) for name, read in forms.items() if int(header[f"{name}_code"]) > 0}
        good = {name: affine for name, affine in coded.items() if _is_usable(affine)}
        if coded and not good:
            raise InputError(
                f"{path}: the header's affine ({' and '.join(coded)}) is damaged (not finite or not invertible); "
                "correct it or convert the file again"
            )
        # With a missing qfac (0), a good sform determines the direction of the qform's third axis.
        if len(good) == 2 and not float(header["pixdim"][0]):
            good["qform"][:, 2] *= np.sign(np.linalg.det(good["qform"]) * np.linalg.det(good["sform"]))
        if not good or _cosine(*good.values()) < _AGREEMENT:
            return None, ()
        used, stated = next(iter(good.items()))
        affine, notes = _in_mm(path, header, stated)
    ignored = [
        f"{path}: the header's {name} is damaged and was ignored; its {used} was used"
        for name in coded
        if name not in good
    ]
    return affine, (*ignored, *notes)


def _sform(header: Any) -> Affine:
    return np.array([header["srow_x"], header["srow_y"], header["srow_z"], (0, 0, 0, 1)], np.float64)


def _qform(header: Any) -> Affine:
    """The affine from quaternion, voxel sizes and offset, as defined by nifti1.h; NaN if they are invalid."""
    affine = np.full((4, 4), np.nan)
    # "If pixdim[0]=0.0 (which should not occur), we take qfac=1."
    qfac = float(header["pixdim"][0]) or 1.0
    sizes = np.array(header["pixdim"][1:4], np.float64)
    b, c, d = (float(header[f"quatern_{part}"]) for part in "bcd")
    rest = 1 - (b * b + c * c + d * d)
    if qfac in (-1, 1) and (sizes > 0).all() and rest >= -_QUATERNION_TOLERANCE:
        a = math.sqrt(max(rest, 0.0))
        # Normalise to length 1, which rounding of b, c and d may exceed.
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
    """The smallest cosine between the directions of an axis in two affines; 1 for a single affine."""
    if other is None:
        return 1.0
    steps = one[:3, :3] * other[:3, :3]
    lengths = np.linalg.norm(one[:3, :3], axis=0) * np.linalg.norm(other[:3, :3], axis=0)
    return float((steps.sum(axis=0) / lengths).min())


def _in_mm(path: Path, header: Any, affine: Affine) -> tuple[Affine, tuple[str, ...]]:
    """Convert metres and microns to mm, unless only the unconverted voxels have a plausible size."""
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS:
        return affine, ()
    unit, factor = _UNITS[code]
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if _are_edges(edges) and not _are_edges(edges * factor):
        sizes = " x ".join(f"{edge:.4g}" for edge in edges)
        return affine, (f"{path}: the header states voxels of {sizes} {unit}; mm was assumed as the unit",)
    affine = affine.copy()
    affine[:3] *= factor
    return affine, (f"{path}: the header's affine is in {unit}; it was converted to mm",)


def _are_edges(edges: Float[np.ndarray, " axes"]) -> bool:
    return bool(((edges >= _EDGES[0]) & (edges <= _EDGES[1])).all())
