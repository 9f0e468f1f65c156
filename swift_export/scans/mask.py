"""The brain mask of a scan: which of its voxels, as stored, are brain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from swift_export.errors import InputError, UsageError
from swift_export.scans.affine import Affine
from swift_export.scans.nifti import NiftiFile, Warn, open_nifti

__all__ = ["read_mask"]

#: Two lattices are one if no corner is further apart than this, in mm: affines are stored rounded to float32.
_DISTANCE = 0.05
#: A value is a whole number if it lies this near one: scaling and resampling round.
_ROUNDING = 1e-3

_Axes = tuple[int, ...]


def read_mask(
    path: Path, scan: NiftiFile, *, as_stored: bool = False, warn: Warn = lambda _: None
) -> Bool[np.ndarray, "x y z"]:
    """The voxels of a scan's stored grid that a 3D NIfTI of the same voxels calls brain.

    A mask holds 0 and one other value, or whole numbers such as labels, of which every one but 0 is brain. NaN counts
    as 0. Its axes may be stored in another order or direction than the scan's; the affines say which. With
    ``as_stored`` no affine is read and the arrays are laid on each other as they are. ``warn`` is told what of the
    file was not taken as it stands.

    Raises UsageError when the file holds several volumes, and InputError when it is none that can be read, when its
    voxels are not the scan's, when it is a probability map (it needs a threshold that only its user knows), or when it
    selects nothing or everything.
    """
    mask = open_nifti(path, as_stored=as_stored)
    for note in mask.notes:
        warn(note)
    if mask.frames != 1:
        raise UsageError(f"{path}: --mask expects a 3D NIfTI, found shape {mask.shape}; is it the scan itself?")
    order, flips = ((0, 1, 2), ()) if as_stored else _turn(mask, scan)
    if tuple(mask.grid[axis] for axis in order) != scan.grid:
        raise InputError(
            f"{path}: the mask's grid is {mask.grid}, the scan's {scan.grid}; give the mask of the same space and "
            "resolution"
        )
    if not as_stored:
        _check_lattice(mask, scan, order, flips)
    (values,) = mask.volumes(warn)
    inside = _inside(path, values)
    if not inside.any() or inside.all():
        raise InputError(
            f"{path}: the mask holds {'no' if not inside.any() else 'every'} voxel; expected some voxels, those of the "
            "brain"
        )
    return np.asarray(np.flip(inside, flips).transpose(order))


def _turn(mask: NiftiFile, scan: NiftiFile) -> tuple[_Axes, _Axes]:
    """Which axis of the mask becomes each axis of the scan, and the axes of the mask that are flipped before."""
    steps = np.linalg.solve(_affine(scan, mask)[:3, :3], _affine(mask, mask)[:3, :3])
    along = np.abs(steps).argmax(axis=0)
    if len(set(along)) < 3:
        # Turned by some angle: another lattice, which the corners will show.
        return (0, 1, 2), ()
    return tuple(np.argsort(along).tolist()), tuple(np.flatnonzero(steps[along, range(3)] < 0).tolist())


def _affine(file: NiftiFile, mask: NiftiFile) -> Affine:
    if file.affine is None:
        name = "mask" if file is mask else "scan"
        raise InputError(
            f"{file.path}: the {name}'s header states no affine to rely on (sform_code and qform_code are 0 or "
            "disagree); copy it from a file of the same voxels (FSL: fslcpgeom FROM TO -d), or have mask and scan laid "
            "on each other as stored with --orientation keep"
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
            f"{mask.path}: the mask's affine puts voxels up to {distance:.3g} mm from where the scan's puts them; give "
            "the mask of the same space and resolution"
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
        raise InputError(f"{path}: a mask holds whole numbers, 0 outside the brain; threshold a probability map first")
    return np.asarray(values != 0)
