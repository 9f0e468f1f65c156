"""Runs that fit every rule and whose features would mean nothing: each is warned of, and a good brain is not."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import swift_export
from swift_export.errors import InputError
from swift_export.scans.placement import PLACEMENTS, Placement, parse_placement
from swift_export.scans.scan import Reading, open_scan

pytestmark = pytest.mark.requires("fmri")

SIZE = (96, 96, 96)
SHAPE = (91, 109, 91)
FRAMES = 12
UKB = PLACEMENTS["ukb"]


@pytest.fixture(scope="module")
def brain(brains) -> np.ndarray:
    """A brain of MNI152's extent on FSL's grid: anatomy, and a twentieth of it over time."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij", sparse=True)
    inside = ((x - 45) / 36) ** 2 + ((y - 54.5) / 45) ** 2 + ((z - 39) / 37) ** 2 < 1
    anatomy = np.where(inside, 8000 + 1500 * rng.standard_normal(SHAPE, np.float32), 0)
    return (anatomy[..., None] * (1 + 0.05 * rng.standard_normal(FRAMES, np.float32))).astype(np.int16)


def told(brains, folder, run: np.ndarray, *, seconds: float = 0.8, affine=None, mask=None, **options) -> list[str]:
    path = brains.timed(folder / "run.nii", run, seconds, brains.FSL[1] if affine is None else affine)
    options = {"placement": UKB} | options
    warned: list[str] = []
    with open_scan(path, Reading(**options), SIZE, 4, mask=mask, warn=warned.append) as scan:
        # The sidecar records what the user is told, without the folder.
        assert [f"{path}: {line}" for line in scan.warnings] == warned
        assert scan.facts["warnings"] == list(scan.warnings)
        assert all("\n" not in line for line in warned)
        return list(scan.warnings)


def test_a_good_brain_is_taken_without_a_word(brains, tmp_path, brain):
    for placement in (UKB, PLACEMENTS["hcp"]):
        assert told(brains, tmp_path, brain, placement=placement, drop_frames=(0, 0)) == []
    ras = brains.FSL[1] @ np.diag([-1, 1, 1, 1])
    ras[0, 3] = -90
    assert told(brains, tmp_path, brain[::-1], affine=ras) == []
    assert told(brains, tmp_path, brain, orientation="keep") == []
    assert told(brains, tmp_path, brain, orientation="keep", placement=parse_placement("3,2,-7,-6,3,2")) == []
    inside = brains.write(tmp_path / "mask.nii", (brain[..., 0] != 0).astype(np.uint8), brains.FSL[1])
    assert told(brains, tmp_path, brain + np.int16(7), mask=inside) == []


def test_denoised_and_z_scored_runs(brains, tmp_path, brain):
    inside = brain[..., 0] != 0
    noise = np.random.default_rng(1).standard_normal((*SHAPE, FRAMES), np.float32) * inside[..., None]
    denoised = told(brains, tmp_path, noise * 40)
    assert len(denoised) == 1
    assert re.match(
        r"the brain's mean \(\S+\) is near 0 compared with its deviation \(\S+\): the run has no anatomy", denoised[0]
    )
    # Every voxel scaled to the mean of 100, or of 10,000.
    noise -= noise.mean(axis=3, keepdims=True)
    for scaled in (100 + noise * 2, 10_000 + noise * 2000):
        (line,) = told(brains, tmp_path, np.where(inside[..., None], scaled, 0))
        assert line.startswith("every voxel has the same mean over time: the run has no anatomy")
        assert "desc-preproc_bold" in line
    # Frames that are dropped after the scaling take their part of each mean with them.
    (line,) = told(brains, tmp_path, np.where(inside[..., None], 100 + noise * 2, 0), drop_frames=(3, 2))
    assert line.startswith("every voxel has the same mean over time")


def test_tiny_values_around_the_brain(brains, tmp_path, brain):
    rng = np.random.default_rng(2)
    run = brain.astype(np.float32)
    ring = (run[..., 0] == 0) & (rng.random(SHAPE) < 0.2)
    run[ring] = 1e-6 * rng.standard_normal((np.count_nonzero(ring), FRAMES), np.float32)
    # Whether the placement leaves them on its grid or not: nothing is lost that would have to be cut on purpose.
    for placement in (UKB, PLACEMENTS["hcp"]):
        (line,) = told(brains, tmp_path, run, placement=placement, drop_frames=(0, 0))
        assert re.match(r"\d\d% of the non-zero values are below a thousandth of the largest", line)
        assert line.endswith("give the brain mask with --mask")
    stray = run.copy()
    stray[45, 2, 40, 3] = 900
    with pytest.raises(InputError, match="found 1 non-zero voxels"):
        told(brains, tmp_path, stray)
    wide = brains.write(
        tmp_path / "wide.nii", ((run[..., 0] != 0) & (rng.random(SHAPE) < 0.9)).astype(np.uint8), brains.FSL[1]
    )
    lines = told(brains, tmp_path, run, allow_crop=True, mask=wide)
    assert any(line.endswith("give a tighter --mask") for line in lines)
    tight = brains.write(tmp_path / "tight.nii", (brain[..., 0] != 0).astype(np.uint8), brains.FSL[1])
    assert told(brains, tmp_path, run, mask=tight) == []


