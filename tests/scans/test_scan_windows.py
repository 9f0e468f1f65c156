"""Windows are counted by the header alone, as many as an open scan has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.scans.placement import parse_placement
from swift_export.scans.read_options import Reading
from swift_export.scans.scan import open_scan
from swift_export.scans.scan_windows import count_windows

GRID, FRAMES = (48, 48, 48), 8
HERE = parse_placement("0,-18,18")


@pytest.mark.requires("fmri")
@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 3),
        ({"drop_frames": (2, 5)}, 2),
        ({"step": 2}, 12),
        ({"windows": 2}, 2),
        ({"start": 20}, 1),
        ({"stride": 2}, 1),
        ({"resample_tr": 1.6}, 1),
    ],
)
def test_as_many_as_an_open_scan_has(brains, tmp_path: Path, options, count) -> None:
    path = brains.timed(tmp_path / "run.nii", brains.run((9, 11, 7, 30)), 0.8)
    reading = Reading(HERE, **options)
    assert count_windows(path, reading, GRID, FRAMES) == count
    with open_scan(path, reading, GRID, FRAMES, warn=lambda _: None) as scan:
        assert len(scan) == count


@pytest.mark.requires("fmri")
def test_a_short_run_is_an_error(brains, tmp_path: Path) -> None:
    path = brains.timed(tmp_path / "run.nii", brains.run((9, 11, 7, 7)), 0.8)
    with pytest.raises(InputError, match=r"run\.nii: expected at least 8 frames"):
        count_windows(path, Reading(HERE), GRID, FRAMES)


def test_prepared_clips(tmp_path: Path) -> None:
    np.save(tmp_path / "clips.npy", np.zeros((5, 1, *GRID, FRAMES), np.float16))
    assert count_windows(tmp_path / "clips.npy", None, GRID, FRAMES) == 5
