"""NIfTI files: what is read equals what nibabel reads, and no damaged or hostile file gets further than one line."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.scans.nifti import open_nifti

pytestmark = pytest.mark.requires("fmri")

SHAPE = (6, 7, 5, 4)


def values_of(path: Path) -> np.ndarray:
    return np.stack(list(open_nifti(path).volumes()), axis=-1)


@pytest.mark.parametrize("name", ["run.nii", "run.nii.gz", "nifti2.nii", "nifti2.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "<i4", "float32", "float64"])
def test_values_and_affine_are_nibabels(brains, tmp_path, name, dtype):
    import nibabel as nib

    path = brains.write(tmp_path / name, (brains.run(SHAPE) / 8).astype(dtype))
    scan, image = open_nifti(path), nib.load(path)
    assert scan.shape == SHAPE
    np.testing.assert_array_equal(scan.affine, image.affine)
    np.testing.assert_array_equal(values_of(path), image.get_fdata())


def test_scaling_and_byte_order_of_the_header_are_applied(brains, tmp_path):
    import nibabel as nib

    stored = np.random.default_rng(0).integers(-3000, 3000, SHAPE).astype(np.int16)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(stored, brains.centred(SHAPE), header)
    image.header.set_slope_inter(0.0754, 3100.76)
    nib.save(image, tmp_path / "run.nii")
    assert (tmp_path / "run.nii").read_bytes()[:4] == struct.pack(">i", 348)
    np.testing.assert_array_equal(values_of(tmp_path / "run.nii"), nib.load(tmp_path / "run.nii").get_fdata())
    np.testing.assert_allclose(values_of(tmp_path / "run.nii"), stored * 0.0754 + 3100.76, rtol=1e-6)


def test_real_scan_with_scaled_integers(brains):
    import nibabel as nib

    np.testing.assert_array_equal(values_of(brains.functional()), nib.load(brains.functional()).get_fdata())


def test_compression_is_told_by_content(brains, tmp_path):
    plain = brains.write(tmp_path / "plain.nii", brains.run(SHAPE))
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(values_of(tmp_path / "packed.nii"), values_of(plain))


# Oddities that are read.


@pytest.mark.parametrize("dims", [(5, 6, 7, 5, 1, 4, 1, 1), (6, 6, 7, 5, 1, 1, 4, 1), (5, 6, 7, 5, 4, 1, 1, 1)])
def test_time_behind_an_axis_of_one_place(brains, tmp_path, dims):
    run = brains.run(SHAPE)
    path = brains.patch(brains.write(tmp_path / "run.nii", run), dim=dims)
    assert open_nifti(path).shape == SHAPE
    np.testing.assert_array_equal(values_of(path), run)


@pytest.mark.parametrize("axes", [3, 4, 5, 7])
def test_one_volume_however_many_axes_it_is_stored_with(brains, tmp_path, axes):
    volume = brains.run(SHAPE)[..., 0]
    path = brains.patch(brains.write(tmp_path / "one.nii", volume), dim=(axes, 6, 7, 5, 1, 1, 1, 1))
    assert open_nifti(path).shape == ((6, 7, 5) if axes == 3 else (6, 7, 5, 1))
    np.testing.assert_array_equal(values_of(path)[..., 0], volume)


@pytest.mark.parametrize("name", ["run.nii", "nifti2.nii"])
def test_size_field_of_the_header_may_be_wrong(brains, tmp_path, name):
    run = brains.run(SHAPE)
    path = brains.patch(brains.write(tmp_path / name, run), sizeof_hdr=0)
    np.testing.assert_array_equal(values_of(path), run)


@pytest.mark.parametrize(
    ("step", "unit", "seconds"),
    [
        (0.72, 8, 0.72),
        (720, 16, 0.72),
        (735000, 24, 0.735),
        (0.8, 0, 0.8),
        (800, 0, 0.8),
        (30, 0, 30),
        (0.05, 0, 0.05),
        (0.01, 0, None),
        (40000, 0, None),
        (0.72, 16, None),
        (720, 8, None),
        (0, 8, None),
        (-0.8, 8, None),
        (np.nan, 8, None),
        (np.inf, 0, None),
        (0.8, 32, None),
        (0.8, 40, None),
        (0.8, 48, None),
    ],
)
@pytest.mark.parametrize("name", ["run.nii", "nifti2.nii"])
def test_repetition_time_in_seconds(brains, tmp_path, name, step, unit, seconds):
    zooms = (1, 2, 2, 2, step, 1, 1, 1)
    path = brains.patch(brains.write(tmp_path / name, brains.run(SHAPE)), pixdim=zooms, xyzt_units=2 + unit)
    assert open_nifti(path).repetition_time == seconds


def test_frames_beyond_the_headers_are_told(brains, tmp_path):
    run = brains.run(SHAPE)
    path = brains.patch(brains.write(tmp_path / "run.nii", run), dim=(4, 6, 7, 5, 3, 1, 1, 1))
    packed = tmp_path / "packed.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        said = []
        np.testing.assert_array_equal(np.stack(list(open_nifti(file).volumes(said.append)), axis=-1), run[..., :3])
        assert said == [
            f"{file}: the file continues after the 3 frames in its header; only these are read; check the header"
        ]


def test_a_few_bytes_behind_the_last_frame_are_not_worth_a_word(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run(SHAPE))
    path.write_bytes(path.read_bytes() + bytes(6 * 7 * 5 * 4 - 1))
    said = []
    assert sum(1 for _ in open_nifti(path).volumes(said.append)) == 4
    assert not said


def test_stored_bytes_and_their_decoding(brains, tmp_path):
    stored = np.random.default_rng(0).integers(-3000, 3000, SHAPE).astype(np.int16)
    path = brains.patch(brains.write(tmp_path / "run.nii", stored), scl_slope=0.5, scl_inter=7)
    scan = open_nifti(path)
    raw = list(scan.raw_volumes())
    assert raw == [stored[..., frame].tobytes(order="F") for frame in range(4)]
    values = scan.decode(memoryview(raw[2]))
    assert values.dtype == np.float64
    assert values.flags.f_contiguous
    np.testing.assert_array_equal(values, stored[..., 2] * 0.5 + 7)


def test_values_that_overflow_are_infinite_without_a_warning(brains, tmp_path):
    path = brains.write(tmp_path / "nifti2.nii", brains.run(SHAPE))
    values = values_of(brains.patch(path, scl_slope=1e308))
    assert np.isinf(values).sum() == np.count_nonzero(brains.run(SHAPE))


def test_as_stored_reads_no_affine(brains, tmp_path):
    path = brains.patch(brains.write(tmp_path / "run.nii", brains.run(SHAPE)), srow_x=np.nan, xyzt_units=1)
    scan = open_nifti(path, as_stored=True)
    assert scan.affine is None
    assert scan.notes == ()


# Damaged and hostile files.


def test_truncated_file_is_found_by_its_size(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run(SHAPE))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"as the header states, found a file of .* it is truncated"):
        open_nifti(path)


def test_truncated_and_damaged_gzip_are_found_in_reading(brains, tmp_path):
    whole = brains.write(tmp_path / "whole.nii.gz", brains.run(SHAPE)).read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "no checksum": whole[:-8],
        "wrong checksum": whole[:-8] + bytes(4) + whole[-4:],
        "flipped": whole[:900] + bytes([whole[900] ^ 64]) + whole[901:],
    }.items():
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}\.nii\.gz: the compressed file is damaged"):
            list(open_nifti(path).volumes())


def test_gzip_that_ends_before_the_last_frame(brains, tmp_path):
    plain = brains.write(tmp_path / "plain.nii", brains.run(SHAPE)).read_bytes()
    path = tmp_path / "short.nii.gz"
    path.write_bytes(gzip.compress(plain[: 352 + 4 * 6 * 7 * 5 * 2 + 9]))
    with pytest.raises(InputError, match=r"expected 4 frames, .* found the end of the file within frame 2"):
        list(open_nifti(path).volumes())


@pytest.mark.parametrize(
    ("offset", "field", "message"),
    [
        (40, struct.pack("<8h", 4, 32767, 32767, 32767, 32767, 1, 1, 1), "found shape"),
        (40, struct.pack("<8h", 4, 300, 300, 300, 30000, 1, 1, 1), "as the header states, found a file of"),
        (40, struct.pack("<8h", 4, 6, 7, -5, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 4, 6, 7, 0, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 0, 6, 7, 5, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 1000, 6, 7, 5, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 5, 6, 7, 5, 2, 2, 1, 1), "three spatial axes and time"),
        (40, struct.pack("<8h", 2, 6, 7, 1, 1, 1, 1, 1), "three spatial axes and time"),
        (70, struct.pack("<h", 32), "expected integers or floats .* found NIfTI data type 32"),
        (70, struct.pack("<h", 128), "expected integers or floats"),
        (70, struct.pack("<h", 999), "data type 999"),
        (108, struct.pack("<f", 1e30), "offset of the values, byte 1e"),
        (108, struct.pack("<f", float("nan")), "offset of the values, byte nan"),
        (108, struct.pack("<f", 12), "offset of the values, byte 12"),
        (112, struct.pack("<2f", 2, float("inf")), "scaling is damaged"),
        (280, struct.pack("<4f", float("nan"), 0, 0, 0), "affine .* is damaged"),
        (280, bytes(48), "affine .* is damaged"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_damaged_header_fields(brains, tmp_path, offset, field, message, compressed):
    content = bytearray(brains.write(tmp_path / "run.nii", brains.run(SHAPE)).read_bytes())
    content[offset : offset + len(field)] = field
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(gzip.compress(content) if compressed else content)
    tracemalloc.start()
    with pytest.raises(InputError, match=message):
        list(open_nifti(path).volumes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6, "what a header claims must not be allocated before it is checked"
