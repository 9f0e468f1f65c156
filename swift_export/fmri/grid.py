"""Where a scan's voxels go on the model's grid: orientation, then a placement that only the two grids decide.

The model's position embeddings are absolute: a brain that is mirrored, turned, of another voxel size or shifted gives
features that look right and are not. So the affine has to say that the grid is the one of training, MNI152 at 2 mm
with its centre at (0, -18, 18) mm, or the caller has to say, with ``keep``, that the array is to be taken as stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError, UsageError

if TYPE_CHECKING:
    from swift_export.fmri.nifti import NiftiFile

__all__ = ["CENTRE", "VOXEL_SIZE", "Orientation", "check_orientation", "place", "reorientation"]

#: ``LAS`` is the orientation of FSL's MNI152 grids and of the training data; ``keep`` does not look at the affine.
Orientation = Literal["LAS", "RAS", "keep"]

#: Size of a voxel, and where the voxel at the centre of the model's grid lies, in mm of MNI152.
VOXEL_SIZE = 2.0
CENTRE = (0.0, -18.0, 18.0)

#: In mm a voxel: adds up to a quarter of a voxel between the centre and the edge of 96.
_SIZE_TOLERANCE = 0.01
#: In degrees: half a voxel over the same way.
_ANGLE_TOLERANCE = 0.6
#: Half a voxel, in mm, and what float32 affines are rounded by.
_CENTRE_TOLERANCE = 1.001

_KEEP = "or take the array as stored, its affine unread, with --orientation keep"

Volume = Float[np.ndarray, "x y z"]


def check_orientation(orientation: str) -> Orientation:
    """The orientation of that name; raises UsageError for any other."""
    names: dict[str, Orientation] = {name.lower(): name for name in get_args(Orientation)}
    if orientation.lower() not in names:
        raise UsageError(f"--orientation {orientation}: expected one of {', '.join(names.values())}")
    return names[orientation.lower()]


def reorientation(scan: NiftiFile, orientation: Orientation) -> Callable[[Volume], Volume]:
    """A function that turns the scan's volumes as stored into volumes of the orientation asked for.

    Axes are exchanged and flipped as the affine says; values are never interpolated. On an axis with an odd number of
    voxels a flip keeps the middle voxel, so the standard grids (91x109x91 LAS, 97x115x97 RAS) put every millimetre at
    the same index. On an even axis voxel n // 2 and its mirror n // 2 - 1 differ: which of them is the centre is
    decided after the flip, as it would be for a file stored that way.

    Raises InputError, unless the orientation is ``keep``, when the affine is missing, oblique, not of 2 mm, or does not
    put the grid's centre within half a voxel of `CENTRE`.
    """
    if orientation == "keep":
        return lambda volume: volume
    if scan.affine is None:
        raise InputError(
            f"{scan.path}: the header states no orientation to rely on (sform_code and qform_code are 0 or disagree); "
            f"expected an affine into MNI152; correct the header, {_KEEP}"
        )
    axes, signs = _directions(scan, scan.affine)
    wanted = np.array([-1 if orientation == "LAS" else 1, 1, 1])
    flips = signs != wanted[axes]
    # The stored voxel that becomes the centre: index n // 2 counted from the axis' other end where it is flipped.
    grid = np.array(scan.grid)
    centre = np.where(flips, grid - 1 - grid // 2, grid // 2)
    _check_centre(scan, (scan.affine @ [*centre, 1])[:3], orientation)
    order, flipped = np.argsort(axes), tuple(np.flatnonzero(flips).tolist())
    return lambda volume: np.flip(volume, flipped).transpose(order)


def place(volume: Volume, size: tuple[int, int, int]) -> Volume:
    """Put a volume on a grid of ``size`` voxels, centre on centre: index n // 2 of one meets n // 2 of the other.

    On an even grid, as the published 96x96x96, an odd voxel of padding goes in front and an odd voxel of cropping at
    the back: 75x93x81 is padded by (11,10), (2,1), (8,7). What the volume does not cover is 0, that is, background.
    """
    placed = np.zeros(size, volume.dtype)
    source, target = [], []
    for n, m in zip(volume.shape, size, strict=True):
        front = m // 2 - n // 2
        source.append(slice(max(-front, 0), min(m - front, n)))
        target.append(slice(max(front, 0), min(n + front, m)))
    placed[tuple(target)] = volume[tuple(source)]
    return placed


def _directions(scan: NiftiFile, affine: Float[np.ndarray, "4 4"]) -> tuple[np.ndarray, np.ndarray]:
    """For each stored axis the axis of MNI152 that it runs along, and 1 or -1 for the way; refuses any other grid."""
    steps = affine[:3, :3]
    sizes = np.linalg.norm(steps, axis=0)
    if np.abs(sizes - VOXEL_SIZE).max() > _SIZE_TOLERANCE:
        raise InputError(
            f"{scan.path}: expected voxels of 2 x 2 x 2 mm, found {' x '.join(f'{size:.4g}' for size in sizes)} mm; "
            f"resample the registered run to MNI152 at 2 mm, {_KEEP}"
        )
    axes = np.abs(steps).argmax(axis=0)
    along = steps[axes, np.arange(3)] / sizes
    angle = float(np.degrees(np.arccos(np.minimum(np.abs(along), 1))).max())
    if angle > _ANGLE_TOLERANCE or len(set(axes)) < 3:
        raise InputError(
            f"{scan.path}: the grid is turned or sheared ({angle:.1f} degrees) against the axes of MNI152; resample "
            f"the registered run to MNI152 at 2 mm, {_KEEP}"
        )
    return axes, np.sign(along).astype(int)


def _check_centre(scan: NiftiFile, found: Float[np.ndarray, " mm"], orientation: Orientation) -> None:
    if np.abs(found - CENTRE).max() > _CENTRE_TOLERANCE:
        raise InputError(
            f"{scan.path}: the centre voxel of the {orientation} grid {'x'.join(map(str, scan.grid))} lies at "
            f"({', '.join(f'{mm:g}' for mm in found)}) mm, expected (0, -18, 18) mm as on MNI152's 91x109x91 and "
            f"97x115x97 grids; resample the registered run to one of them, {_KEEP}"
        )
