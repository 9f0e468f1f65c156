"""The affine of a header: the good one of its two forms, in mm, or None where they leave no answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.scans.nifti import NiftiFile, open_nifti

pytestmark = pytest.mark.requires("fmri")

SHAPE = (6, 7, 5)
NAMES = pytest.mark.parametrize("name", ["scan.nii", "nifti2.nii"])
#: A half turn about an axis in the x-y plane as float32 stores it: the square of its length is 1 + 4e-7.
LONG = (0.7071069, 0.70710695, 0.0)


def scan_with(brains, path: Path, affine: np.ndarray, sform: int, qform: int, **fields: object) -> NiftiFile:
    """A file with this affine in both forms, of these codes, and then these fields."""
    import nibabel as nib

    kind = nib.Nifti2Image if "nifti2" in path.name else nib.Nifti1Image
    image = kind(np.ones(SHAPE, np.int16), affine)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    nib.save(image, path)
    return open_nifti(brains.patch(path, **fields))


@NAMES
@pytest.mark.parametrize("codes", ["LAS", "RAS", "RPI", "LPI", "PSR", "ASL", "SAR", "IPL"])
def test_affine_of_either_form_is_nibabels(brains, tmp_path, name, codes):
    import nibabel as nib

    affine = nib.affines.from_matvec(brains.centred(SHAPE, codes)[:3, :3] * [1, 1.5, 2], (3, -40, 7))
    turn = nib.eulerangles.euler2mat(0.1, -0.2, 0.3)
    affine[:3, :3] = turn @ affine[:3, :3]
    for forms in ((2, 0), (0, 1), (4, 1)):
        scan = scan_with(brains, tmp_path / name, affine, *forms)
        np.testing.assert_allclose(scan.affine, nib.load(scan.path).affine, rtol=0, atol=1e-6)
        assert scan.notes == ()


@NAMES
def test_a_form_without_code_is_not_looked_at(brains, tmp_path, name):
    las, ras = brains.centred(SHAPE, "LAS"), brains.centred(SHAPE, "RAS")
    scan = scan_with(brains, tmp_path / name, las, 0, 1, srow_x=ras[0], srow_y=ras[1], srow_z=ras[2])
    np.testing.assert_array_equal(scan.affine, las)
    assert scan_with(brains, tmp_path / name, las, 0, 0).affine is None
    assert scan_with(brains, tmp_path / name, las, 0, 0, srow_x=np.nan, quatern_b=9).affine is None


def test_forms_that_point_in_different_ways_leave_no_affine(brains, tmp_path):
    ras = brains.centred(SHAPE, "RAS")
    fields = {"srow_x": ras[0], "srow_y": ras[1], "srow_z": ras[2]}
    assert scan_with(brains, tmp_path / "scan.nii", brains.centred(SHAPE), 4, 1, **fields).affine is None


@NAMES
def test_sform_decides_where_both_are_good(brains, tmp_path, name):
    scan = scan_with(brains, tmp_path / name, brains.centred(SHAPE), 4, 1, qoffset_x=55, quatern_b=0.1, quatern_c=0.99)
    np.testing.assert_array_equal(scan.affine, brains.centred(SHAPE))
    assert scan.notes == ()


@NAMES
@pytest.mark.parametrize(
    "fields",
    [
        {"quatern_b": 1.2},
        {"quatern_c": np.nan},
        {"quatern_d": np.inf},
        {"pixdim": (3, 2, 2, 2, 1, 1, 1, 1)},
        {"pixdim": (np.nan, 2, 2, 2, 1, 1, 1, 1)},
        {"pixdim": (1, -2, 2, 2, 1, 1, 1, 1)},
        {"pixdim": (1, 2, 2, 0, 1, 1, 1, 1)},
        {"qoffset_y": np.nan},
    ],
)
def test_a_good_sform_decides_where_the_qform_is_damaged(brains, tmp_path, name, fields):
    scan = scan_with(brains, tmp_path / name, brains.centred(SHAPE), 4, 1, **fields)
    np.testing.assert_array_equal(scan.affine, brains.centred(SHAPE))
    assert scan.notes == (f"{scan.path}: the header's qform is damaged and was ignored; its sform was used",)
    with pytest.raises(InputError, match=r"the header's affine \(qform\) is damaged"):
        scan_with(brains, tmp_path / name, brains.centred(SHAPE), 0, 1, **fields)


@NAMES
@pytest.mark.parametrize(
    "fields",
    [
        {"srow_x": 0, "srow_y": 0, "srow_z": 0},
        {"srow_x": np.nan},
        {"srow_z": (0, 0, np.inf, 0)},
        {"srow_y": (-2, 0, 0, 9)},
        {"srow_x": (-2, 2, 0, 6), "srow_y": (-2, 2.0001, 0, 9)},
        {"srow_y": 0},
        {"srow_x": (-2, 0, 0, 1e30)},
        {"srow_x": (1e-20, 0, 0, 6)},
    ],
)
def test_a_good_qform_decides_where_the_sform_is_damaged(brains, tmp_path, name, fields):
    scan = scan_with(brains, tmp_path / name, brains.centred(SHAPE), 4, 1, **fields)
    np.testing.assert_array_equal(scan.affine, brains.centred(SHAPE))
    assert scan.notes == (f"{scan.path}: the header's sform is damaged and was ignored; its qform was used",)
    with pytest.raises(InputError, match=r"the header's affine \(sform\) is damaged"):
        scan_with(brains, tmp_path / name, brains.centred(SHAPE), 4, 0, **fields)
    with pytest.raises(InputError, match=r"the header's affine \(sform and qform\) is damaged") as error:
        scan_with(brains, tmp_path / name, brains.centred(SHAPE), 4, 1, **fields, quatern_b=5)
    assert "\n" not in str(error.value)


@NAMES
@pytest.mark.parametrize("forms", [(0, 1), (4, 1)])
def test_a_quaternion_a_little_too_long_is_one_of_length_1(brains, tmp_path, name, forms):
    """Nibabel refuses it: 1 minus the square of its length is -4e-7."""
    assert -5e-7 < 1 - sum(np.float32(part).astype(float) ** 2 for part in LONG) < -3.6e-7
    half_turn = np.array([(0, 2, 0, -4), (2, 0, 0, 5), (0, 0, -2, 6), (0, 0, 0, 1.0)])
    fields = {f"quatern_{part}": value for part, value in zip("bcd", LONG, strict=True)}
    scan = scan_with(brains, tmp_path / name, half_turn, *forms, **fields)
    np.testing.assert_allclose(scan.affine, half_turn, rtol=0, atol=1e-6)
    assert scan.notes == ()


@NAMES
def test_a_qfac_of_0_means_1(brains, tmp_path, name):
    ras = brains.centred(SHAPE, "RAS")
    for forms in ((4, 0), (4, 1), (0, 1)):
        scan = scan_with(brains, tmp_path / name, ras, *forms, pixdim=(0, 2, 2, 2, 1, 1, 1, 1))
        np.testing.assert_array_equal(scan.affine, ras)
        assert scan.notes == ()


@NAMES
def test_a_qfac_of_0_beside_a_good_sform_is_the_sforms(brains, tmp_path, name):
    """FSL's grids are left-handed, and a writer that knows no qfac leaves 0 where -1 is right."""
    pixdim = (0, 2, 2, 2, 1, 1, 1, 1)
    for codes in ("LAS", "LPI", "PSR"):
        affine = brains.centred(SHAPE, codes)
        scan = scan_with(brains, tmp_path / name, affine, 4, 1, pixdim=pixdim)
        np.testing.assert_array_equal(scan.affine, affine)
        assert scan.notes == ()
    # What qfac has no say in has to agree all the same.
    ras = brains.centred(SHAPE, "RAS")
    scan = scan_with(brains, tmp_path / name, ras, 4, 1, pixdim=pixdim, srow_x=-ras[0], srow_y=-ras[1])
    assert scan.affine is None


