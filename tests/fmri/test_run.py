"""The input contract, against a plain NumPy statement of it, and every run that it turns away."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.fmri.nifti import open_nifti
from swift_export.fmri.prepare import RunStatistics, prepare_run

pytestmark = pytest.mark.requires("fmri")

SHAPE = (9, 11, 7, 8)
SIZE = (12, 12, 12)


def prepared(path, **options):
    options = {"start": 0, "frames": 4} | options
    return prepare_run(open_nifti(path), SIZE, **options)[0]


def by_the_book(run: np.ndarray, start: int, frames: int) -> np.ndarray:
    """Facts of the published preprocessing, in NumPy's words; 9x11x7 is padded by (2,1), (1,0), (3,2)."""
    run = run.astype(np.float64)
    background = run == 0
    signal = run[~background]
    z = (run - signal.mean()) / signal.std(ddof=1)
    smallest = z[~background].min()
    z[background] = smallest
    padded = np.pad(z, [(2, 1), (1, 0), (3, 2), (0, 0)], constant_values=smallest)
    return padded[..., start : start + frames]


@pytest.mark.parametrize("start", [0, 3, 4])
def test_whole_run_statistics_then_window(brains, tmp_path, start):
    run = brains.run(SHAPE)
    run[..., 6:] *= 1.5  # frames outside the first windows move mean and deviation
    run[3, 4, 2, 1] = 0  # background is decided frame by frame
    clip = prepared(brains.write(tmp_path / "run.nii", run), start=start)
    assert clip.dtype == np.float32
    assert clip.flags.c_contiguous
    np.testing.assert_allclose(clip, by_the_book(run, start, 4), rtol=0, atol=3e-7)


def test_background_of_padding_and_of_every_frame_is_the_smallest_z_value(brains, tmp_path):
    run = brains.run(SHAPE)
    run[3, 4, 2] = 1000
    run[3, 4, 2, 1] = 0
    run[4, 5, 3] = 1000
    run[4, 5, 3, 7] = -50  # the smallest value of the run lies outside the window
    clip = prepared(brains.write(tmp_path / "run.nii", run))
    smallest = by_the_book(run, 7, 1).min()
    assert clip[5, 5, 5, 1] == clip[0, 0, 0, 0] == clip.min() == np.float32(smallest)
    assert clip[5, 5, 5, 0] > clip.min()


def test_values_that_the_crop_leaves_out_count(brains, tmp_path):
    run = brains.run((31, 11, 7, 4))
    run[:5, 5, 3] = 3000
    clip = prepared(brains.write(tmp_path / "run.nii", run))
    signal = run[run != 0].astype(np.float64)
    expected = np.where(run == 0, signal.min(), run)[9:21] / signal.std(ddof=1) - signal.mean() / signal.std(ddof=1)
    np.testing.assert_allclose(clip[:, 1:, 3:10], expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (1e4, 1e-2), (-3e6, 10.0)])
