"""Reading NIfTI-1 and NIfTI-2 files frame by frame, within bounds that a hostile header cannot move.

Nibabel decodes headers; the values are read here, as one stream: the statistics of a run need every frame once,
in order, and never more than one frame in memory. What a header claims is compared with limits and with the
file's own size before anything of that size is allocated.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from jaxtyping import Bool, Float

from swift_export.errors import InputError, UsageError

__all__ = ["MAX_FRAMES", "MAX_VOXELS", "NiftiFile", "open_nifti", "read_mask"]

#: The largest volume (256 MiB in float64) and the longest run that are read. MNI152 at 2 mm has a million voxels, at
#: 0.7 mm 21 million; an hour at 0.72 s has 5,000 frames.
MAX_VOXELS, MAX_FRAMES = 2**25, 100_000
#: NIfTI's codes of the types of real numbers; complex, colour and 128-bit types have no place in BOLD.
_DTYPES = {2: "u1", 256: "i1", 4: "i2", 512: "u2", 8: "i4", 768: "u4", 1024: "i8", 1280: "u8", 16: "f4", 64: "f8"}
#: Header extensions end where the values begin; 64 MiB is beyond any in use.
_MAX_OFFSET = 64 * 2**20
#: Deflate cannot shrink data further than this, so a gzip file bounds what it can hold (RFC 1951: 258 bytes in 2 bits).
_MAX_DEFLATE_RATIO = 1032
#: Two grids are one if no corner is further apart than this, in mm: affines are stored rounded to float32.
_GRID_TOLERANCE = 0.05


@dataclass(frozen=True)
class NiftiFile:
    """What the header of a NIfTI file says, checked. The values are read by `volumes`.

    ``shape`` has three or four axes (x, y, z, frames). ``affine`` maps voxel indices to mm; it is None where the header
    gives no orientation to rely on: sform_code and qform_code are both 0, or the two point different ways.
    """

    path: Path
    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"] | None
    dtype: np.dtype
    scaling: tuple[float, float] | None
    offset: int
    compressed: bool

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along the three stored axes."""
        x, y, z = self.shape[:3]
        return x, y, z

    @property
    def frames(self) -> int:
        """Volumes in the file."""
        return self.shape[3] if len(self.shape) == 4 else 1

    def volumes(self) -> Iterator[Float[np.ndarray, "x y z"]]:
        """Every frame in order, in float64, with the header's scaling applied.

        Raises InputError where the file ends early or its compressed stream is damaged. The checksum of a compressed
        file is verified when the last frame has been taken.
        """
        count = math.prod(self.grid)
        size = count * self.dtype.itemsize
        with _reading(self.path), _open(self.path, self.compressed) as stream:
            stream.seek(self.offset)
            for frame in range(self.frames):
                stored = stream.read(size)
                if len(stored) < size:
                    raise InputError(
                        f"{self.path}: the file ends within frame {frame} of {self.frames} that its header promises; "
                        "it is truncated: copy or convert it again"
                    )
                values = np.frombuffer(stored, self.dtype).astype(np.float64)
                if self.scaling:
                    slope, intercept = self.scaling
                    values = values * slope + intercept
                yield values.reshape(self.grid, order="F")
            # Reaching the end of a gzip stream is what makes zlib compare the checksum.
            stream.read(2**20)


def open_nifti(path: Path) -> NiftiFile:
    """Read and check the header of a single-file NIfTI, compressed or not (told apart by content, not by name).

    Raises InputError for a file that is unreadable, no NIfTI, truncated, of a type without real numbers, or larger
    than the limits of this module.
    """
    with _reading(path):
        file_size = path.stat().st_size
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
        with _open(path, compressed) as stream:
            block = stream.read(540)
    header = _parse(path, block)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    offset = _offset(path, header)
    needed = offset + math.prod(shape) * dtype.itemsize
    if needed > file_size * (_MAX_DEFLATE_RATIO if compressed else 1):
        raise InputError(
            f"{path}: the header promises {shape} values of {dtype.itemsize} B, more than a file of {file_size} B "
            "can hold; it is truncated or damaged: copy or convert it again"
        )
    return NiftiFile(path, shape, _affine(path, header), dtype, _scaling(path, header), offset, compressed)


