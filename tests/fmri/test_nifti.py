"""NIfTI files: what is read equals what nibabel reads, and no damaged or hostile file gets further than one line."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError, SwiftExportError, UsageError
from swift_export.fmri.nifti import open_nifti, read_mask

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


def test_missing_orientation_codes_leave_no_affine(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run(SHAPE))
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)
    path.write_bytes(content)
    assert open_nifti(path).affine is None


def test_forms_that_disagree_leave_no_affine(brains, tmp_path):
    import nibabel as nib

    image = nib.Nifti1Image(brains.run(SHAPE), brains.centred(SHAPE))
    image.set_sform(brains.centred(SHAPE, "RAS"), code=4)
    image.set_qform(brains.centred(SHAPE, "LAS"), code=1)
    nib.save(image, tmp_path / "run.nii")
    assert open_nifti(tmp_path / "run.nii").affine is None


def test_a_form_without_code_is_not_looked_at(brains, tmp_path):
    import nibabel as nib

    image = nib.Nifti1Image(brains.run(SHAPE), None)
    image.set_sform(brains.centred(SHAPE, "RAS"), code=0)
    image.set_qform(brains.centred(SHAPE, "LAS"), code=1)
    nib.save(image, tmp_path / "run.nii")
    np.testing.assert_array_equal(open_nifti(tmp_path / "run.nii").affine, brains.centred(SHAPE, "LAS"))


# Damaged and hostile files.


@pytest.mark.parametrize(
    "content",
    [b"", b"\x5c", b"not a scan\n" * 100, bytes(1000), b"\x1f\x8b", b"\x1f\x8bnot gzip", gzip.compress(b"text")],
    ids=["empty", "one byte", "text", "zeros", "gzip magic", "bad gzip", "text in gzip"],
)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_what_is_no_nifti_is_one_line(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: .*(no NIfTI header|damaged or truncated)") as error:
        open_nifti(tmp_path / name)
    assert "\n" not in str(error.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"absent\.nii: cannot be read: No such file"):
        open_nifti(tmp_path / "absent.nii")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        open_nifti(tmp_path)


def test_header_and_image_in_two_files_is_refused(brains, tmp_path):
    import nibabel as nib

    nib.save(nib.Nifti1Pair(brains.run(SHAPE), brains.centred(SHAPE)), tmp_path / "run.img")
    with pytest.raises(InputError, match="single-file NIfTI"):
        open_nifti(tmp_path / "run.hdr")


def test_truncated_file_is_found_by_its_size(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run(SHAPE))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"more than a file of .* can hold; it is truncated"):
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
    with pytest.raises(InputError, match="ends within frame 2 of 4"):
        list(open_nifti(path).volumes())


@pytest.mark.parametrize(
    ("offset", "field", "message"),
    [
        (40, struct.pack("<8h", 4, 32767, 32767, 32767, 32767, 1, 1, 1), "claims shape"),
        (40, struct.pack("<8h", 4, 300, 300, 300, 30000, 1, 1, 1), "more than a file"),
        (40, struct.pack("<8h", 4, 6, 7, -5, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 4, 6, 7, 0, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 0, 6, 7, 5, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 1000, 6, 7, 5, 4, 1, 1, 1), "dimensions"),
        (40, struct.pack("<8h", 5, 6, 7, 5, 2, 2, 1, 1), "three axes of a volume and time"),
        (40, struct.pack("<8h", 2, 6, 7, 1, 1, 1, 1, 1), "three axes of a volume and time"),
        (70, struct.pack("<h", 32), "expected integers or floats .* found NIfTI data type 32"),
        (70, struct.pack("<h", 128), "expected integers or floats"),
        (70, struct.pack("<h", 999), "data type 999"),
        (108, struct.pack("<f", 1e30), "values at byte 1e"),
        (108, struct.pack("<f", float("nan")), "values at byte nan"),
        (108, struct.pack("<f", 12), "values at byte 12"),
        (112, struct.pack("<2f", 2, float("inf")), "scaling is damaged"),
        (280, struct.pack("<4f", float("nan"), 0, 0, 0), "affine .* is damaged"),
        (280, bytes(48), "affine .* is damaged"),
        (344, b"ni1\0", "single-file NIfTI"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_damaged_header_fields(brains, tmp_path, offset, field, message, compressed):
    content = bytearray(brains.write(tmp_path / "run.nii", brains.run(SHAPE)).read_bytes())
    content[offset : offset + len(field)] = field
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(gzip.compress(content) if compressed else content)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(InputError, match=message):
        list(open_nifti(path).volumes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6, "what a header claims must not be allocated before it is checked"
    assert time.process_time() - began < 60


def test_any_flipped_header_bytes_end_in_values_or_in_one_line(brains, tmp_path):
    whole = brains.write(tmp_path / "run.nii", brains.run(SHAPE)).read_bytes()
    path = tmp_path / "flipped.nii"
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(400):
        content = bytearray(whole)
        for place in rng.integers(0, 352, rng.integers(1, 12)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        with np.errstate(all="ignore"):
            try:
                list(open_nifti(path).volumes())
            except SwiftExportError as error:
                lines.append(str(error))
    assert 50 < len(lines) < 400
    assert not any("\n" in line for line in lines)


# Masks.


@pytest.fixture
def scan(brains, tmp_path):
    return open_nifti(brains.write(tmp_path / "run.nii", brains.run(SHAPE)))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_mask_is_what_is_not_zero(brains, tmp_path, scan, dtype):
    inside = np.random.default_rng(1).random(SHAPE[:3]) < 0.4
    path = brains.write(tmp_path / "mask.nii.gz", inside.astype(dtype))
    np.testing.assert_array_equal(read_mask(path, scan), inside)


def test_mask_with_a_fourth_axis_of_one(brains, tmp_path, scan):
    inside = np.zeros((*SHAPE[:3], 1), np.uint8)
    inside[2:4] = 1
    np.testing.assert_array_equal(read_mask(brains.write(tmp_path / "m.nii", inside), scan), inside[..., 0] != 0)


def test_masks_that_do_not_fit(brains, tmp_path, scan):
    def refused(values: np.ndarray, message: str, affine: np.ndarray | None = None, kind: type = InputError) -> None:
        path = brains.write(tmp_path / "mask.nii", values, affine)
        with pytest.raises(kind, match=message):
            read_mask(path, scan)

    half = np.zeros(SHAPE[:3], np.float32)
    half[3:] = 1
    refused(half[1:], r"mask's grid is \(5, 7, 5\), the scan's \(6, 7, 5\)")
    shifted = brains.centred(SHAPE)
    shifted[0, 3] += 2
    refused(half, r"up to 2\.00 mm", shifted)
    refused(half, "up to", brains.centred(SHAPE, "RAS"))
    refused(half * 0.7, "threshold a probability map")
    refused(half * np.nan, "whole numbers")
    refused(half * 0, "holds no voxel")
    refused(half * 0 + 1, "holds every voxel")
    refused(brains.run(SHAPE), "is it the scan itself", kind=UsageError)


def test_mask_affine_may_differ_by_rounding(brains, tmp_path, scan):
    half = np.zeros(SHAPE[:3], np.uint8)
    half[3:] = 1
    assert read_mask(brains.write(tmp_path / "m.nii", half, brains.centred(SHAPE) + 1e-5), scan).sum() == half.sum()


def test_a_gzip_bomb_costs_no_memory(brains, tmp_path):
    header = bytearray(brains.write(tmp_path / "run.nii", brains.run(SHAPE)).read_bytes()[:352])
    header[40:56] = struct.pack("<8h", 4, 100, 100, 100, 150, 1, 1, 1)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        file.write(header)
        for _ in range(150):
            file.write(bytes(4_000_000))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(packed.getvalue())
    assert path.stat().st_size < 1e6
    tracemalloc.start()
    frames = sum(1 for volume in open_nifti(path).volumes() if volume.shape == (100, 100, 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames == 150
    assert peak < 40e6