def test_first_frames_that_are_not_steady(brains, tmp_path, brain):
    steady = (brain[..., :1] * np.ones(FRAMES)).astype(np.float32)
    assert told(brains, tmp_path, steady) == []
    steady *= 1 + 0.001 * np.random.default_rng(0).standard_normal(FRAMES)
    steady[..., :3] *= [1.5, 1.2, 1.1]
    (line,) = told(brains, tmp_path, steady)
    assert line.startswith("the first 3 frames are brighter than the rest, before the magnetisation was steady")
    assert "--drop-frames 3,0" in line
    (line,) = told(brains, tmp_path, steady, drop_frames=(2, 0))
    assert "the first 1 frame is brighter" in line
    assert "--drop-frames 3,0" in line
    assert told(brains, tmp_path, steady, drop_frames=(3, 0)) == []
    # What is dropped at the end stays so.
    (line,) = told(brains, tmp_path, steady, drop_frames=(1, 2))
    assert "--drop-frames 3,2 or more" in line
    # An empty frame before them counts too.
    steady[..., 0] = 0
    (line,) = told(brains, tmp_path, steady)
    assert line.startswith("the first 3 frames are brighter")
    # A bright frame later on is none of the scanner's.
    steady[..., 8] *= 2
    assert told(brains, tmp_path, steady, drop_frames=(3, 0)) == []


def test_a_brain_of_another_size(brains, tmp_path, brain):
    """A 3 mm brain in an array taken as stored, or under a header of 2 mm."""
    small = np.zeros_like(brain)
    every = [np.rint(np.arange(0, n - 1, 1.5)).astype(int) for n in SHAPE]
    small[15:75, 18:90, 15:75] = brain[np.ix_(*every)]
    line, *others = told(brains, tmp_path, small, orientation="keep")
    assert others == []
    assert re.match(r"the brain measures \d+ x \d+ x \d+ mm, MNI152's 146 x 182 x 152; check that the run is reg", line)
    assert any("the brain measures" in line for line in told(brains, tmp_path, small))


def test_a_brain_in_another_place(brains, tmp_path, brain):
    affine = brains.FSL[1].copy()
    affine[1, 3] -= 30
    lines = told(brains, tmp_path, brain, affine=affine, allow_crop=True)
    (line,) = (line for line in lines if "centre is at" in line)
    assert re.match(r"the brain's centre is at \(0, -\d+, 6\) mm, MNI152's at \(0, -17, 6\)", line)


@pytest.mark.parametrize(("seconds", "number"), [(0.59, 1), (0.6, 0), (0.72, 0), (1.0, 0), (1.01, 1), (3.0, 1)])
def test_the_repetition_time(brains, tmp_path, brain, seconds, number):
    lines = told(brains, tmp_path, brain, seconds=seconds)
    assert len(lines) == number
    assert all("(0.72 to 0.8 s in training); use --resample-tr 0.8 to interpolate" in line for line in lines)


def test_strict_makes_errors_of_warnings(brains, tmp_path, brain):
    assert told(brains, tmp_path, brain, strict=True) == []
    with pytest.raises(InputError, match=r"run\.nii: the repetition time is 3 s.* \(an error because of --strict\)"):
        told(brains, tmp_path, brain, seconds=3.0, strict=True)
    bright = brain.astype(np.float32)
    bright[..., 0] *= 2
    with pytest.raises(
        InputError, match=r"run\.nii: the first 1 frame is brighter .* \(an error because of --strict\)"
    ):
        told(brains, tmp_path, bright, strict=True)
    # What readers tell while the run is read too.
    path = tmp_path / "run.nii.gz"
    brains.timed(path, brain[..., :4], 0.8, brains.FSL[1])
    path.write_bytes(path.read_bytes() + b"trailing")
    with (
        pytest.raises(
            InputError,
            match=r"run\.nii\.gz: 8 bytes after the complete compressed data.* \(an error because of --strict\)",
        ),
        open_scan(path, Reading(UKB, strict=True), SIZE, 4),
    ):
        pass


def test_a_scan_that_is_refused_gets_its_error_alone(brains, tmp_path, brain):
    """Also what is found by reading it to its end."""
    run = brain[..., :4].astype(np.float32)
    run[45, 54, 39, 2] = np.nan
    path = brains.timed(tmp_path / "run.nii.gz", run, 3.0, brains.FSL[1])
    path.write_bytes(path.read_bytes() + b"trailing")
    warned: list[str] = []
    with (
        pytest.raises(InputError, match="found 1 NaN or infinite"),
        open_scan(path, Reading(UKB), SIZE, 4, warn=warned.append),
    ):
        pass
    assert warned == []


def test_python_issues_scan_warnings(brains, tmp_path):
    path = brains.timed(tmp_path / "run.nii", brains.run((9, 11, 7, 8)), 3.0)
    reading = Reading(Placement("mine", (0, -18, 18)))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with open_scan(path, reading, (12, 12, 12), 4) as scan:
            assert [str(warning.message) for warning in warned] == [f"{path}: {line}" for line in scan.warnings]
    assert {warning.category for warning in warned} == {swift_export.ScanWarning}
    assert str(warned[0].message).startswith(f"{path}: the repetition time is 3 s")