def test_statistics_are_exact_where_a_sum_of_squares_is_not(mean, deviation):
    values = np.random.default_rng(0).normal(mean, deviation, (30, 5, 6, 7))
    values[values[..., 0] > mean, 1] = 0
    statistics = RunStatistics()
    for volume in values:
        statistics.add(volume)
    statistics.add(np.zeros((5, 6, 7)))
    signal = values[values != 0]
    assert statistics.foreground == signal.size
    assert statistics.values == values.size + 210
    np.testing.assert_allclose(statistics.mean, signal.mean(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(statistics.deviation, signal.std(ddof=1), rtol=1e-10)
    assert (statistics.smallest, statistics.largest) == (signal.min(), signal.max())


def test_mask_makes_background(brains, tmp_path):
    run = np.random.default_rng(0).normal(1000, 50, SHAPE).astype(np.float32)
    inside = np.random.default_rng(1).random(SHAPE[:3]) < 0.7
    mask = brains.write(tmp_path / "mask.nii", inside.astype(np.uint8))
    clip = prepared(brains.write(tmp_path / "run.nii", run), mask=mask)
    np.testing.assert_allclose(clip, by_the_book(run * inside[..., None], 0, 4), rtol=0, atol=3e-7)


def test_mask_is_turned_with_the_run(brains, tmp_path):
    run = np.random.default_rng(0).normal(1000, 50, SHAPE).astype(np.float32)
    inside = np.random.default_rng(1).random(SHAPE[:3]) < 0.4
    las = prepared(
        brains.write(tmp_path / "las.nii", run), mask=brains.write(tmp_path / "m1.nii", inside.astype(np.uint8))
    )
    affine = brains.centred(SHAPE, "RAS")
    mask = brains.write(tmp_path / "m2.nii", inside[::-1].astype(np.uint8), affine)
    np.testing.assert_array_equal(las, prepared(brains.write(tmp_path / "ras.nii", run[::-1], affine), mask=mask))


def test_orientation_decides_which_side_is_first(brains, tmp_path):
    path = brains.write(tmp_path / "ras.nii", brains.run(SHAPE), brains.centred(SHAPE, "RAS"))
    las, ras, keep = (prepared(path, orientation=orientation) for orientation in ("LAS", "RAS", "keep"))
    np.testing.assert_array_equal(ras, keep)
    assert not np.array_equal(las, ras)
    np.testing.assert_array_equal(las[2:11], ras[2:11][::-1])  # 9 voxels of 12: (2, 1) around them


def test_memory_is_the_window_and_not_the_run(brains, tmp_path):
    run = np.zeros((60, 60, 60, 300), np.int16)
    run[20:40, 20:40, 20:40] = np.random.default_rng(0).integers(500, 1500, (20, 20, 20, 300))
    scan = open_nifti(brains.write(tmp_path / "run.nii.gz", run))
    del run
    tracemalloc.start()
    prepare_run(scan, (48, 48, 48), start=100, frames=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    window, volume = 4 * 48**3 * 8, 60**3 * 8
    assert peak < 4 * window + 8 * volume < 60**3 * 300 * 2 / 4


# Runs that are turned away.


def refused(path, message, **options):
    with pytest.raises(InputError, match=message) as error:
        prepared(path, **options)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_volume_is_no_run(brains, tmp_path):
    refused(brains.write(tmp_path / "t1.nii", brains.run(SHAPE)[..., 0]), r"4D run, found one volume of shape \(9, 11")


def test_fewer_frames_than_asked(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run(SHAPE))
    refused(path, r"at least 9 frames \(9 from frame 0\), found 8", frames=9)
    refused(path, r"at least 9 frames \(4 from frame 5\), found 8", start=5)
    refused(brains.write(tmp_path / "one.nii", brains.run((*SHAPE[:3], 1))), "at least 4 frames .*, found 1")
    assert prepared(path, frames=8).shape == (*SIZE, 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_counted_and_placed(brains, tmp_path, bad):
    run = brains.run(SHAPE)
    run[4, 2, 6, 5] = run[5, 2, 3, 5] = run[1, 9, 3, 5] = run[0, 0, 0, 7] = bad
    refused(
        brains.write(tmp_path / "run.nii", run),
        r"found 4 NaN or infinite, the first at voxel \(5, 2, 3\) of frame 5.* or give --mask",
    )


def test_only_values_inside_the_mask_must_be_numbers(brains, tmp_path):
    run = brains.run(SHAPE)
    inside = run[..., 0] != 0
    mask = brains.write(tmp_path / "mask.nii", inside.astype(np.uint8))
    clean = prepared(brains.write(tmp_path / "clean.nii", run))
    run[~inside] = np.nan
    np.testing.assert_array_equal(prepared(brains.write(tmp_path / "run.nii", run), mask=mask), clean)
    run[tuple(np.argwhere(inside)[0])] = np.nan
    refused(brains.write(tmp_path / "worse.nii", run), "found 8 NaN or infinite inside the mask", mask=mask)


def test_a_run_with_its_skull_is_not_masked(brains, tmp_path):
    run = np.random.default_rng(0).normal(1000, 50, SHAPE).astype(np.float32)
    refused(brains.write(tmp_path / "all.nii", run), "100% of the values are not 0: .* not brain-masked.*--mask")
    run[:4] = 0  # 5 of 9 slices are left
    refused(brains.write(tmp_path / "most.nii", run), "56% of the values are not 0")
    run[4] = 0
    prepared(brains.write(tmp_path / "some.nii", run))


def test_runs_without_signal(brains, tmp_path):
    run = np.zeros(SHAPE, np.float32)
    refused(brains.write(tmp_path / "zero.nii", run), "found 0 alone in the run")
    run[4:7, 4:7, 3] = 0.1
    refused(brains.write(tmp_path / "one.nii", run), "found one constant in the run")
    run[4:7, 4:7, 3, 5] = 0.2
    prepared(brains.write(tmp_path / "two.nii", run))
    huge = np.where(run == 0, 0, np.random.default_rng(0).uniform(-1e200, 1e200, SHAPE))
    refused(brains.write(tmp_path / "huge.nii", huge), r"found values to 9\.\d+e\+199; is it damaged")
    run[..., :4] = 0
    refused(brains.write(tmp_path / "late.nii", run), "frames 0 to 3 hold background alone")


def test_the_grid_is_judged_before_the_run_is_read(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run(SHAPE), brains.centred(SHAPE, size=3.0))
    content = path.read_bytes()
    path.write_bytes(content[:352] + b"\xff" * (len(content) - 352))
    refused(path, "found 3 x 3 x 3 mm")
