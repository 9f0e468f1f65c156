"""Scans that are turned away, as the command line answers: one line, status 2, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "tests/golden/tiny-full/checkpoint.ckpt"
SHAPE = (30, 40, 30, 8)

pytestmark = pytest.mark.requires("fmri")


def volume(run: np.ndarray) -> np.ndarray:
    return run[..., 0]


def short(run: np.ndarray) -> np.ndarray:
    return run[..., :7]


def not_a_number(run: np.ndarray) -> np.ndarray:
    run[3, 4, 5, 6] = np.nan
    return run


def unmasked(run: np.ndarray) -> np.ndarray:
    return run + 1000


def coarse(run: np.ndarray) -> np.ndarray:
    return np.diag([-3.0, 3, 3, 1])


def turned(run: np.ndarray) -> np.ndarray:
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:2, :2] = [[-1.9, 0.62], [0.62, 1.9]]
    return affine


def off_the_lattice(run: np.ndarray) -> np.ndarray:
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = 31, -58, -12
    return affine


def far(run: np.ndarray) -> np.ndarray:
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = 70, -58, -12
    return affine


#: What spoils the values, or gives another affine; None: the file is cut.
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (volume, "expected a 4D run, found one volume of shape (30, 40, 30)"),
        (short, "expected at least 8 frames (8 from frame 0), found 7"),
        (not_a_number, "found 1 NaN or infinite, the first at voxel (3, 4, 5) of frame 6"),
        (unmasked, "expected a brain-masked run, found 100% non-zero values; give its brain mask with --mask"),
        (coarse, "expected voxels of 2 x 2 x 2 mm, found 3 x 3 x 3 mm; resample the registered run"),
        (turned, "the grid is rotated or sheared by 18.1 degrees against the axes of MNI152; resample"),
        (off_the_lattice, "expected a voxel at (0, -18, 18) mm, the centre of placement 0,-18,18"),
        (far, "expected only background outside the model's grid (48x48x48)"),
        (None, "the compressed file is damaged or truncated"),
    ],
)
def test_one_line_status_2_nothing_written(brains, tmp_path, spoil, message):
    run = brains.run(SHAPE)
    found = run if spoil is None else spoil(run)
    moved = found.shape == (4, 4)
    path = (
        brains.timed(tmp_path / "scan.nii.gz", run, 0.8, found)
        if moved
        else brains.write(tmp_path / "scan.nii.gz", found)
    )
    if spoil is None:
        path.write_bytes(path.read_bytes()[:-1000])
    command = [sys.executable, "-m", "swift_export", "onnx", "--weights", CHECKPOINT, "-o", "out", "--input", path.name]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--placement", "0,-18,18"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("swift-export: error: scan.nii.gz: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert "keep" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nii.gz"]
