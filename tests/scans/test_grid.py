"""Geometry: every millimetre lands where it did in training, or the scan is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError, UsageError
from swift_export.scans.grid import Geometry, geometry_of, stored_geometry
from swift_export.scans.nifti import NiftiFile
from swift_export.scans.placement import PLACEMENTS, parse_placement

MODEL = (96, 96, 96)
HCP, UKB, ABCD = (PLACEMENTS[name] for name in ("hcp", "ukb", "abcd"))


def scan_with(affine: np.ndarray | None, grid: tuple[int, int, int]) -> NiftiFile:
    return NiftiFile(Path("run.nii"), (*grid, 20), affine, np.dtype("f4"), None, 352, False)


def placed(geometry: Geometry, volume: np.ndarray, background: float = np.nan) -> np.ndarray:
    """What the model sees of a stored volume."""
    on_grid = np.full(geometry.size, background)
    on_grid[geometry.target] = geometry.keep(volume)
    return on_grid


def millimetres(affine: np.ndarray, grid: tuple[int, int, int]) -> list[np.ndarray]:
    """For each axis of MNI152 the coordinate of each stored voxel."""
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    return [places[..., axis] for axis in range(3)]


def expected(point, orientation: str) -> list[np.ndarray]:
    """The coordinate of each voxel of the model's grid."""
    steps = (-2 if orientation == "LAS" else 2, 2, 2)
    lines = [mm + step * (np.arange(96) - 48.0) for mm, step in zip(point, steps, strict=True)]
    return list(np.meshgrid(*lines, indexing="ij"))


