"""Brain masks: what counts as one, and that its voxels are the scan's."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError, UsageError
from swift_export.scans.mask import read_mask
from swift_export.scans.nifti import open_nifti

pytestmark = pytest.mark.requires("fmri")

SHAPE = (6, 7, 5, 4)
GRID = SHAPE[:3]
INSIDE = np.random.default_rng(1).random(GRID) < 0.4


@pytest.fixture
def scan(brains, tmp_path):
    return open_nifti(brains.write(tmp_path / "run.nii", brains.run(SHAPE)))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_mask_is_what_is_not_zero(brains, tmp_path, scan, dtype):
    import nibabel as nib

    nib.save(nib.Nifti1Image(INSIDE.astype(dtype), brains.centred(SHAPE), dtype=dtype), tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", scan), INSIDE)


@pytest.mark.parametrize(
    ("outside", "inside"),
    [(0, 255), (0, -1), (0, 1.0000001), (0, 0.99999), (0, 1 / 255), (0, 0.7), (np.nan, 1), (np.nan, 0.3), (1e-9, 1)],
)
def test_two_values_are_a_mask(brains, tmp_path, scan, outside, inside):
    path = brains.write(tmp_path / "mask.nii", np.where(INSIDE, inside, outside).astype(np.float32))
    np.testing.assert_array_equal(read_mask(path, scan), INSIDE)


def test_two_values_after_scaling_are_a_mask(brains, tmp_path, scan):
    for stored, slope in ((255, 1 / 255), (1, 1 / 255), (1, np.nan), (200, 0.001)):
        path = brains.write(tmp_path / "mask.nii", np.where(INSIDE, stored, 0).astype(np.uint8))
        np.testing.assert_array_equal(read_mask(brains.patch(path, scl_slope=slope), scan), INSIDE)
    # 0 and 1 as an intercept stores them.
    path = brains.write(tmp_path / "mask.nii", np.where(INSIDE, 127, -128).astype(np.int8))
    scaled = brains.patch(path, scl_slope=1 / 255, scl_inter=128 / 255)
    np.testing.assert_array_equal(read_mask(scaled, scan), INSIDE)


def test_labels_are_a_mask(brains, tmp_path, scan):
    labels = np.where(INSIDE, np.random.default_rng(2).integers(1, 3000, GRID), 0)
    path = brains.write(tmp_path / "mask.nii", labels.astype(np.int16))
    np.testing.assert_array_equal(read_mask(path, scan), INSIDE)
    noisy = (labels + np.random.default_rng(3).uniform(-1e-4, 1e-4, GRID)).astype(np.float32)
    np.testing.assert_array_equal(read_mask(brains.write(tmp_path / "mask.nii", noisy), scan), INSIDE)


def test_mask_with_further_axes_of_one(brains, tmp_path, scan):
    for shape in ((*GRID, 1), (*GRID, 1, 1)):
        path = brains.write(tmp_path / "m.nii", INSIDE.reshape(shape).astype(np.uint8))
        np.testing.assert_array_equal(read_mask(path, scan), INSIDE)


def test_masks_that_do_not_fit(brains, tmp_path, scan):
    def refused(values: np.ndarray, message: str, affine: np.ndarray | None = None, kind: type = InputError) -> None:
        path = brains.write(tmp_path / "mask.nii", values, affine)
        with pytest.raises(kind, match=message) as error:
            read_mask(path, scan)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)

    half = np.zeros(GRID, np.float32)
    half[3:] = 1
    refused(half[1:], r"grid \(6, 7, 5\) of the scan, found \(5, 7, 5\)")
    shifted = brains.centred(SHAPE)
    shifted[0, 3] += 2
    refused(half, r"up to 2 mm", shifted)
    refused(half, "up to", brains.centred(SHAPE, size=2.1))
    refused(half, "up to 2 mm", brains.centred(SHAPE, "RAS"))
    refused(half.transpose(1, 0, 2), r"grid \(6, 7, 5\) of the scan, found \(7, 6, 5\)")
    turned = brains.centred(SHAPE)
    turned[:3, :3] = turned[:3, :3] @ [(0.6, -0.8, 0), (0.8, 0.6, 0), (0, 0, 1)]
    refused(half, "on the grid|up to", turned)
    refused(half * np.linspace(0, 1, 5, dtype=np.float32), "threshold a probability map")
    refused(np.where(half, 1, 0.5).astype(np.float32), "threshold a probability map")
    refused(np.where(half, np.float32(np.inf), 0), "whole numbers")
    refused(half * np.nan, "selects no voxel")
    refused(half * 0, "selects no voxel")
    refused(half + 1, "selects every voxel")
    refused(brains.run(SHAPE), "give the brain mask, not the scan", kind=UsageError)


def test_mask_affine_may_differ_by_rounding(brains, tmp_path, scan):
    path = brains.write(tmp_path / "m.nii", INSIDE.astype(np.uint8), brains.centred(SHAPE) + 1e-5)
    np.testing.assert_array_equal(read_mask(path, scan), INSIDE)


def test_affines_far_away_are_refused(brains, tmp_path, scan):
    path = brains.write(tmp_path / "nifti2.nii", INSIDE.astype(np.uint8))
    for place, message in ((1e308, "damaged"), (-1e10, "damaged"), (1e9, "up to 1e\\+09 mm away")):
        brains.patch(path, srow_x=(-2, 0, 0, place))
        with pytest.raises(InputError, match=message):
            read_mask(path, scan)


@pytest.mark.parametrize("axes", list(permutations(range(3))), ids=str)
def test_mask_of_the_same_voxels_in_another_orientation(brains, tmp_path, scan, axes):
    """As nibabel reorients an image: every voxel keeps its place in mm."""
    import nibabel as nib

    image = nib.Nifti1Image(INSIDE.astype(np.uint8), brains.centred(SHAPE))
    for signs in product((1, -1), repeat=3):
        turned = image.as_reoriented(np.array([axes, signs]).T)
        nib.save(turned, tmp_path / "mask.nii")
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", scan), INSIDE)


def test_turned_mask_on_an_oblique_scan(brains, tmp_path):
    import nibabel as nib

    affine = brains.centred(SHAPE, size=3)
    affine[:3, :3] = nib.eulerangles.euler2mat(0.3, 0.2, -0.4) @ affine[:3, :3]
    scan = open_nifti(brains.write(tmp_path / "run.nii", brains.run(SHAPE), affine))
    image = nib.Nifti1Image(INSIDE.astype(np.uint8), affine)
    nib.save(image.as_reoriented(np.array([(2, 1), (0, -1), (1, -1)])), tmp_path / "mask.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", scan), INSIDE)


def test_a_turned_mask_of_other_voxels_is_refused(brains, tmp_path, scan):
    import nibabel as nib

    shifted = brains.centred(SHAPE)
    shifted[1, 3] += 2
    image = nib.Nifti1Image(INSIDE.astype(np.uint8), shifted)
    nib.save(image.as_reoriented(np.array([(0, -1), (2, 1), (1, 1)])), tmp_path / "mask.nii")
    with pytest.raises(InputError, match="up to 2 mm away"):
        read_mask(tmp_path / "mask.nii", scan)


def without_codes(brains, path: Path, values: np.ndarray) -> Path:
    return brains.patch(brains.write(path, values), sform_code=0, qform_code=0)


def test_mask_without_an_affine(brains, tmp_path, scan):
    path = without_codes(brains, tmp_path / "mask.nii", INSIDE.astype(np.uint8))
    with pytest.raises(InputError, match=r"mask\.nii: the mask's header has no reliable affine.*--orientation keep"):
        read_mask(path, scan)
    np.testing.assert_array_equal(read_mask(path, scan, as_stored=True), INSIDE)


def test_scan_without_an_affine(brains, tmp_path):
    bare = open_nifti(without_codes(brains, tmp_path / "run.nii", brains.run(SHAPE)))
    path = brains.write(tmp_path / "mask.nii", INSIDE.astype(np.uint8))
    with pytest.raises(InputError, match=r"run\.nii: the scan's header has no reliable affine"):
        read_mask(path, bare)
    np.testing.assert_array_equal(read_mask(path, bare, as_stored=True), INSIDE)


def test_as_stored_no_affine_is_read(brains, tmp_path, scan):
    stored = INSIDE.astype(np.uint8)
    for affine in (brains.centred(SHAPE, "RAS"), brains.centred(SHAPE) * 7):
        path = brains.write(tmp_path / "mask.nii", stored, affine)
        np.testing.assert_array_equal(read_mask(path, scan, as_stored=True), INSIDE)
    path = brains.patch(brains.write(tmp_path / "mask.nii", stored), srow_x=np.nan)
    np.testing.assert_array_equal(read_mask(path, scan, as_stored=True), INSIDE)
    with pytest.raises(InputError, match=r"mask\.nii: the header's affine \(sform\) is damaged"):
        read_mask(path, scan)
    with pytest.raises(InputError, match=r"grid \(6, 7, 5\) of the scan, found \(5, 7, 6\)"):
        read_mask(brains.write(tmp_path / "mask.nii", stored.T), scan, as_stored=True)


def test_a_broken_mask_file_is_named(brains, tmp_path, scan):
    whole = brains.write(tmp_path / "mask.nii.gz", INSIDE.astype(np.uint8)).read_bytes()
    path = tmp_path / "broken mask.nii.gz"
    for content in (b"", b"text", whole[:-9], whole[:-8] + bytes(8), gzip.compress(whole), gzip.decompress(whole)[:-1]):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_mask(path, scan)
        assert str(error.value).startswith(f"{path}: ")
    with pytest.raises(InputError, match=r"absent\.nii: cannot be read"):
        read_mask(tmp_path / "absent.nii", scan)


def test_oddities_of_a_mask_are_told(brains, tmp_path, scan):
    path = brains.write(tmp_path / "mask.nii.gz", INSIDE.astype(np.uint8), np.diag([1e-3, 1e-3, 1e-3, 1]) @ scan.affine)
    plain = tmp_path / "plain.nii"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(brains.patch(plain, xyzt_units=1).read_bytes()) + b"more")
    said = []
    np.testing.assert_array_equal(read_mask(path, scan, warn=said.append), INSIDE)
    assert len(said) == 2
    assert "in metres; it was converted to mm" in said[0]
    assert "4 bytes after the complete compressed data" in said[1]
