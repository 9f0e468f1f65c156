"""From a file's path to the array that the model takes: real fMRI, one brain on two grids, prepared arrays."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys

import numpy as np
import pytest

from swift_export.errors import ArchitectureError, InputError, UsageError
from swift_export.models.swift.clip import load_clip
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.variants import VARIANTS
from swift_export.scans.placement import parse_placement
from swift_export.scans.scan import Reading, open_scan

FULL = VARIANTS["contrastive"].config
SMALL = SwiFTConfig(
    img_size=(12, 18, 12, 4),
    in_chans=1,
    embed_dim=12,
    window_size=(4, 4, 4, 4),
    first_window_size=(4, 4, 4, 4),
    patch_size=(6, 6, 6, 1),
    depths=(2,),
    num_heads=(3,),
    c_multiplier=2,
    last_layer_full_MSA=True,
)


@pytest.mark.requires("fmri")
def test_one_brain_on_two_grids_is_one_clip(brains, tmp_path):
    fsl, asym = brains.write_lopsided(tmp_path, frames=5)
    one, two = (load_clip(path, FULL, frames=3, start=1, placement="ukb") for path in (fsl, asym))
    assert one.array.shape == (1, 1, 96, 96, 96, 3)
    np.testing.assert_array_equal(one.array, two.array)
    mirrored = load_clip(asym, FULL, frames=3, start=1, placement="0,-1,-10,-9,0,-1", orientation="keep").array
    assert np.abs(mirrored - one.array).max() > 1, "the brain must be lopsided, or this test could not fail"
    # (-90, -18, 18) mm lies in both grids and outside the brain; (66, 30, 20) mm is in the bulge on the right.
    assert one.array[0, 0, 48 + 45, 48 - 1, 48, 0] == one.array.min()
    assert one.array[0, 0, 48 - 33, 48 + 23, 48 + 1, 0] > one.array.min()
    assert one.array[0, 0, 48 + 33, 48 + 23, 48 + 1, 0] == one.array.min()


@pytest.mark.requires("fmri")
def test_real_scan_needs_words_of_its_user(brains, tmp_path):
    """Nibabel's example is of 4 x 4 x 8 mm and holds air: it has to be taken as stored, with paddings and a mask."""
    path = brains.functional()
    with pytest.raises(InputError, match=r"found 4 x 4 x 8 mm.*resample") as error:
        load_clip(path, FULL, placement="hcp")
    assert "keep" not in str(error.value)
    with pytest.raises(InputError, match=r"voxels for placement hcp .*, found 17x21x3"):
        load_clip(path, FULL, placement="hcp", orientation="keep")
    told: list[str] = []
    stored = {"placement": "40,39,38,37,47,46", "orientation": "keep", "warn": told.append}
    with pytest.raises(InputError, match=r"found 100% non-zero values.*--mask"):
        load_clip(path, FULL, **stored)
    mask = brains.threshold_mask(path, tmp_path / "mask.nii.gz", 3700)
    told.clear()
    clip = load_clip(path, FULL, mask=mask, **stored)
    assert any("the brain measures" in line for line in told), "17 x 21 x 3 voxels are no brain"

    import nibabel as nib

    run = nib.load(path).get_fdata()
    inside = run.mean(axis=3) > 3700
    signal = run[inside]
    z = np.where(inside[..., None], run, signal.min())
    z = (z - signal.mean()) / signal.std(ddof=1)
    np.testing.assert_allclose(clip.array[0, 0, 40:57, 38:59, 47:50], z, rtol=0, atol=1e-6)
    assert np.count_nonzero(clip.array != clip.array.min()) <= signal.size
    assert clip.provenance["mask"] == "mask.nii.gz"
    np.testing.assert_allclose(clip.provenance["mean"], signal.mean(), rtol=1e-12)


@pytest.mark.requires("fmri")
def test_provenance_is_json_and_names_no_folder(brains, tmp_path):
    path = brains.write(tmp_path / "sub-01_bold.nii.gz", brains.run((9, 11, 7, 6)))
    clip = load_clip(str(path), SMALL, start=2, placement="0,-18,18", warn=lambda _: None)
    assert clip.name == "sub-01_bold.nii.gz"
    told = json.loads(json.dumps(clip.provenance))
    assert str(tmp_path) not in json.dumps(told)
    assert (told["start"], told["frames"], told["grid"], told["orientation"]) == (2, 4, [9, 11, 7, 6], "LAS")
    assert (told["placement"], told["starts"], told["drop_frames"]) == ("0,-18,18", [2], [0, 0])
    assert told["sha256"] == hashlib.sha256(clip.array.tobytes()).hexdigest()