@pytest.mark.requires("fmri")
@pytest.mark.parametrize("codes", ["LAS", "RAS", "RPI", "SLP", "AIR", "PSL"])
@pytest.mark.parametrize("placement", [HCP, UKB, ABCD, parse_placement("4,-20,-6")], ids=lambda p: p.name)
def test_every_voxel_is_where_its_affine_says(brains, codes, placement):
    """Whatever the order of the stored axes and their direction; nothing is interpolated."""
    grid = (91, 109, 91)
    shape = tuple(grid["RLAPSI".index(code) // 2] for code in codes)
    affine = brains.centred(shape, codes)
    geometry = geometry_of(scan_with(affine, shape), placement, placement.orientation, MODEL)
    assert geometry.distance == 0
    seen = [placed(geometry, volume) for volume in millimetres(affine, shape)]
    inside = np.isfinite(seen[0])
    for found, wanted in zip(seen, expected(placement.point, placement.orientation), strict=True):
        np.testing.assert_array_equal(found[inside], wanted[inside])
    # All that lies on the grid is there, if the training arrays held it.
    kept = np.ones(shape, bool)
    for axis, values in enumerate(millimetres(affine, shape)):
        line = expected(placement.point, placement.orientation)[axis].ravel()
        kept &= (values >= line.min()) & (values <= line.max())
    box = placement.box(MODEL)
    if box is None:
        assert np.count_nonzero(inside) == np.count_nonzero(kept)
    else:
        on_grid = np.zeros(MODEL, bool)
        on_grid[tuple(slice(max(part.start, 0), part.stop) for part in box)] = True
        assert not inside[~on_grid].any()
        assert np.count_nonzero(inside) > 0.6 * np.count_nonzero(on_grid)


def test_paddings_of_the_data_sets_grids():
    for placement, shape, first, paddings in (
        (HCP, (91, 109, 91), (90, -126, -72), [(3, 2), (-6, -7), (8, -3)]),
        (HCP, (75, 93, 81), (74, -110, -72), [(11, 10), (2, 1), (8, 7)]),
        (UKB, (91, 109, 91), (90, -126, -72), [(3, 2), (-7, -6), (3, 2)]),
        (UKB, (97, 115, 97), (96, -132, -78), [(0, -1), (-10, -9), (0, -1)]),
        (ABCD, (99, 117, 95), (-98, -134, -72), [(-1, -2), (-10, -11), (6, -5)]),
        (ABCD, (79, 97, 85), (-78, -114, -72), [(9, 8), (0, -1), (6, 5)]),
    ):
        affine = np.diag([-2.0 if placement.orientation == "LAS" else 2.0, 2, 2, 1])
        affine[:3, 3] = first
        geometry = geometry_of(scan_with(affine, shape), placement, placement.orientation, MODEL)
        assert geometry.paddings == paddings
        assert all(n + sum(pair) == 96 for n, pair in zip(shape, paddings, strict=True))
        if shape in placement.stored:
            assert geometry == stored_geometry(shape, placement, MODEL, "run.nii")


def test_las_is_ras_mirrored_about_the_point():
    for n in (9, 10):  # on an even grid too: voxels are judged by where they lie, never by the middle of the array
        affine = np.diag([2.0, 2, 2, 1])
        affine[:3, 3] = -6, -18, 18
        volume = np.arange(1.0, n + 1)[:, None, None] * np.ones((1, 5, 5))
        point = parse_placement("0,-18,18")
        las, ras = (
            placed(geometry_of(scan_with(affine, volume.shape), point, way, MODEL), volume) for way in ("LAS", "RAS")
        )
        assert las[48, 48, 48] == ras[48, 48, 48] == 4
        np.testing.assert_array_equal(las[1:], ras[:0:-1])


@pytest.mark.requires("fmri")
def test_a_lattice_half_a_voxel_off_is_the_most_that_is_taken(brains):
    """Templates of some versions have an origin of -96.5 mm."""
    for off, taken in ((0.25, True), (0.5, True), (0.505, True), (0.51, False), (1.0, False)):
        for axis in range(3):
            affine = brains.centred((91, 109, 91))
            affine[axis, 3] += off
            scan = scan_with(affine, (91, 109, 91))
            if taken:
                geometry = geometry_of(scan, UKB, "LAS", MODEL)
                assert geometry.distance == pytest.approx(off)
                assert geometry.paddings == [(3, 2), (-7, -6), (3, 2)]
            else:
                with pytest.raises(InputError, match=r"expected a voxel at \(0, -16, 18\) mm, .* placement ukb"):
                    geometry_of(scan, UKB, "LAS", MODEL)


@pytest.mark.requires("fmri")
def test_grids_that_are_not_the_models_are_refused(brains):
    grid = (91, 109, 91)
    good = brains.centred(grid)
    turned = good.copy()
    turned[:3, :3] = [[np.cos(0.02), -np.sin(0.02), 0], [np.sin(0.02), np.cos(0.02), 0], [0, 0, 1]] @ good[:3, :3]
    oblique = good.copy()
    oblique[:3, :3] = [[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]] @ good[:3, :3]
    sheared = good.copy()
    sheared[:3, 1] = sheared[:3, 0] + [0, 0.001, 0]
    odd = good.copy()
    odd[2, 3] += 1
    for affine, message in (
        (brains.centred(grid, size=3.0), "found 3 x 3 x 3 mm"),
        (brains.centred(grid, size=1.0), "found 1 x 1 x 1 mm"),
        (brains.centred(grid, size=2.02), "found 2.02 x 2.02 x 2.02 mm"),
        (turned, r"rotated or sheared by 1\.1 degrees"),
        (oblique, r"rotated or sheared by 17\.2 degrees"),
        (sheared, "rotated or sheared"),
        (odd, r"expected a voxel at \(0, -\d+, \d+\) mm, .* found the nearest at \(0, -\d+, \d+\) mm"),
    ):
        for placement in (HCP, UKB, ABCD):
            with pytest.raises(InputError, match=message) as error:
                geometry_of(scan_with(affine, grid), placement, placement.orientation, MODEL)
            # Taken as stored it would be as wrong, without a word.
            assert "keep" not in str(error.value)
            assert "resample" in str(error.value)
            assert "fMRIPrep" in str(error.value)
            assert "\n" not in str(error.value)


@pytest.mark.requires("fmri")
def test_a_scan_elsewhere_is_refused(brains):
    affine = brains.centred((91, 109, 91))
    for far in (400, 2.0**40, -(2.0**90)):
        affine[0, 3] = far
        with pytest.raises(InputError, match=r"expected a voxel|no voxel"):
            geometry_of(scan_with(affine, (91, 109, 91)), UKB, "LAS", MODEL)


def test_without_an_affine_there_is_keep_for_the_data_sets_own_arrays():
    scan = scan_with(None, (91, 109, 91))
    with pytest.raises(InputError, match=r"found no reliable one .* stored like a training data set, .*keep"):
        geometry_of(scan, UKB, "LAS", MODEL)
    assert geometry_of(scan, UKB, "keep", MODEL).paddings == [(3, 2), (-7, -6), (3, 2)]


@pytest.mark.requires("fmri")
def test_rounded_affines_are_accepted(brains):
    affine = brains.centred((91, 109, 91)) + np.random.default_rng(0).normal(0, 1e-5, (4, 4))
    geometry = geometry_of(scan_with(affine, (91, 109, 91)), UKB, "LAS", MODEL)
    assert 0 < geometry.distance < 0.01


# As stored.


def test_keep_knows_the_data_sets_arrays_and_no_others():
    for placement, known in ((HCP, "91x109x91 and 75x93x81"), (UKB, "91x109x91"), (ABCD, "99x117x95 and 79x97x85")):
        for grid in ((61, 73, 61), (97, 115, 97), (96, 96, 95), (79, 95, 79)):
            with pytest.raises(InputError, match=f"expected {known} voxels .* found {grid[0]}x") as error:
                stored_geometry(grid, placement, MODEL, "run.nii")
            assert str(error.value).startswith("run.nii: ")
            assert "six voxel paddings" in str(error.value)


def test_keep_with_paddings_of_ones_own():
    volume = np.random.default_rng(0).random((61, 73, 120))
    geometry = stored_geometry(volume.shape, parse_placement("20,15,10,13,-14,-10"), MODEL, "run.nii")
    wanted = np.pad(volume[..., 14:-10], [(20, 15), (10, 13), (0, 0)])
    np.testing.assert_array_equal(placed(geometry, volume, background=0.0), wanted)
    with pytest.raises(InputError, match=r"pads 61x73x120 voxels to 63x75x122, expected 96x96x96"):
        stored_geometry(volume.shape, parse_placement("1,1,1,1,1,1"), MODEL, "run.nii")


def test_options_that_do_not_fit_each_other():
    with pytest.raises(UsageError, match=r"keep: ignores the affine, so --placement 0,-18,18 has no position"):
        stored_geometry((91, 109, 91), parse_placement("0,-18,18"), MODEL, "run.nii")
    with pytest.raises(UsageError, match=r"--placement 3,2,-7,-6,3,2: .* add --orientation keep"):
        geometry_of(scan_with(np.eye(4), (91, 109, 91)), parse_placement("3,2,-7,-6,3,2"), "LAS", MODEL)
