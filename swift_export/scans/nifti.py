"""Reads NIfTI-1 and NIfTI-2 files frame by frame, within limits that a hostile header cannot exceed.

Nibabel decodes the headers. This module reads the values as one stream, because the statistics of a run need every
frame once, in order, with only one frame in memory. The claims of a header are checked against limits and against the
size of the file before memory is allocated.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from swift_export.errors import InputError, UsageError
from swift_export.scans.affine import Affine, read_affine
from swift_export.scans.foreign import HEAD, check_regular, explain_foreign
from swift_export.scans.gzip_stream import GZIP_MAGIC, GzipStream
from swift_export.system.progress import ignore_line

__all__ = ["MAX_FRAMES", "MAX_VOXELS", "NiftiFile", "Warn", "open_nifti"]

#: Limits of a volume (256 MiB in float64) and of a run. MNI152 has a million voxels at 2 mm, and 21 million at 0.7 mm.
#: An hour at 0.72 s has 5,000 frames.
MAX_VOXELS, MAX_FRAMES = 2**25, 100_000
#: NIfTI's codes of real types. Complex, colour and 128-bit types do not occur in BOLD data.
_DTYPES = {2: "u1", 256: "i1", 4: "i2", 512: "u2", 8: "i4", 768: "u4", 1024: "i8", 1280: "u8", 16: "f4", 64: "f8"}
#: Limit of the offset of the values, and so of header extensions; 64 MiB exceeds all in use.
_MAX_OFFSET = 64 * 2**20
#: The highest compression ratio of deflate, which limits the content of a gzip file (RFC 1951: 258 bytes in 2 bits).
_MAX_DEFLATE_RATIO = 1032
#: NIfTI's codes of time units, and their number per second. An unknown unit (0) means s or ms in practice.
_TIME_UNITS: dict[int, tuple[float, ...]] = {8: (1,), 16: (1e3,), 24: (1e6,), 0: (1, 1e3)}
#: Plausible repetition times of a BOLD run, in seconds.
_REPETITION_TIMES = (0.05, 30.0)
#: Intents of CIFTI-2, and the code of the header extension that holds its XML.
_CIFTI_INTENTS, _CIFTI_EXTENSION = range(3000, 3100), 32
#: Bytes inflated ahead or skipped at once.
_BUFFER = 2**20

#: Receives a line for the user that names the file.
Warn = Callable[[str], None]

Volume = Float[np.ndarray, "x y z"]


@dataclass(frozen=True)
class NiftiFile:
    """The checked header of a NIfTI file. `volumes` reads the values.

    ``shape`` has three or four axes (x, y, z, frames). ``affine`` maps voxel indices to mm. It is None if the header
    has no reliable orientation (sform_code and qform_code are both 0, or contradict each other), or if the file was
    opened ``as_stored``. ``repetition_time`` is in seconds, or None if the header states no plausible one. ``notes``
    are lines for the user about corrections of the header; each names the file.
    """

    path: Path
    shape: tuple[int, ...]
    affine: Affine | None
    dtype: np.dtype
    scaling: tuple[float, float] | None
    offset: int
    compressed: bool
    repetition_time: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels along the three stored axes."""
        x, y, z = self.shape[:3]
        return x, y, z

    @property
    def frames(self) -> int:
        """Number of volumes in the file."""
        return self.shape[3] if len(self.shape) == 4 else 1

    def raw_volumes(self, warn: Warn = ignore_line) -> Iterator[bytes]:
        """The stored bytes of every frame in order, for `decode`; any thread may iterate.

        After the last frame, the checksum of a compressed file is verified, and ``warn`` receives notices about bytes
        after the stream and about frames beyond those in the header.

        Raises:
            InputError: the file is truncated, or its compressed stream is damaged.

        """
        size = math.prod(self.grid) * self.dtype.itemsize
        with _open(self.path, self.compressed) as stream:
            _skip(stream, self.offset)
            for frame in range(self.frames):
                stored = stream.read(size)
                if len(stored) < size:
                    raise InputError(
                        f"{self.path}: expected {self.frames} frames, as its header states, found the end of the file "
                        f"within frame {frame}; it is truncated: copy or convert it again"
                    )
                yield stored
                del stored
            # zlib compares the checksum only at the end of a gzip stream.
            if _skip(stream, max(size, _BUFFER)) >= size:
                warn(
                    f"{self.path}: the file continues after the {self.frames} frames in its header; only these are "
                    "read; check the header"
                )
            elif isinstance(stream.raw, GzipStream) and stream.raw.trailing:
                warn(f"{self.path}: {stream.raw.trailing} bytes after the complete compressed data were ignored")

    def stored(self, raw: bytes | bytearray | memoryview) -> np.ndarray:
        """The values of a frame as stored, (x, y, z)."""
        return np.frombuffer(raw, self.dtype).reshape(self.grid, order="F")

    def scaled(self, values: np.ndarray) -> Float[np.ndarray, ...]:
        """Stored values in float64 with the header's scaling; overflows become infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = values.astype(np.float64)
            if self.scaling:
                slope, intercept = self.scaling
                scaled *= slope
                scaled += intercept
        return scaled

    def decode(self, raw: bytes | bytearray | memoryview) -> Volume:
        """The values of a frame in float64 with the header's scaling; overflows become infinite."""
        return self.scaled(self.stored(raw))

    def volumes(self, warn: Warn = ignore_line) -> Iterator[Volume]:
        """All frames in order, decoded; warns and raises like `raw_volumes`."""
        return map(self.decode, self.raw_volumes(warn))