@pytest.mark.requires("fmri")
def test_a_clip_is_the_first_window(brains, tmp_path):
    path = brains.timed(tmp_path / "run.nii.gz", brains.run((9, 11, 7, 30)), 2.0)
    how = {"start": 2, "drop_frames": (3, 1), "stride": 2, "resample_tr": 1.0}
    clip = load_clip(path, SMALL, placement="0,-18,18", warn=lambda _: None, **how)
    reading = Reading(parse_placement("0,-18,18"), windows=1, **how)
    with open_scan(path, reading, SMALL.img_size[:3], 4, warn=lambda _: None) as scan:
        np.testing.assert_array_equal(clip.array[0, 0], scan.window(0))
        assert {name: clip.provenance[name] for name in scan.facts if name != "frames"} == {
            name: value for name, value in scan.facts.items() if name != "frames"
        }
    with pytest.raises(InputError, match=r"\(an error because of --strict\)"):
        load_clip(path, SMALL, placement="0,-18,18", strict=True)
    # A placement brings the frames that its data set left out.
    as_hcp = load_clip(path, SMALL, placement="hcp", allow_crop=True, warn=lambda _: None)
    assert as_hcp.provenance["drop_frames"] == [10, 10]


def test_a_folder_of_frames_is_an_input(torch_file, tmp_path):
    frames = np.random.default_rng(0).standard_normal((5, 7, 4, 6)).astype(np.float16)
    frames[0, 0, 0] = frames.min()
    for number in range(6):
        tensor = torch_file.Tensor(np.ascontiguousarray(frames[..., number, None]))
        torch_file.write(tmp_path / f"frame_{number}.pt", tensor)
    clip = load_clip(tmp_path, SMALL, placement="4,3,5,6,5,3", start=1)
    np.testing.assert_array_equal(clip.array[0, 0, 4:9, 5:12, 5:9], frames[..., 1:5])
    assert (clip.provenance["kind"], clip.provenance["start"]) == ("frames", 1)


@pytest.mark.parametrize("name", ["run.nii", "folder"])
def test_where_voxels_go_has_to_be_said(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=rf"{name}: the placement depends on the training data; .* hcp, ukb, abcd"):
        load_clip(tmp_path / name, SMALL)
    with pytest.raises(UsageError, match="--placement mni: expected hcp, ukb, abcd"):
        load_clip(tmp_path / name, SMALL, placement="mni")


@pytest.mark.requires("fmri")
def test_frames_beyond_the_models_are_refused(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run((9, 11, 7, 30)))
    with pytest.raises(ArchitectureError, match="expected 1 to 20"):
        load_clip(path, FULL, frames=21, placement="hcp")
    with pytest.raises(UsageError, match="--start -1: expected a frame number of at least 0"):
        load_clip(path, SMALL, start=-1, placement="0,-18,18", warn=lambda _: None)


@pytest.mark.parametrize("name", ["scan.mgz", "scan.nii.bz2", "scan", "scan.npz"])
def test_other_files_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name}: expected a NIfTI run \(.nii, .nii.gz\), a folder of frame_N"):
        load_clip(tmp_path / name, SMALL)


def test_nifti_without_nibabel_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UsageError, match=r"pip install 'swift-export\[fmri\]'"):
        load_clip(tmp_path / "scan.nii", SMALL, placement="hcp")


# Prepared arrays.


def prepared(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 12, 18, 12, 4), (3, 1, 12, 18, 12, 4), (2, 1, 12, 18, 12, 9)])
def test_prepared_arrays_are_taken_as_they_are(tmp_path, shape, dtype, order):
    stored = np.asarray(prepared(*shape, dtype=dtype), order=order)
    np.save(tmp_path / "clip.npy", stored)
    clip = load_clip(tmp_path / "clip.npy", SMALL)
    assert clip.array.dtype == np.float32
    assert clip.array.flags.c_contiguous
    np.testing.assert_array_equal(clip.array, stored.reshape(-1, *shape[-5:])[..., :4].astype(np.float32))


