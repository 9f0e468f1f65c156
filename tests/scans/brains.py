"""Scans for the tests: NIfTI files on grids of MNI152, and one lopsided brain as two real pipelines would store it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

#: FSL's 2 mm grid and that of MNI152NLin2009cAsym, as FSL and fMRIPrep write them.
FSL = ((91, 109, 91), nib.affines.from_matvec(np.diag([-2.0, 2, 2]), (90, -126, -72)))
ASYM = ((97, 115, 97), nib.affines.from_matvec(np.diag([2.0, 2, 2]), (-96, -132, -78)))


def centred(shape: tuple[int, ...], codes: str = "LAS", size: float = 2.0) -> np.ndarray:
    """The affine of a grid of these orientation codes whose voxel n // 2 lies at (0, -18, 18) mm on every axis."""
    matrix = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        matrix["LRPAIS".index(code) // 2, axis] = size if code in "RAS" else -size
    return nib.affines.from_matvec(matrix, np.array([0, -18, 18]) - matrix @ [n // 2 for n in shape[:3]])


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Save values as NIfTI-1 (NIfTI-2 if the name says so), on a centred LAS grid unless an affine is given."""
    kind = nib.Nifti2Image if "nifti2" in path.name else nib.Nifti1Image
    nib.save(kind(values, centred(values.shape) if affine is None else affine), path)
    return path


def timed(path: Path, values: np.ndarray, seconds: float, affine: np.ndarray | None = None) -> Path:
    """As `write`, with a repetition time in the header."""
    image = nib.Nifti1Image(values, centred(values.shape) if affine is None else affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], seconds))
    nib.save(image, path)
    return path


def patch(path: Path, **fields: object) -> Path:
    """Overwrite fields of a NIfTI file's header in place, whatever they then say."""
    content = bytearray(path.read_bytes())
    kind = nib.Nifti2Header if "nifti2" in path.name else nib.Nifti1Header
    header = kind(bytes(content[: kind.sizeof_hdr]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[: kind.sizeof_hdr] = header.binaryblock
    path.write_bytes(content)
    return path


def run(shape: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """BOLD-like float32 values in a third of the grid, 0 elsewhere."""
    rng = np.random.default_rng(seed)
    values = rng.normal(1000, 50, shape).astype(np.float32)
    values[rng.random(shape[:3]) > 1 / 3] = 0
    return values


def lopsided(shape: tuple[int, int, int], affine: np.ndarray, frames: int) -> np.ndarray:
    """A brain whose values, multiples of 1/4, depend on the position in mm and on the frame, never on the grid.

    It has no symmetry: an ellipsoid off the midline with a bulge on the right, gradients along every axis, and noise
    that a hash of the position makes. Everything of it lies within both grids.
    """
    indices = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    x, y, z = (affine[axis, axis] * indices[axis] + affine[axis, 3] for axis in range(3))
    u, v, w = x / 64, (y + 20) / 84, (z - 8) / 66
    bulge = ((x - 50) / 24) ** 2 + ((y - 30) / 30) ** 2 + ((z - 20) / 24) ** 2 < 1
    brain = (u * u + v * v + w * w + 0.3 * u * v < 1) | bulge
    level = 4000 + 6 * x - 3 * y + 4 * z + 0.05 * x * y
    hashed = (x.astype(int) * 73856093) ^ (y.astype(int) * 19349663) ^ (z.astype(int) * 83492791)
    values = np.zeros((*shape, frames), np.float32)
    for frame in range(frames):
        noise = ((hashed ^ (frame * 2654435761)) * 40503 >> 7) % 1024
        values[..., frame] = np.where(brain, np.rint(level + noise + 3 * frame * np.sign(x + y)) / 4, 0)
    return values


def write_lopsided(folder: Path, frames: int) -> tuple[Path, Path]:
    """The brain as FSL would store it (LAS, scaled integers) and as fMRIPrep would (RAS, compressed floats)."""
    fsl = lopsided(*FSL, frames) * 4
    image = nib.Nifti1Image(fsl.astype(np.int16), FSL[1])
    image.header.set_slope_inter(0.25, 0)
    nib.save(image, folder / "brain_fsl.nii")
    with nib.openers.Opener(folder / "brain_asym.nii.gz", "wb", compresslevel=1) as file:
        nib.Nifti1Image(lopsided(*ASYM, frames), ASYM[1]).to_stream(file)
    return folder / "brain_fsl.nii", folder / "brain_asym.nii.gz"


def functional() -> Path:
    """Nibabel's own example: 20 frames of real BOLD, three slices of 4 x 4 x 8 mm, normalised by SPM, not masked."""
    return Path(nib.__file__).parent / "tests/data/functional.nii"


def threshold_mask(scan: Path, path: Path, level: float) -> Path:
    """A mask of the voxels whose mean over time lies above ``level``."""
    image = nib.load(scan)
    inside = image.get_fdata().mean(axis=3) > level
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), image.affine), path)
    return path