def open_nifti(path: Path, *, as_stored: bool = False) -> NiftiFile:
    """Read and check the header of a single-file NIfTI, compressed or not (detected from its content, not its name).

    With ``as_stored``, the affine is ignored, even if it is damaged, and is None.

    Raises:
        InputError: the file is unreadable, truncated, not a NIfTI of volumes, not of a real type, or larger than the
            limits of this module.
        UsageError: nibabel is not installed.

    """
    _need_nibabel(path)
    with _reading(path):
        check_regular(path)
        file_size = path.stat().st_size
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP_MAGIC
    with _open(path, compressed) as stream:
        head = stream.read(HEAD)
    header = _parse(path, head, compressed)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    offset = _offset(path, header)
    needed = offset + math.prod(shape) * dtype.itemsize
    if needed > file_size * (_MAX_DEFLATE_RATIO if compressed else 1):
        raise InputError(
            f"{path}: expected {shape} values of {dtype.itemsize} B, as the header states, found a file of "
            f"{file_size} B; it is truncated or damaged: copy or convert it again"
        )
    affine, notes = (None, ()) if as_stored else read_affine(path, header)
    return NiftiFile(
        path, shape, affine, dtype, _scaling(path, header), offset, compressed, _repetition_time(header), notes
    )


def _need_nibabel(path: Path) -> None:
    try:
        import nibabel  # noqa: F401 - its parts are imported where they are used
    except ImportError as error:
        raise UsageError(
            f"{path}: reading NIfTI requires nibabel; install it with: pip install 'swift-export[fmri]'"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert errors of the file, zlib or the operating system to one line that names the file."""
    try:
        yield
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: the compressed file is damaged or truncated ({error}); copy or convert it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _open(path: Path, compressed: bool) -> Iterator[io.BufferedReader]:
    with _reading(path), path.open("rb") as file:
        yield io.BufferedReader(GzipStream(file), _BUFFER) if compressed else file


def _skip(stream: io.BufferedReader, count: int) -> int:
    """Skip up to ``count`` bytes, or to the end; returns the number of skipped bytes."""
    left = count
    while left and (data := stream.read(min(left, _BUFFER))):
        left -= len(data)
    return count - left


def _parse(path: Path, head: bytes, compressed: bool) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    kinds: list[tuple[Any, int, int, bytes]] = [(Nifti1Header, 348, 344, b"n+1\0"), (Nifti2Header, 540, 4, b"n+2\0")]
    for kind, size, place, magic in kinds:
        if head.startswith(magic, place) and len(head) >= size:
            # Unchecked, because nibabel's checks repair and log. The used parts of the header are checked below.
            header = kind(head[:size], check=False)
            # After the header: a flag for extensions, and the size and code of the first one.
            extended, extension = any(head[size : size + 4]), head[size + 8 : size + 12]
            code = np.array(_CIFTI_EXTENSION, f"{header.endianness}i4").tobytes()
            if int(header["intent_code"]) in _CIFTI_INTENTS or (extended and extension == code):
                raise InputError(
                    f"{path}: expected a volume file, found a CIFTI file (values on the cortical surface); give the "
                    "run's volume file, a .nii.gz in MNI152 space"
                )
            return header
    raise InputError(explain_foreign(path, head, compressed))


def _shape(path: Path, header: Any) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : axes + 1])
    if not 1 <= axes <= 7 or any(n < 1 for n in shape):
        raise InputError(f"{path}: the header's dimensions {shape} are damaged; copy or convert the file again")
    # Time is the fourth axis, or a later one in files with further axes of length 1.
    times = [n for n in shape[3:] if n > 1]
    if len(shape) < 3 or len(times) > 1:
        raise InputError(f"{path}: expected three spatial axes and time, found shape {shape}")
    if len(shape) > 3:
        shape = (*shape[:3], *(times or (1,)))
    if math.prod(shape[:3]) > MAX_VOXELS or math.prod(shape[3:]) > MAX_FRAMES:
        raise InputError(
            f"{path}: expected at most {MAX_VOXELS} voxels and {MAX_FRAMES} frames, found shape {shape}; check the "
            "header for damage"
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
    least = int(header.sizeof_hdr) + 4
    # 0 means "directly after the header" in files from old SPM versions.
    if offset == 0:
        return least
    if not least <= offset <= _MAX_OFFSET or not offset.is_integer():
        raise InputError(
            f"{path}: the header states an invalid offset of the values, byte {offset:g}; convert the file again"
        )
    return int(offset)


def _scaling(path: Path, header: Any) -> tuple[float, float] | None:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{path}: the header's scaling is damaged ({error}); convert the file again") from error
    return None if slope is None else (slope, intercept)


def _repetition_time(header: Any) -> float | None:
    # Use the shortest decimal: 0.72 stored in float32 means 0.72, not 0.7200000286.
    step = float(str(header["pixdim"][4]))
    least, most = _REPETITION_TIMES
    times = (step / unit for unit in _TIME_UNITS.get(int(header["xyzt_units"]) & 0x38, ()))
    return next((time for time in times if least <= time <= most), None)
