"""Files that are no NIfTI are called what they are, with what to do, on one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.scans.foreign import check_regular, explain_foreign
from swift_export.scans.nifti import open_nifti

SHAPE = (6, 7, 5, 4)


def archive(make: Callable[[io.BytesIO], None]) -> bytes:
    file = io.BytesIO()
    make(file)
    return file.getvalue()


def tarred(file: io.BytesIO) -> None:
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("scan.nii"))


def zipped(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as zip_file:
        zip_file.writestr("scan.nii", b"data")


FOREIGN = {
    "empty": (b"", "an empty file.*download or copy it again"),
    "zeros": (bytes(1000), "found zeros.*download or copy it again"),
    "one byte": (b"\x5c", "data of an unknown type|a text"),
    "binary": (bytes(range(7, 256)) * 4, "data of an unknown type.*give a single-file NIfTI"),
    "text": (b"not a scan\n" * 100, "found a text.*give the image"),
    "page": (b"\n<!DOCTYPE html><html>Log in</html>", "web page.*failed download"),
    "page without type": (b"<HTML><head>", "web page.*failed download"),
    "denied": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML text.*download"),
    "sidecar": (b'{"RepetitionTime": 0.8}', "a JSON text.*instead of its sidecar"),
    "GIFTI": (b'<?xml version="1.0"?>\n<!DOCTYPE GIFTI SYSTEM "gifti.dtd">\n<GIFTI Version="1.0">', "a GIFTI surface"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull$"),
    "annex": (b"/annex/objects/MD5E-s123--4d7a.nii.gz\n", r"git-annex.*datalad get \S*scan\.nii\.gz$"),
    "bzip2": (bz2.compress(b"data"), "a bzip2 file.*bunzip2"),
    "xz": (lzma.compress(b"data"), "an xz file.*unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "a zstd file.*unzstd"),
    "lz4": (b"\x04\x22\x4d\x18dd", "an lz4 file.*unlz4"),
    "compress": (b"\x1f\x9d\x90", "Unix compress.*uncompress"),
    "zip": (archive(zipped), "a zip archive.*unpack"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive.*unpack"),
    "tar": (archive(tarred), "a tar archive.*unpack"),
    "DICOM": (bytes(128) + b"DICM\x02\0\0\0UL", "a DICOM file.*dcm2niix"),
    "MINC 2": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file.*mnc2nii"),
    "MINC 1": (b"CDF\x01" + bytes(100), "a netCDF file.*mnc2nii"),
    "netCDF": (b"CDF\x02" + bytes(100), "a netCDF file"),
    "MGH": (struct.pack(">7i", 1, 256, 256, 256, 1, 3, 0) + bytes(600), "a FreeSurfer MGH volume.*mri_convert"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "MATLAB"),
    "ECAT": (b"MATRIX72v", "an ECAT file"),
    "NumPy": (archive(lambda file: np.save(file, np.zeros(9))), "a NumPy array.*name it .npy"),
    "NRRD": (b"NRRD0005\ntype: float\n", "an NRRD file.*convert"),
    "MetaImage": (b"ObjectType = Image\nNDims = 4\n", "a MetaImage.*convert"),
    "macOS": (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", r"a macOS metadata file.*does not begin with \._"),
    "PAR": (b"# === DATA DESCRIPTION FILE ====\n", "Philips PAR/REC.*dcm2niix"),
    "AFNI": (b"\ntype  = string-attribute\nname  = TYPESTRING\n", "an AFNI header.*3dAFNItoNIFTI"),
    "Analyze": (struct.pack("<i", 348) + bytes(340) + bytes(4) + bytes(100), "Analyze 7.5.*pair"),
    "Analyze, big-endian": (struct.pack(">i", 348) + bytes(400), "Analyze 7.5.*pair"),
    "cut header": (struct.pack("<i", 348) + bytes(200), "204 of the 348 bytes of a header.*again"),
    "cut NIfTI-2": (struct.pack(">i", 540) + b"n+2\0\r\n\x1a\n" + bytes(50), "62 of the 540 bytes of a header.*again"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.requires("fmri")
def test_foreign_files_are_called_what_they_are(tmp_path, kind, compressed):
    content, message = FOREIGN[kind]
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(InputError, match=message) as error:
        open_nifti(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert ("inside gzip data" in str(error.value)) == (compressed and kind not in ("lfs", "annex"))


@pytest.mark.requires("fmri")
def test_gzip_twice(brains, tmp_path):
    path = brains.write(tmp_path / "scan.nii.gz", brains.run(SHAPE))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(
        InputError, match=r"expected a NIfTI header, found gzip data inside gzip data; unpack it once with gunzip$"
    ):
        open_nifti(path)


@pytest.mark.requires("fmri")
@pytest.mark.parametrize("content", [b"\x1f\x8b", b"\x1f\x8bnot gzip"])
def test_what_only_starts_like_gzip_is_damaged(tmp_path, content):
    (tmp_path / "scan.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match="the compressed file is damaged or truncated"):
        open_nifti(tmp_path / "scan.nii.gz")


@pytest.mark.requires("fmri")
@pytest.mark.parametrize("version", [1, 2])
def test_a_pairs_header_under_the_name_of_an_image(brains, tmp_path, version):
    import nibabel as nib

    pair = nib.Nifti1Pair if version == 1 else nib.Nifti2Pair
    nib.save(pair(brains.run(SHAPE), brains.centred(SHAPE)), tmp_path / "run.img")
    os.rename(tmp_path / "run.hdr", tmp_path / "run.nii")
    with pytest.raises(
        InputError,
        match=r"run\.nii: expected a NIfTI header, found the header of a NIfTI pair.*convert the .hdr/.img pair",
    ):
        open_nifti(tmp_path / "run.nii")


@pytest.mark.requires("fmri")
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("by", ["intent", "extension"])
def test_cifti_is_surface_data(brains, tmp_path, by, order):
    import nibabel as nib

    header = nib.Nifti2Header(endianness=order)
    header.set_data_dtype(np.float32)
    image = nib.Nifti2Image(np.ones((1, 1, 1, 1, 20, 90), np.float32), None, header)
    if by == "extension":
        image.header.extensions.append(nib.nifti1.Nifti1Extension(32, b"<CIFTI Version='2'/>"))
    else:
        image.header["intent_code"] = 3002
    nib.save(image, tmp_path / "run.dtseries.nii")
    with pytest.raises(InputError, match=r"found a CIFTI file .values on the cortical surface.*give the run's volume"):
        open_nifti(tmp_path / "run.dtseries.nii")


@pytest.mark.requires("fmri")
def test_other_extensions_are_read_over(brains, tmp_path):
    import nibabel as nib

    image = nib.Nifti1Image(brains.run(SHAPE), brains.centred(SHAPE))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"32" * 40_000))
    nib.save(image, tmp_path / "run.nii.gz")
    volumes = np.stack(list(open_nifti(tmp_path / "run.nii.gz").volumes()), axis=-1)
    np.testing.assert_array_equal(volumes, brains.run(SHAPE))


# Paths that lead to no file.


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        check_regular(path)
    return str(error.value)


def test_a_folder_is_called_a_folder(tmp_path):
    (tmp_path / "x.nii.gz").mkdir()
    assert "x.nii.gz: expected a NIfTI file, found a folder" in refusal(tmp_path / "x.nii.gz")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.nii")
    assert "found a pipe or a device" in refusal(tmp_path / "x.nii")
    assert "found a pipe or a device" in refusal(Path(os.devnull))


def test_what_git_annex_has_not_fetched(tmp_path):
    folder = tmp_path / "data set" / "func"
    folder.mkdir(parents=True)
    scan = folder / "x.nii.gz"
    scan.symlink_to("../.git/annex/objects/xK/2j/MD5E-s123--4d7a.nii.gz/MD5E-s123--4d7a.nii.gz")
    assert (
        refusal(scan)
        == f"{scan}: git-annex has not fetched the content of the file; fetch it with: datalad get '{scan}'"
    )
    (tmp_path / "y.nii.gz").symlink_to(scan)
    assert "git-annex has not fetched" in refusal(tmp_path / "y.nii.gz")


def test_a_link_to_nothing(tmp_path):
    (tmp_path / "x.nii").symlink_to("gone\nfor ever.nii")
    message = refusal(tmp_path / "x.nii")
    assert "found a broken link to '" in message
    assert r"gone\nfor ever.nii'; give the file itself" in message


@pytest.mark.requires("fmri")
def test_an_absent_file_and_links_in_a_circle(tmp_path):
    with pytest.raises(InputError, match=r"absent\.nii: cannot be read: No such file"):
        open_nifti(tmp_path / "absent.nii")
    (tmp_path / "a.nii").symlink_to("b.nii")
    (tmp_path / "b.nii").symlink_to("a.nii")
    with pytest.raises(InputError, match=r"a\.nii: cannot be read: Too many levels"):
        open_nifti(tmp_path / "a.nii")


@pytest.mark.requires("fmri")
def test_a_link_to_a_file_is_followed(brains, tmp_path):
    brains.write(tmp_path / "run.nii.gz", brains.run(SHAPE))
    (tmp_path / "LINK.NII.GZ").symlink_to("run.nii.gz")
    assert open_nifti(tmp_path / "LINK.NII.GZ").shape == SHAPE


@pytest.mark.parametrize("name", ["run.NII.GZ", "run.Nii", "run", "run.nii.bz2"])
@pytest.mark.requires("fmri")
def test_the_name_does_not_matter(brains, tmp_path, name):
    shutil.move(brains.write(tmp_path / "run.nii.gz", brains.run(SHAPE)), tmp_path / name)
    assert open_nifti(tmp_path / name).shape == SHAPE


def test_any_head_has_an_explanation():
    rng = np.random.default_rng(0)
    for length in rng.integers(0, 560, 500):
        line = explain_foreign(Path("scan.nii"), rng.bytes(length), compressed=False)
        assert line.startswith("scan.nii: ")
        assert "\n" not in line
