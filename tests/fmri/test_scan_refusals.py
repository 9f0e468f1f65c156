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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (volume, "expected a 4D run, found one volume of shape (30, 40, 30)"),
        (short, "expected at least 8 frames (8 from frame 0), found 7"),
        (not_a_number, "found 1 NaN or infinite, the first at voxel (3, 4, 5) of frame 6"),
        (unmasked, "100% of the values are not 0: the run is not brain-masked; give its brain mask with --mask"),
        (None, "the compressed file is damaged or truncated"),
    ],
)
def test_one_line_status_2_nothing_written(brains, tmp_path, spoil, message):
    run = brains.run(SHAPE)
    path = brains.write(tmp_path / "scan.nii.gz", run if spoil is None else spoil(run))
    if spoil is None:
        path.write_bytes(path.read_bytes()[:-1000])
    command = [sys.executable, "-m", "swift_export", "onnx", "--weights", CHECKPOINT, "-o", "out", "--input", path.name]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("swift-export: error: scan.nii.gz: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nii.gz"]
