"""Maps the voxels of a scan to the model's grid by permuted and flipped axes and an offset, never by interpolation.

The position embeddings of the model are absolute. A mirrored, rotated or shifted brain, or one with another voxel size,
gives features that look plausible and are wrong. Therefore the affine must describe a lattice of 2 mm voxels along the
axes of MNI152 with a voxel at the placement's point. Alternatively, with ``keep``, the caller states that the array is
stored like a training data set, or gives the paddings in voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError, UsageError
from swift_export.scans.placement import CENTRE, Axes, Orientation, Placement

if TYPE_CHECKING:
    from swift_export.scans.nifti import NiftiFile

__all__ = ["VOXEL_SIZE", "Geometry", "geometry_of", "stored_geometry"]

#: Voxel size of the model's grid, in mm.
VOXEL_SIZE = 2.0

#: In mm per voxel. From the centre to the edge of 96 voxels it adds up to a quarter of a voxel.
_SIZE_TOLERANCE = 0.01
#: In degrees. Over the same distance it adds up to half a voxel.
_ANGLE_TOLERANCE = 0.6
#: Allowed distance in mm between the central voxel and the placement's point: a quarter of a voxel, the shift of some
#: template versions (an origin of -96.5 mm), plus the rounding of float32 affines.
_POINT_TOLERANCE = 0.505

_RESAMPLE = (
    "resample the registered run to MNI152 at 2 mm (fMRIPrep: --output-spaces MNI152NLin6Asym:res-2; nilearn: "
    "nilearn.image.resample_to_img)"
)

Volume = Float[np.ndarray, "x y z"]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Geometry:
    """The mapping of stored volumes to the model's grid.

    Attributes:
        order: for each axis of the model's grid, the parallel stored axis.
        flips: the stored axes with the opposite direction.
        grid: voxels along each axis of the oriented volume.
        front: index on the model's grid of the oriented volume's first voxel; negative if voxels are cropped.
        size: voxels of the model's grid.
        covered: the part of the oriented volume inside the authors' crop, over which statistics are computed.
        distance: mm between the placement's point and the central voxel.

    """

    order: Axes
    flips: tuple[int, ...]
    grid: Axes
    front: Axes
    size: Axes
    covered: Box
    distance: float = 0.0

    def oriented(self, volume: np.ndarray) -> np.ndarray:
        """The volume with the axes of the model's grid, as a view."""
        return np.flip(volume, self.flips).transpose(self.order)

    def cover(self, volume: np.ndarray) -> np.ndarray:
        """The oriented part of a stored volume that the training arrays covered, as a view."""
        return self.oriented(volume)[self.covered]

    @property
    def kept(self) -> Box:
        """The part of the covered volume on the model's grid, in indices of the covered volume."""
        return _box(
            (max(c.start, -f) - c.start, min(c.stop, m - f) - c.start)
            for c, f, m in zip(self.covered, self.front, self.size, strict=True)
        )

    @property
    def target(self) -> Box:
        """The position of the kept part on the model's grid."""
        return _box(
            (k.start + c.start + f, k.stop + c.start + f)
            for k, c, f in zip(self.kept, self.covered, self.front, strict=True)
        )

    def keep(self, volume: np.ndarray) -> np.ndarray:
        """The oriented part of a stored volume that the model sees, as a view."""
        return self.cover(volume)[self.kept]

    @property
    def paddings(self) -> list[tuple[int, int]]:
        """Voxels in front of and behind the oriented volume on each axis; negative if cropped."""
        return [(f, m - n - f) for f, n, m in zip(self.front, self.grid, self.size, strict=True)]