def test_the_first_clips_of_a_batch(tmp_path):
    stored = prepared(5, 1, 12, 18, 12, 4)
    np.save(tmp_path / "clips.npy", stored)
    np.testing.assert_array_equal(load_clip(tmp_path / "clips.npy", SMALL, most=2).array, stored[:2])
    np.testing.assert_array_equal(load_clip(tmp_path / "clips.npy", SMALL, most=9).array, stored)
    # A clip after those that are taken is not read.
    stored[3] = np.nan
    np.save(tmp_path / "clips.npy", stored)
    assert load_clip(tmp_path / "clips.npy", SMALL, most=3).array.shape[0] == 3
    with pytest.raises(InputError, match="NaN or infinite"):
        load_clip(tmp_path / "clips.npy", SMALL)


def test_frames_of_a_prepared_array(tmp_path):
    stored = prepared(1, 12, 18, 12, 9)
    np.save(tmp_path / "clip.npy", stored)
    np.testing.assert_array_equal(load_clip(tmp_path / "clip.npy", SMALL, 3, start=6).array[0], stored[..., 6:])
    with pytest.raises(InputError, match=r"at least 10 frames \(4 from frame 6\), found 9"):
        load_clip(tmp_path / "clip.npy", SMALL, start=6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (prepared(12, 18, 12, 4), r"expected shape \(1, 12, 18, 12, frames\)"),
        (prepared(1, 12, 12, 18, 4), "expected shape"),
        (prepared(1, 4, 12, 18, 12), "expected shape"),
        (prepared(2, 12, 18, 12, 4), "expected shape"),
        (prepared(1, 12, 18, 12, 3), "at least 4 frames"),
        (np.zeros((0, 1, 12, 18, 12, 4), np.float32), "expected values of shape"),
        (np.ones((1, 12, 18, 12, 4), np.int16), "expected float16, float32 or float64 values, found int16"),
        (np.ones((1, 12, 18, 12, 4), np.complex64), "found complex64"),
        (np.full((1, 12, 18, 12, 4), 1e300), "found 10368 NaN or infinite in float32"),
        (
            np.where(np.arange(10368) == 4 * 12, np.nan, 1.0).reshape(1, 12, 18, 12, 4),
            r"found 1 .* \(0, 0, 0, 1, 0, 0\)",
        ),
    ],
)
def test_prepared_arrays_that_do_not_fit(tmp_path, array, message):
    np.save(tmp_path / "clip.npy", array)
    with pytest.raises(InputError, match=message) as error:
        load_clip(tmp_path / "clip.npy", SMALL)
    assert "\n" not in str(error.value)


class Sentinel:
    """What a hostile .npy would run; the test sees whether it did."""

    ran = False

    def __reduce__(self):
        return setattr, (Sentinel, "ran", True)


def npy(header: str, body: bytes = b"") -> bytes:
    file = io.BytesIO()
    file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body)
    return file.getvalue()


HOSTILE = {
    "empty": b"",
    "magic": b"\x93NUMPY",
    "text": b"text, not an array",
    "pickle": pickle.dumps(Sentinel()),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([Sentinel()])),
    "huge": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1000000, 1000000, 1000000, 4), }"),
    "overflow": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }"),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 12, 18, 12, 4), }", bytes(100)),
    "truncated": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 12, 18, 12, 4), }", bytes(41471)),
    "call": npy("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,), }"),
    "long": npy("(" * 60000),
    "brackets": npy("(" * 9000),
    "minuses": npy("-" * 9000 + "1"),
    "unclosed": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 12, 18, 12, 4L), "),
    "quotes": npy("'''"),
    "version 3": b"\x93NUMPY\x03\x00" + npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }")[8:],
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_damaged_and_hostile_arrays(tmp_path, content):
    (tmp_path / "clip.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.npy: ") as error:
        load_clip(tmp_path / "clip.npy", SMALL)
    assert "\n" not in str(error.value)
    assert not Sentinel.ran


def test_mask_with_a_prepared_array_is_a_mistake(tmp_path):
    np.save(tmp_path / "clip.npy", prepared(1, 12, 18, 12, 4))
    with pytest.raises(UsageError, match="--mask applies only to NIfTI"):
        load_clip(tmp_path / "clip.npy", SMALL, mask=tmp_path / "mask.nii")