def read_mask(path: Path, scan: NiftiFile) -> Bool[np.ndarray, "x y z"]:
    """The brain mask of a scan: a 3D NIfTI on the scan's own grid; every value but 0 is brain.

    Raises InputError when its grid or affine differ from the scan's, when it holds anything but whole numbers (a
    probability map needs a threshold that only its user knows), or when it selects nothing or everything.
    """
    mask = open_nifti(path)
    if mask.frames != 1:
        raise UsageError(f"{path}: --mask expects a 3D NIfTI, found shape {mask.shape}; is it the scan itself?")
    if mask.grid != scan.grid:
        raise InputError(
            f"{path}: the mask's grid is {mask.grid}, the scan's {scan.grid}; give the mask of the same space and "
            "resolution"
        )
    distance = _grid_distance(mask, scan)
    if distance > _GRID_TOLERANCE:
        raise InputError(
            f"{path}: the mask's affine puts voxels up to {distance:.2f} mm from where the scan's puts them; give the "
            "mask of the same space and resolution"
        )
    (values,) = mask.volumes()
    if not np.array_equal(values, np.rint(values)):
        raise InputError(f"{path}: a mask holds whole numbers, 0 outside the brain; threshold a probability map first")
    inside: np.ndarray = values != 0
    if not inside.any() or inside.all():
        raise InputError(
            f"{path}: the mask holds {'no' if not inside.any() else 'every'} voxel; expected some voxels, those of the "
            "brain"
        )
    return inside


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a file, gzip or the operating system complain of into one line that names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the compressed file is damaged or truncated ({error}); copy or convert it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _open(path: Path, compressed: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if compressed else path.open("rb")


def _parse(path: Path, block: bytes) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    # `sizeof_hdr` is the first field of both versions, in the byte order of the file.
    sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    kinds: list[tuple[Any, int, bytes]] = [(Nifti1Header, 348, b"n+1"), (Nifti2Header, 540, b"n+2")]
    for kind, size, magic in kinds:
        if size in sizes and len(block) >= size:
            # Unchecked: nibabel's own checks repair and log; what is used of the header is checked below.
            header = kind(block[:size], check=False)
            if header["magic"].item() == magic:
                return header
    raise InputError(f"{path}: expected a single-file NIfTI (.nii or .nii.gz), found no NIfTI header; convert it")


def _shape(path: Path, header: Any) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : axes + 1])
    if not 1 <= axes <= 7 or any(n < 1 for n in shape):
        raise InputError(f"{path}: the header's dimensions {shape} are damaged; copy or convert the file again")
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise InputError(f"{path}: expected the three axes of a volume and time, found shape {shape}")
    if math.prod(shape[:3]) > MAX_VOXELS or math.prod(shape[3:]) > MAX_FRAMES:
        raise InputError(
            f"{path}: the header claims shape {shape}; at most {MAX_VOXELS} voxels and {MAX_FRAMES} frames are read; "
            "is the header damaged?"
        )
    return shape


def _dtype(path: Path, header: Any) -> np.dtype:
    code = int(header["datatype"])
    if code not in _DTYPES:
        raise InputError(
            f"{path}: expected integers or floats of at most 64 bits, found NIfTI data type {code}; convert the file"
        )
    return np.dtype(_DTYPES[code]).newbyteorder(header.endianness)


def _offset(path: Path, header: Any) -> int:
    offset = float(header["vox_offset"])
    least = int(header["sizeof_hdr"]) + 4
    # 0 means "right after the header" in files of old SPM versions.
    if offset == 0:
        return least
    if not least <= offset <= _MAX_OFFSET or not offset.is_integer():
        raise InputError(f"{path}: the header puts the values at byte {offset:g}, which is damaged; convert it again")
    return int(offset)


def _scaling(path: Path, header: Any) -> tuple[float, float] | None:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{path}: the header's scaling is damaged ({error}); convert it again") from error
    return None if slope is None else (slope, intercept)


def _affine(path: Path, header: Any) -> Float[np.ndarray, "4 4"] | None:
    from nibabel.spatialimages import HeaderDataError

    try:
        found = [affine for affine, code in (header.get_sform(coded=True), header.get_qform(coded=True)) if code]
    except (HeaderDataError, ValueError) as error:
        raise InputError(f"{path}: the header's orientation is damaged ({error}); convert the file again") from error
    for affine in found:
        if not np.isfinite(affine).all() or not np.linalg.det(affine[:3, :3]):
            raise InputError(f"{path}: the header's affine {affine[:3].tolist()} is damaged; convert the file again")
    if not found or _cosine(found[0], found[-1]) < 0.5:
        return None
    return np.asarray(found[0], np.float64)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest cosine between the directions that two affines give to an axis."""
    steps = one[:3, :3] * other[:3, :3]
    lengths = np.linalg.norm(one[:3, :3], axis=0) * np.linalg.norm(other[:3, :3], axis=0)
    return float((steps.sum(axis=0) / lengths).min())


def _grid_distance(one: NiftiFile, other: NiftiFile) -> float:
    """The largest distance in mm between where two files of one grid put the same corner."""
    if one.affine is None or other.affine is None:
        return 0.0 if one.affine is other.affine else math.inf
    corners = np.array(np.meshgrid(*([0, n - 1] for n in one.grid), [1], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm(((one.affine - other.affine) @ corners)[:3], axis=0).max())