def geometry_of(scan: NiftiFile, placement: Placement, orientation: Orientation, size: Axes) -> Geometry:
    """The mapping of a scan's volumes to a grid of ``size`` voxels.

    Unless the orientation is ``keep``, the mapping follows the affine. It is exact for every grid of 2 mm voxels along
    the axes of MNI152 with a voxel at the placement's point. With ``keep``, see `stored_geometry`.

    Raises:
        InputError: the affine is missing, oblique, not of 2 mm or has no voxel at the point; or the scan is outside the
            model's grid.
        UsageError: the options contradict each other.

    """
    if orientation == "keep":
        return stored_geometry(scan.grid, placement, size, str(scan.path))
    if placement.point is None:
        raise UsageError(
            f"--placement {placement.name}: voxel paddings apply to an array as stored; add --orientation keep, or "
            "give hcp, ukb, abcd or a point X,Y,Z in mm"
        )
    if scan.affine is None:
        raise InputError(
            f"{scan.path}: expected an affine into MNI152, found no reliable one (sform_code and qform_code are 0 or "
            "disagree); correct the header or, if the array is stored like a training data set, use --orientation keep"
        )
    axes, signs = _directions(scan, scan.affine)
    wanted = np.array([-1 if orientation == "LAS" else 1, 1, 1])
    flips = signs != wanted[axes]
    point = np.array(placement.point)
    # Clipped, because a damaged offset may be arbitrarily large; the distance check rejects it.
    stored = np.rint(np.clip(np.linalg.solve(scan.affine, [*point, 1])[:3], -(2**31), 2**31)).astype(int)
    nearest = (scan.affine @ [*stored, 1])[:3]
    distance = float(np.abs(nearest - point).max())
    if distance > _POINT_TOLERANCE:
        raise InputError(
            f"{scan.path}: expected a voxel at {_mm(point)} mm, the centre of placement {placement.name}, found the "
            f"nearest at {_mm(nearest)} mm; {_RESAMPLE}"
        )
    grid = np.array(scan.grid)
    order = np.argsort(axes)
    index = np.where(flips, grid - 1 - stored, stored)[order]
    front = [m // 2 - int(i) for m, i in zip(size, index, strict=True)]
    return _geometry(
        _axes(order), tuple(np.flatnonzero(flips).tolist()), _axes(grid[order]), front, placement, size,
        str(scan.path), distance,
    )  # fmt: skip


def stored_geometry(grid: Axes, placement: Placement, size: Axes, name: str) -> Geometry:
    """The mapping of a stored array of shape ``grid`` to the model's grid, by the voxel paddings of the placement.

    ``name`` identifies the array in messages.

    Raises:
        InputError: the placement does not define this shape, or its six paddings do not result in ``size``.
        UsageError: the placement is a point given by the user.

    """
    if placement.stored:
        if grid not in placement.stored:
            known = " and ".join(_shape(shape) for shape in placement.stored)
            raise InputError(
                f"{name}: expected {known} voxels for placement {placement.name} with --orientation keep, found "
                f"{_shape(grid)}; omit --orientation keep to place the scan by its affine, or give --placement as six "
                "voxel paddings, front and back of each axis"
            )
        front = [f + m // 2 - CENTRE for f, m in zip(placement.stored[grid], size, strict=True)]
    elif placement.paddings is not None:
        front = [before for before, _ in placement.paddings]
        ends = [n + before + behind for n, (before, behind) in zip(grid, placement.paddings, strict=True)]
        if ends != list(size):
            raise InputError(
                f"{name}: --placement {placement.name} pads {_shape(grid)} voxels to {_shape(ends)}, expected "
                f"{_shape(size)}"
            )
    else:
        raise UsageError(
            f"--orientation keep: ignores the affine, so --placement {placement.name} has no position in the array; "
            "give hcp, ukb, abcd or six voxel paddings, front and back of each axis"
        )
    return _geometry((0, 1, 2), (), grid, front, placement, size, name)


def _geometry(
    order: Axes,
    flips: tuple[int, ...],
    grid: Axes,
    front: Sequence[int],
    placement: Placement,
    size: Axes,
    name: str,
    distance: float = 0.0,
) -> Geometry:
    covered = _box(
        (0 if left.start is None else max(0, left.start - f), n if left.stop is None else min(n, left.stop - f))
        for left, f, n in zip(placement.left(size), front, grid, strict=True)
    )
    geometry = Geometry(order, flips, grid, _axes(front), size, covered, distance)
    if any(part.start >= part.stop for part in (*covered, *geometry.kept)):
        raise InputError(
            f"{name}: no voxel of the {_shape(grid)} grid is on the model's grid with placement "
            f"{placement.name}; check that the run is registered to MNI152"
        )
    return geometry


def _directions(scan: NiftiFile, affine: Float[np.ndarray, "4 4"]) -> tuple[np.ndarray, np.ndarray]:
    """For each stored axis, the parallel axis of MNI152 and the direction, 1 or -1; rejects any other grid."""
    steps = affine[:3, :3]
    sizes = np.linalg.norm(steps, axis=0)
    if np.abs(sizes - VOXEL_SIZE).max() > _SIZE_TOLERANCE:
        raise InputError(
            f"{scan.path}: expected voxels of 2 x 2 x 2 mm, found {' x '.join(f'{size:.4g}' for size in sizes)} mm; "
            f"{_RESAMPLE}"
        )
    axes = np.abs(steps).argmax(axis=0)
    along = steps[axes, np.arange(3)] / sizes
    angle = float(np.degrees(np.arccos(np.minimum(np.abs(along), 1))).max())
    if angle > _ANGLE_TOLERANCE or len(set(axes)) < 3:
        raise InputError(
            f"{scan.path}: the grid is rotated or sheared by {angle:.1f} degrees against the axes of MNI152; "
            f"{_RESAMPLE}"
        )
    return axes, np.sign(along).astype(int)


def _box(ranges: Iterable[tuple[int, int]]) -> Box:
    x, y, z = (slice(start, stop) for start, stop in ranges)
    return x, y, z


def _axes(values: Sequence[int] | np.ndarray) -> Axes:
    x, y, z = (int(value) for value in values)
    return x, y, z


def _shape(grid: Sequence[int]) -> str:
    return "x".join(map(str, grid))


def _mm(point: np.ndarray) -> str:
    # Adding 0 removes the sign of a negative zero.
    return f"({', '.join(f'{round(float(mm), 3) + 0:g}' for mm in point)})"
