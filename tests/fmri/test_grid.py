"""Orientation and placement: every millimetre lands where it did in training, or the scan is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError, UsageError
from swift_export.fmri.grid import check_orientation, place, reorientation
from swift_export.fmri.nifti import NiftiFile

MODEL = (96, 96, 96)


def scan_with(affine: np.ndarray | None, grid: tuple[int, int, int]) -> NiftiFile:
    return NiftiFile(Path("run.nii"), (*grid, 20), affine, np.dtype("f4"), None, 352, False)


@pytest.mark.parametrize(
    ("grid", "padding"),
    [
        ((75, 93, 81), [(11, 10), (2, 1), (8, 7)]),
        ((91, 109, 91), [(3, 2), (-6, -7), (3, 2)]),
        ((97, 115, 97), [(0, -1), (-9, -10), (0, -1)]),
        ((96, 96, 96), [(0, 0), (0, 0), (0, 0)]),
        ((90, 100, 1), [(3, 3), (-2, -2), (48, 47)]),
    ],
)
def test_placement_is_numpys_pad_and_crop(grid, padding):
    volume = np.random.default_rng(0).random(grid)
    expected = np.pad(volume, [(max(front, 0), max(back, 0)) for front, back in padding])
    cut = [slice(max(-front, 0), n - max(-back, 0)) for (front, back), n in zip(padding, expected.shape, strict=True)]
    placed = place(volume, MODEL)
    np.testing.assert_array_equal(placed, expected[tuple(cut)])
    assert placed[48, 48, 48] == volume[tuple(n // 2 for n in grid)]


def test_hcp_crop_and_its_91x109x91_grid_land_at_the_same_places():
    whole = np.zeros((91, 109, 91))
    whole[8:83, 8:101, 5:86] = np.random.default_rng(0).random((75, 93, 81))
    np.testing.assert_array_equal(place(whole[8:83, 8:101, 5:86], MODEL), place(whole, MODEL))


@pytest.mark.requires("fmri")
@pytest.mark.parametrize("wanted", ["LAS", "RAS"])
@pytest.mark.parametrize("stored", ["LAS", "RAS", "RPI", "LPI", "PSR", "ASL", "SAR", "IPL"])
def test_reorientation_is_nibabels(brains, stored, wanted):
    import nibabel as nib

    volume = np.random.default_rng(0).random((7, 9, 5))
    image = nib.Nifti1Image(volume, brains.centred(volume.shape, stored))
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(wanted))
    )
    reorient = reorientation(scan_with(image.affine, volume.shape), wanted)
    np.testing.assert_array_equal(reorient(volume), image.as_reoriented(turn).get_fdata())


@pytest.mark.requires("fmri")
def test_both_standard_grids_put_each_millimetre_at_one_index(brains):
    placed = []
    for grid, affine in (brains.FSL, brains.ASYM):
        indices = np.meshgrid(*map(np.arange, grid), indexing="ij")
        for axis in range(3):
            mm = affine[axis, axis] * indices[axis] + affine[axis, 3]
            placed.append(place(reorientation(scan_with(affine, grid), "LAS")(mm + 1000), MODEL))
    common = (slice(3, 94), slice(0, 96), slice(3, 94))
    for axis, (x, y, z) in enumerate(((-2, 0, 0), (0, 2, 0), (0, 0, 2))):
        assert placed[axis][48, 48, 48] - 1000 == (0, -18, 18)[axis]
        assert placed[axis][49, 50, 51] - placed[axis][48, 48, 48] == x + 2 * y + 3 * z
        np.testing.assert_array_equal(placed[axis][common], placed[axis + 3][common])


def test_las_is_ras_mirrored_on_an_odd_grid_and_one_voxel_off_on_an_even_one():
    odd = np.arange(9.0)[:, None, None] + np.ones((1, 5, 5))
    even = np.arange(10.0)[:, None, None] + np.ones((1, 5, 5))
    middle = (slice(48 - 4, 48 + 5), 48, 48)
    np.testing.assert_array_equal(place(odd[::-1], MODEL)[middle], place(odd, MODEL)[middle][::-1])
    assert place(even, MODEL)[48, 48, 48] == even[5, 0, 0]
    assert place(even[::-1], MODEL)[48, 48, 48] == even[4, 0, 0]


@pytest.mark.requires("fmri")
def test_even_grid_is_judged_by_the_voxel_that_becomes_the_centre(brains):
    # Index 48 of this RAS grid is (0, -18, 18) mm; mirrored, index 48 is the voxel at x = -2 mm.
    affine = brains.centred((96, 96, 96), "RAS")
    assert reorientation(scan_with(affine, MODEL), "RAS")
    with pytest.raises(InputError, match=r"centre voxel of the LAS grid 96x96x96 lies at \(-2, -18, 18\) mm"):
        reorientation(scan_with(affine, MODEL), "LAS")
    # Symmetric about x = 0, no voxel there: half a voxel off either way, which is the best such a grid allows.
    affine[0, 3] += 1
    assert reorientation(scan_with(affine, MODEL), "LAS")
    assert reorientation(scan_with(affine, MODEL), "RAS")


@pytest.mark.requires("fmri")
def test_grids_that_are_not_the_models_are_refused(brains):
    grid = (91, 109, 91)
    good = brains.centred(grid)
    turned = good.copy()
    turned[:3, :3] = [[np.cos(0.02), -np.sin(0.02), 0], [np.sin(0.02), np.cos(0.02), 0], [0, 0, 1]] @ good[:3, :3]
    sheared = good.copy()
    sheared[:3, 1] = sheared[:3, 0] + [0, 0.001, 0]
    shifted = good.copy()
    shifted[2, 3] += 4
    for affine, message in (
        (brains.centred(grid, size=3.0), "found 3 x 3 x 3 mm"),
        (brains.centred(grid, size=2.02), "found 2.02 x 2.02 x 2.02 mm"),
        (turned, r"turned or sheared \(1\.1 degrees\)"),
        (sheared, "turned or sheared"),
        (shifted, r"centre voxel of the ... grid 91x109x91 lies at \(0, -18, 22\) mm"),
        (np.diag([-2.0, 2, 2, 1]), r"centre voxel"),
        (None, "states no orientation"),
    ):
        scan = scan_with(affine, grid)
        for orientation in ("LAS", "RAS"):
            with pytest.raises(InputError, match=message) as error:
                reorientation(scan, orientation)
            assert "--orientation keep" in str(error.value)
            assert "\n" not in str(error.value)
        volume = np.random.default_rng(0).random((3, 4, 5))
        np.testing.assert_array_equal(reorientation(scan, "keep")(volume), volume)


@pytest.mark.requires("fmri")
def test_rounded_affines_are_accepted(brains):
    affine = brains.centred((91, 109, 91)) + np.random.default_rng(0).normal(0, 1e-5, (4, 4))
    assert reorientation(scan_with(affine, (91, 109, 91)), "LAS")


def test_orientation_names():
    assert [check_orientation(name) for name in ("las", "RAS", "Keep")] == ["LAS", "RAS", "keep"]
    with pytest.raises(UsageError, match="--orientation LPS: expected one of LAS, RAS, keep"):
        check_orientation("LPS")
