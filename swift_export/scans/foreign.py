"""Identifies files that are given as NIfTI but have another format, and advises what to do.

Only the first bytes of a file are read. Such files often come from a failed download, from version control of data sets
or from a converter, with a name that suggests an image.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Literal

from swift_export.errors import InputError
from swift_export.scans.gzip_stream import GZIP_MAGIC

__all__ = ["HEAD", "check_regular", "explain_foreign"]

#: First bytes that identify a file: a NIfTI-2 header, its flag, and size and code of its first extension.
HEAD = 552

_FETCH = "download or copy it again"
_UNPACK = "unpack it and give the .nii inside"
_PAIR = "convert the .hdr/.img pair into one file (FSL: fslchfiletype NIFTI_GZ; AFNI: 3dcopy)"

#: Offset and bytes of a signature, the type of file, and the advice.
_MARKS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, GZIP_MAGIC, "gzip data", "unpack it once with gunzip"),
    (0, b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (0, b"\xfd7zXZ\0", "an xz file", "unpack it with unxz"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with unzstd"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file", "unpack it with unlz4"),
    (0, b"\x1f\x9d", "a Unix compress file", "unpack it with uncompress"),
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (344, b"ni1\0", "the header of a NIfTI pair", _PAIR),
    (4, b"ni2\0", "the header of a NIfTI pair", _PAIR),
    (128, b"DICM", "a DICOM file", "convert the series with dcm2niix"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as MINC 2", "convert it (MINC: mnc2nii)"),
    (0, b"CDF\x01", "a netCDF file, such as MINC 1", "convert it (MINC: mnc2nii)"),
    (0, b"CDF\x02", "a netCDF file, such as MINC 1", "convert it (MINC: mnc2nii)"),
    (0, b"\0\0\0\x01\0\0", "a FreeSurfer MGH volume", "convert it with mri_convert"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", "save the run as NIfTI"),
    (0, b"MATRIX7", "an ECAT file", "convert it with a tool that writes NIfTI, such as nibabel"),
    (0, b"\x93NUMPY", "a NumPy array", "name it .npy if it holds a prepared clip"),
    (0, b"NRRD0", "an NRRD file", "convert it with a tool that writes NIfTI, such as c4d"),
    (0, b"ObjectType", "a MetaImage", "convert it with a tool that writes NIfTI, such as c4d"),
    (0, b"NDims", "a MetaImage", "convert it with a tool that writes NIfTI, such as c4d"),
    (0, b"\0\x05\x16\x07", "a macOS metadata file", "give the file whose name does not begin with ._"),
)

_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_SIZES = {size.to_bytes(4, order): size for size in (348, 540) for order in _ORDERS}

#: Beginning of a text in lower case, the type of file, and the advice.
_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (b"<!doctype html", "a web page", f"it is a failed download: {_FETCH}"),
    (b"<html", "a web page", f"it is a failed download: {_FETCH}"),
    (b"<", "an XML text", f"if it is a failed download, {_FETCH}"),
    (b"{", "a JSON text", f"give the image instead of its sidecar; if it is a failed download, {_FETCH}"),
)


def check_regular(path: Path) -> None:
    """Raise InputError for a path that is not a regular file: a folder, a pipe, a broken link."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if not path.is_symlink():
            raise
        target = os.path.realpath(path)
        if "annex/objects" in Path(target).as_posix():
            raise InputError(f"{path}: git-annex has not fetched the content of the file; {_datalad(path)}") from error
        raise InputError(
            f"{path}: expected a NIfTI file, found a broken link to {target!r}; give the file itself"
        ) from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: expected a NIfTI file, found a folder; give a file in it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: expected a NIfTI file, found a pipe or a device; write its data to a file first")


def explain_foreign(path: Path, head: bytes, compressed: bool) -> str:
    """One line about a file that begins with ``head`` (after decompression) and has no NIfTI header."""
    if head.startswith(b"version https://git-lfs"):
        return f"{path}: found a Git LFS pointer without its content; fetch it with: git lfs pull"
    if head.startswith(b"/annex/objects/"):
        return f"{path}: found a git-annex pointer without its content; {_datalad(path)}"
    kind, advice = _kind(head)
    return f"{path}: expected a NIfTI header, found {kind}{' inside gzip data' if compressed else ''}; {advice}"


def _datalad(path: Path) -> str:
    return f"fetch it with: datalad get {shlex.quote(str(path))}"


def _kind(head: bytes) -> tuple[str, str]:
    if not head:
        return "an empty file", _FETCH
    for place, mark, kind, advice in _MARKS:
        if head.startswith(mark, place):
            return kind, advice
    if not any(head):
        return "zeros", _FETCH
    # `sizeof_hdr`, the first field of Analyze, NIfTI-1 and NIfTI-2, in either byte order.
    size = _SIZES.get(head[:4], 0)
    if len(head) < size:
        return f"{len(head)} of the {size} bytes of a header", _FETCH
    if size == 348:
        return "an Analyze 7.5 header", _PAIR
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<gifti" in text:
        return "a GIFTI surface", "give the volume file of the run"
    for start, kind, advice in _TEXTS:
        if text.startswith(start):
            return kind, advice
    if text.startswith((b"# clinical tryout", b"# === data description")):
        return "a Philips PAR/REC header", "convert the pair with dcm2niix"
    if b"type" in text[:8] and b"-attribute" in text[:40]:
        return "an AFNI header", "convert the dataset with 3dAFNItoNIFTI"
    if text and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text):
        return "a text file", f"give the image; if it is a failed download, {_FETCH}"
    return "data of an unknown type", "give a single-file NIfTI (.nii or .nii.gz)"
