"""The brain mask of a scan, on its stored voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from swift_export.errors import InputError, UsageError
from swift_export.scans.affine import Affine
from swift_export.scans.nifti import NiftiFile, Warn, open_nifti
from swift_export.system.progress import ignore_line

__all__ = ["read_mask"]

#: Largest distance, in mm, between corresponding corners of equal lattices: affines are rounded to float32.
_DISTANCE = 0.05
#: Tolerance for whole numbers, because scaling and resampling round.
_ROUNDING = 1e-3

_Axes = tuple[int, ...]


def read_mask(
    path: Path, scan: NiftiFile, *, as_stored: bool = False, warn: Warn = ignore_line
) -> Bool[np.ndarray, "x y z"]:
    """The brain voxels on a scan's stored grid, from a 3D NIfTI on the same lattice.

    A mask holds 0 and one other value, or whole numbers such as labels, all of which are brain except 0. NaN counts as
    0. Its axes may have another order or direction than those of the scan, as the affines state. With ``as_stored``,
    the affines are ignored and the arrays are matched as stored. ``warn`` receives the corrections of the file's
    header.

    Raises:
        UsageError: the file has several volumes.
        InputError: the file is unreadable or on another lattice, or selects nothing or everything. Or it is a
            probability map, which needs a threshold that only the user knows.

    """
    mask = open_nifti(path, as_stored=as_stored)
    for note in mask.notes:
        warn(note)
    if mask.frames != 1:
        raise UsageError(
            f"{path}: --mask: expected a 3D NIfTI, found shape {mask.shape}; give the brain mask, not the scan"
        )
    order, flips = ((0, 1, 2), ()) if as_stored else _turn(mask, scan)
    if tuple(mask.grid[axis] for axis in order) != scan.grid:
        raise InputError(
            f"{path}: expected a mask on the grid {scan.grid} of the scan, found {mask.grid}; give the mask in the "
            "same space and resolution"
        )
    if not as_stored:
        _check_lattice(mask, scan, order, flips)
    (values,) = mask.volumes(warn)
    inside = _inside(path, values)
    if not inside.any() or inside.all():
        raise InputError(
            f"{path}: expected a mask that selects the brain, found one that selects "
            f"{'no' if not inside.any() else 'every'} voxel"
        )
    return np.asarray(np.flip(inside, flips).transpose(order))


def _turn(mask: NiftiFile, scan: NiftiFile) -> tuple[_Axes, _Axes]:
    """The axis of the mask for each axis of the scan, and the axes of the mask to flip first."""
    steps = np.linalg.solve(_affine(scan, mask)[:3, :3], _affine(mask, mask)[:3, :3])
    along = np.abs(steps).argmax(axis=0)
    if len(set(along)) < 3:
        # A rotated lattice; the check of the corners rejects it.
        return (0, 1, 2), ()
    return tuple(np.argsort(along).tolist()), tuple(np.flatnonzero(steps[along, range(3)] < 0).tolist())


def _affine(file: NiftiFile, mask: NiftiFile) -> Affine:
    if file.affine is None:
        name = "mask" if file is mask else "scan"
        raise InputError(
            f"{file.path}: the {name}'s header has no reliable affine (sform_code and qform_code are 0 or disagree); "
            "copy it from a file on the same voxels (FSL: fslcpgeom FROM TO -d), or match mask and scan as stored "
            "with --orientation keep"
        )
    return file.affine


def _check_lattice(mask: NiftiFile, scan: NiftiFile, order: _Axes, flips: _Axes) -> None:
    affine = _affine(mask, mask).copy()
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (mask.grid[axis] - 1)
        affine[:, axis] *= -1
    affine = affine[:, [*order, 3]]
    corners = np.array(np.meshgrid(*([0, n - 1] for n in scan.grid), [1], indexing="ij")).reshape(4, -1)
    distance = np.linalg.norm(((affine - _affine(scan, mask)) @ corners)[:3], axis=0).max()
    if distance > _DISTANCE:
        raise InputError(
            f"{mask.path}: expected a mask on the voxels of the scan, found voxels up to {distance:.3g} mm away; give "
            "the mask in the same space and resolution"
        )


def _inside(path: Path, values: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    values[np.isnan(values)] = 0
    found = values[values != 0]
    if not found.size or not np.isfinite(found).all():
        whole = not found.size
    elif found.min() == found.max():
        return np.asarray(values != 0)
    else:
        values, exact = np.rint(values), values
        whole = bool(np.abs(values - exact).max() <= _ROUNDING)
    if not whole:
        raise InputError(
            f"{path}: expected whole numbers, 0 outside the brain, found fractions; threshold a probability map first"
        )
    return np.asarray(values != 0)