@NAMES
@pytest.mark.parametrize(("unit", "word", "factor"), [(1, "metres", 1e-3), (3, "microns", 1e3)])
@pytest.mark.parametrize("forms", [(4, 0), (0, 1)])
def test_metres_and_microns_become_mm(brains, tmp_path, name, unit, word, factor, forms):
    affine = brains.centred(SHAPE)
    stored = np.diag([factor, factor, factor, 1]) @ affine
    scan = scan_with(brains, tmp_path / name, stored, *forms, xyzt_units=unit + 8)
    np.testing.assert_allclose(scan.affine, affine, rtol=1e-6)
    assert scan.notes == (f"{scan.path}: the header's affine is in {word}; it was converted to mm",)


@pytest.mark.parametrize("unit", [0, 2, 4, 7])
def test_other_units_are_mm(brains, tmp_path, unit):
    scan = scan_with(brains, tmp_path / "scan.nii", brains.centred(SHAPE), 4, 1, xyzt_units=unit)
    np.testing.assert_array_equal(scan.affine, brains.centred(SHAPE))
    assert scan.notes == ()


@pytest.mark.parametrize(("unit", "word"), [(1, "metres"), (3, "microns")])
def test_a_unit_that_cannot_be_meant_is_mm(brains, tmp_path, unit, word):
    scan = scan_with(brains, tmp_path / "scan.nii", brains.centred(SHAPE), 4, 1, xyzt_units=unit)
    np.testing.assert_array_equal(scan.affine, brains.centred(SHAPE))
    assert scan.notes == (f"{scan.path}: the header states voxels of 2 x 2 x 2 {word}; mm was assumed as the unit",)
