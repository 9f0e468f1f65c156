"""One brain on many grids of one lattice, in every orientation and type: one clip, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.scans.placement import PLACEMENTS, parse_placement
from swift_export.scans.scan import Reading, open_scan

pytestmark = pytest.mark.requires("fmri")

SIZE = (96, 96, 96)
#: Voxels of each grid, where its first one lies in RAS, as which axes it is stored, and in which type.
GRIDS = {
    "FSL's": ((91, 109, 91), (-90, -126, -72), "LAS", "int16"),
    "MNI152NLin2009cAsym's": ((97, 115, 97), (-96, -132, -78), "RAS", "float32"),
    "MNIPediatricAsym's": ((99, 117, 95), (-98, -134, -72), "RAS", "int16"),
    "SPM's": ((79, 95, 79), (-78, -112, -70), "LAS", "float32"),
    "HCP's crop": ((75, 93, 81), (-74, -110, -72), "PIR", "int16"),
    "the brain's box": ((74, 88, 70), (-74, -108, -60), "SLP", "float32"),
}


def write(brains, folder, name: str, frames: int):
    """The lopsided brain of ``brains.py`` on one of the grids."""
    import nibabel as nib

    shape, first, codes, dtype = GRIDS[name]
    affine = nib.affines.from_matvec(np.diag([2.0, 2, 2]), first)
    values = brains.lopsided(shape, affine, frames)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes))
    )
    stored = nib.orientations.apply_orientation(values if dtype == "float32" else (values * 4).astype(np.int16), turn)
    image = nib.Nifti1Image(stored, affine @ nib.orientations.inv_ornt_aff(turn, shape))
    if dtype == "int16":
        image.header.set_slope_inter(0.25, 0)
    path = folder / f"{shape[0]}.nii"
    nib.save(image, path)
    return path


def read(path, placement: str, **options):
    reading = Reading(parse_placement(placement), drop_frames=(0, 0), **options)
    with open_scan(path, reading, SIZE, 2, warn=pytest.fail) as scan:
        return scan.window(0), scan.facts


def test_one_brain_on_six_grids_is_one_clip(brains, tmp_path):
    paths = [write(brains, tmp_path, name, 2) for name in GRIDS]
    for placement in ("hcp", "ukb", "0,-18,18"):
        (first, facts), *others = (read(path, placement) for path in paths)
        for clip, found in others:
            np.testing.assert_array_equal(clip, first)
            for name in ("mean", "deviation", "background", "cut_voxels", "point", "placement", "orientation"):
                assert found[name] == facts[name]
        assert len({tuple(found["grid"]) for _, found in ((first, facts), *others)}) == len(GRIDS)
        # (66, 30, 20) mm is in the bulge on the right, (-66, 30, 20) mm is not, and x runs from right to left.
        px, py, pz = facts["point"]
        there, mirrored = ((48 - (x - px) // 2, 48 + (30 - py) // 2, 48 + (20 - pz) // 2) for x in (66, -66))
        assert (first[tuple(map(int, there))] > first.min()).all()
        assert (first[tuple(map(int, mirrored))] == first.min()).all()
    right, _ = read(paths[0], "ukb", orientation="RAS")
    left, _ = read(paths[0], "ukb")
    np.testing.assert_array_equal(right[1:], left[:0:-1])  # about index 48


def test_placements_are_one_another_shifted(brains, tmp_path):
    path = write(brains, tmp_path, "FSL's", 2)
    hcp, _ = read(path, "hcp")
    ukb, _ = read(path, "ukb")
    abcd, _ = read(path, "abcd")
    np.testing.assert_array_equal(hcp[:, 1:, 5:], ukb[:, :-1, :-5])  # (0, -2, 10) mm
    np.testing.assert_array_equal(hcp[1:, :, 2:], abcd[:0:-1, :, :-2])  # (0, 0, 4) mm, and the other side first
    assert PLACEMENTS["abcd"].note is not None


def test_a_brain_that_does_not_fit_is_refused_with_the_number_of_its_voxels(brains, tmp_path):
    path = write(brains, tmp_path, "FSL's", 2)
    whole = brains.lopsided(*brains.FSL, 2)
    _, facts = read(path, "ukb")
    assert facts["cut_voxels"] == 0
    # With this point at index 48, x runs from 86 mm at index 0 to -104 mm: shifted so far, the bulge is lost.
    shifted = "-40,-18,18"
    x = 90 - 2 * np.arange(91)
    lost = int(np.count_nonzero((whole != 0).any(axis=3) & ((x > 56) | (x < -134))[:, None, None]))
    assert lost > 1000
    with pytest.raises(InputError, match=rf"found {lost} non-zero voxels.*--allow-crop") as error:
        read(path, shifted)
    assert "\n" not in str(error.value)
    clip, facts = read_quietly(path, shifted, allow_crop=True)
    assert facts["cut_voxels"] == lost
    signal = whole[whole != 0].astype(np.float64)
    # A point of the user's own has no training box: statistics are those of the whole run.
    np.testing.assert_allclose((facts["mean"], facts["deviation"]), (signal.mean(), signal.std(ddof=1)), rtol=1e-9)
    assert clip.shape == (*SIZE, 2)


def read_quietly(path, placement: str, **options):
    reading = Reading(parse_placement(placement), drop_frames=(0, 0), **options)
    with open_scan(path, reading, SIZE, 2, warn=lambda _: None) as scan:
        return scan.window(0), scan.facts


def test_what_lies_outside_of_the_training_box_is_cut_or_refused(brains, tmp_path):
    """For a data set of the training, background is also what its arrays did not hold."""
    import nibabel as nib

    whole = brains.lopsided(*brains.FSL, 2)
    marked = whole.copy()
    marked[2, 50, 50] = 5000  # on the model's grid, at x = 86 mm, but not in HCP's crop
    path = tmp_path / "run.nii"
    nib.save(nib.Nifti1Image(marked, brains.FSL[1]), path)
    with pytest.raises(
        InputError, match=r"outside .* \(96x96x96, cropped to 75x93x81 as in training\), found 1 non-zero"
    ):
        read(path, "hcp")
    clip, facts = read(path, "hcp", allow_crop=True)
    assert facts["cut_voxels"] == 1
    nib.save(nib.Nifti1Image(whole, brains.FSL[1]), path)
    np.testing.assert_array_equal(clip, read(path, "hcp")[0])
    nib.save(nib.Nifti1Image(marked, brains.FSL[1]), path)
    assert read(path, "ukb")[0][5, 43, 53, 0] > 5  # ukb's arrays held it


def test_a_brain_that_goes_on_where_the_training_grid_ends_is_taken_whole(brains, tmp_path):
    """The cerebellum reaches below FSL's grid, which begins at z = -72 mm; fMRIPrep's begins at -78."""
    import nibabel as nib

    whole = brains.lopsided(*brains.ASYM, 2)
    whole[48, 40, 1] = 5000  # at (0, -52, -76) mm
    path = tmp_path / "run.nii"
    nib.save(nib.Nifti1Image(whole, brains.ASYM[1]), path)
    for placement, place in (("hcp", (48, 31, 6)), ("ukb", (48, 30, 1)), ("abcd", (48, 31, 4))):
        clip, facts = read(path, placement)
        assert facts["cut_voxels"] == 0
        signal = whole[whole != 0].astype(np.float64)
        z = (5000 - signal.mean()) / signal.std(ddof=1)
        np.testing.assert_allclose(clip[place], [z, z], rtol=1e-6)
