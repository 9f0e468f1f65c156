"""The input contract, against a plain NumPy statement of it, and every run that it turns away."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from swift_export.errors import InputError, UsageError
from swift_export.scans.placement import Placement, parse_placement
from swift_export.scans.scan import Reading, open_scan
from swift_export.scans.statistics import RunStatistics

pytestmark = pytest.mark.requires("fmri")

SHAPE = (9, 11, 7, 8)
SIZE = (12, 12, 12)
#: Voxel n // 2 of the scans that ``brains.write`` makes goes to index n // 2 of the grid.
CENTRED = parse_placement("0,-18,18")


def opened(path, *, frames=4, mask=None, size=SIZE, placement=CENTRED, **options):
    return open_scan(path, Reading(placement, **options), size, frames, mask=mask, warn=lambda _: None)


def prepared(path, **options):
    with opened(path, **options) as scan:
        return scan.window(0)


def by_the_book(run: np.ndarray, start: int, frames: int, affine: tuple[float, float] = (1, 0)) -> np.ndarray:
    """Facts of the published preprocessing, in NumPy's words; 9x11x7 is padded by (2,1), (1,0), (3,2)."""
    run = run.astype(np.float64) * affine[0] + affine[1]
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


def changing(seed: int) -> np.ndarray:
    """Integers in voxels that differ from frame to frame, some frames the same, one of them empty."""
    rng = np.random.default_rng(seed)
    run = rng.integers(1, 3000, SHAPE).astype(np.int16)
    run[rng.random(SHAPE) > 0.4] = 0
    run[..., 5][run[..., 4] == 0] = 0
    run[..., 5][(run[..., 4] != 0) & (run[..., 5] == 0)] = 7  # as the frame before
    run[..., 3] = 0
    return run


@pytest.mark.parametrize("codes", ["LAS", "RAS", "SLP", "IRA"])
@pytest.mark.parametrize("scaling", [None, (0.5, 0), (2.0, -14.0), (-1.5, 0)], ids=str)
def test_foreground_that_changes_from_frame_to_frame(brains, tmp_path, codes, scaling):
    """Background is decided after the header's scaling: -14 makes 0 of 7, and something of 0."""
    import nibabel as nib

    run = changing(1)
    if scaling == (2.0, -14.0):
        # What is 0 after the scaling is 7 in the file, so 0 and 7 change places.
        run = np.where(run == 0, 7, np.where(run == 7, 0, run)).astype(np.int16)
    affine = brains.centred(SHAPE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(codes)))
    image = nib.Nifti1Image(
        nib.orientations.apply_orientation(run, turn), affine @ nib.orientations.inv_ornt_aff(turn, SHAPE[:3])
    )
    if scaling:
        image.header.set_slope_inter(*scaling)
    nib.save(image, tmp_path / "run.nii.gz")
    with opened(tmp_path / "run.nii.gz", step=1) as scan:
        assert len(scan) == 5
        for start, clip in enumerate(scan):
            expected = by_the_book(run, start, 4, scaling or (1, 0))
            np.testing.assert_allclose(clip, expected, rtol=0, atol=6e-7)
        # In any order, as often as wanted.
        np.testing.assert_array_equal(scan.window(4), clip)
        np.testing.assert_allclose(scan.window(1), by_the_book(run, 1, 4, scaling or (1, 0)), rtol=0, atol=6e-7)


def test_dropped_frames_take_no_part(brains, tmp_path):
    run = brains.run(SHAPE)
    run[..., :2] *= 10
    run[..., -1] += 500
    run[5, 5, 5, -1] = np.inf
    path = brains.write(tmp_path / "run.nii", run)
    with opened(path, drop_frames=(2, 1), start=1) as scan:
        assert scan.facts["drop_frames"] == [2, 1]
        assert (scan.facts["starts"], scan.facts["total"]) == ([1], 5)
        np.testing.assert_allclose(scan.window(0), by_the_book(run[..., 2:-1], 1, 4), rtol=0, atol=3e-7)
    placement = Placement("mine", CENTRED.point, drop_frames=(2, 1))
    np.testing.assert_allclose(
        prepared(path, placement=placement), by_the_book(run[..., 2:-1], 0, 4), rtol=0, atol=3e-7
    )
    refused(path, r"dropping the first 8 and the last 0, found 8 in total", drop_frames=(8, 0))
    refused(
        path, r"at least 4 frames \(4 from frame 0\), found 3 after dropping 2 at the beginning and 3 at the end",
        drop_frames=(2, 3),
    )  # fmt: skip
    with pytest.raises(UsageError, match="--drop-frames -1,0: expected numbers of frames of at least 0"):
        prepared(path, drop_frames=(-1, 0))


def test_windows_and_strides(brains, tmp_path):
    run = brains.run((*SHAPE[:3], 23), seed=4)
    book = by_the_book(run, 0, 23)
    path = brains.write(tmp_path / "run.nii.gz", run)
    for options, frames in (
        ({}, [range(s, s + 4) for s in (0, 4, 8, 12, 16)]),
        ({"step": 6, "start": 1}, [range(s, s + 4) for s in (1, 7, 13, 19)]),
        ({"windows": 2, "step": 1}, [range(4), range(1, 5)]),
        ({"stride": 2}, [range(0, 8, 2), range(8, 16, 2)]),
        ({"stride": 2, "step": 3, "start": 2}, [range(s, s + 8, 2) for s in (2, 5, 8, 11, 14)]),
    ):
        with opened(path, **options) as scan:
            assert [list(scan.windows.indices(n)) for n in range(len(scan))] == [list(f) for f in frames]
            for clip, taken in zip(scan, frames, strict=True):
                np.testing.assert_allclose(clip, book[..., list(taken)], rtol=0, atol=3e-7)
            json.dumps(scan.facts)


def test_statistics_are_of_the_training_box_or_of_the_whole_run(brains, tmp_path):
    run = brains.run((31, 11, 7, 4))
    run[:5, 5, 3] = 3000
    path = brains.write(tmp_path / "run.nii", run)
    refused(path, r"found \d+ non-zero voxels")
    # 31 voxels of x on 12: 9 are cut in front, 10 behind.
    signal = run[run != 0].astype(np.float64)
    expected = (np.where(run == 0, signal.min(), run)[9:21] - signal.mean()) / signal.std(ddof=1)
    clip = prepared(path, allow_crop=True)
    np.testing.assert_allclose(clip[:, 1:, 3:10], expected, rtol=0, atol=3e-6)
    # A placement that knows what its arrays held takes statistics of that: indices 1 to 10 of x.
    box = Placement("mine", CENTRED.point, paddings=((43, 43), (0, 0), (0, 0)), stored={(1, 1, 1): (0, 0, 0)})
    held = run[10:20]
    signal = held[held != 0].astype(np.float64)
    expected = (np.where(held == 0, signal.min(), held) - signal.mean()) / signal.std(ddof=1)
    clip = prepared(path, allow_crop=True, placement=box)
    np.testing.assert_allclose(clip[1:11, 1:, 3:10], expected, rtol=0, atol=3e-6)
    assert (clip[[0, 11]] == clip.min()).all()
    # Whether the run is masked, its file tells: a brain may fill the box.
    full = np.zeros_like(run)
    full[10:20] = np.random.default_rng(1).uniform(500, 900, full[10:20].shape)
    prepared(brains.write(tmp_path / "full.nii", full), placement=box)


def test_cut_voxels_are_those_that_are_ever_not_0(brains, tmp_path):
    run = np.zeros((16, 11, 7, 6), np.int16)
    run[4:12, 3:8, 2:5] = np.random.default_rng(0).integers(500, 900, (8, 5, 3, 6))
    path = brains.write(tmp_path / "run.nii", run)
    clip = prepared(path)
    run[0, 5, 3, 1] = run[1, 5, 3, 2] = run[1, 5, 3, 5] = run[15, 0, 0, 0] = 800  # 2 are cut in front, 2 behind
    path = brains.write(tmp_path / "out.nii", run)
    refused(
        path,
        r"expected only background .* \(12x12x12\), found 3 non-zero voxels; give a tighter --mask, or use --allow",
    )
    with opened(path, allow_crop=True) as scan:
        assert scan.facts["cut_voxels"] == 3
        # Its background is the same; statistics are those of the run, of which four values more are 800.
        np.testing.assert_array_equal(scan.window(0) == scan.window(0).min(), clip == clip.min())
    mask = np.zeros(run.shape[:3], np.uint8)
    mask[2:14] = 1
    mask[:, :2] = 0
    inside = brains.write(tmp_path / "mask.nii", mask)
    np.testing.assert_array_equal(prepared(path, mask=inside), clip)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (1e4, 1e-2), (-3e6, 10.0)])
def test_statistics_are_exact_where_a_sum_of_squares_is_not(mean, deviation):
    values = np.random.default_rng(0).normal(mean, deviation, (30, 5, 6, 7))
    values[values[..., 0] > mean, 1] = 0
    statistics = RunStatistics()
    for volume in values:
        statistics.add(volume[volume != 0], volume.size)
    statistics.add(np.zeros(0), 210)
    signal = values[values != 0]
    assert statistics.foreground == signal.size
    assert statistics.values == values.size + 210
    np.testing.assert_allclose(statistics.mean, signal.mean(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(statistics.deviation, signal.std(ddof=1), rtol=1e-10)
    assert (statistics.smallest, statistics.largest) == (signal.min(), signal.max())
    np.testing.assert_allclose(statistics.frame_means[:-1], [v[v != 0].mean() for v in values], rtol=1e-12)
    assert np.isnan(statistics.frame_means[-1])


def test_mask_makes_background(brains, tmp_path):
    run = np.random.default_rng(0).normal(1000, 50, SHAPE).astype(np.float32)
    inside = np.random.default_rng(1).random(SHAPE[:3]) < 0.4
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
    run = brains.run(SHAPE)
    path = brains.write(tmp_path / "ras.nii", run, brains.centred(SHAPE, "RAS"))
    las, ras = (prepared(path, orientation=orientation) for orientation in ("LAS", "RAS"))
    keep = prepared(path, orientation="keep", placement=parse_placement("2,1,1,0,3,2"))
    np.testing.assert_array_equal(ras, keep)
    np.testing.assert_allclose(ras, by_the_book(run, 0, 4), rtol=0, atol=3e-7)
    assert not np.array_equal(las, ras)
    np.testing.assert_array_equal(las[2:11], ras[2:11][::-1])  # 9 voxels of 12: (2, 1) around them
    np.testing.assert_array_equal(las, prepared(path))


def test_memory_is_the_window_and_not_the_run(brains, tmp_path):
    run = np.zeros((60, 60, 60, 300), np.int16)
    run[20:40, 20:40, 20:40] = np.random.default_rng(0).integers(500, 1500, (20, 20, 20, 300))
    path = brains.write(tmp_path / "run.nii.gz", run)
    del run
    tracemalloc.start()
    prepared(path, size=(48, 48, 48), start=100)
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
    refused(path, r"at least 12 frames \(3 windows from frame 0\), found 8", windows=3)
    refused(path, r"at least 12 frames \(4 from frame 0, 3 apart\), found 8", stride=3)
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
    path = brains.write(tmp_path / "all.nii", run)
    refused(path, "expected a brain-masked run, found 100% non-zero values.*--mask")
    head = np.zeros(SHAPE[:3], np.uint8)
    head[:7] = 1  # 7 of 9 slices
    refused(
        path, r"expected a mask that keeps at most 50% of the values, found 78%",
        mask=brains.write(tmp_path / "head.nii", head),
    )  # fmt: skip
    run[:4] = 0  # 5 of 9 slices are left
    refused(brains.write(tmp_path / "most.nii", run), "found 56% non-zero values")
    run[4] = 0
    prepared(brains.write(tmp_path / "some.nii", run))


def test_runs_without_signal(brains, tmp_path):
    run = np.zeros(SHAPE, np.float32)
    refused(brains.write(tmp_path / "zero.nii", run), "found only 0 in the run")
    run[4:7, 4:7, 3] = 0.1
    refused(brains.write(tmp_path / "one.nii", run), "found one constant in the run")
    run[4:7, 4:7, 3, 5] = 0.2
    prepared(brains.write(tmp_path / "two.nii", run))
    huge = np.where(run == 0, 0, np.random.default_rng(0).uniform(-1e200, 1e200, SHAPE))
    refused(brains.write(tmp_path / "huge.nii", huge), r"found values up to 9\.\d+e\+199; check the file")
    refused(
        brains.write(tmp_path / "tiny.nii", huge * 1e-200 * 1e-200), r"found values up to 9\.\d+e-201; check the file"
    )
    run[..., :4] = 0
    refused(brains.write(tmp_path / "late.nii", run), "found only background in frames 0 to 3")
    refused(
        brains.write(tmp_path / "late.nii", run), "found only background in frames 1 to 3", frames=3, step=1, start=1
    )
    prepared(brains.write(tmp_path / "late.nii", run), start=1)


def test_the_grid_is_judged_before_the_run_is_read(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run(SHAPE), brains.centred(SHAPE, size=3.0))
    content = path.read_bytes()
    path.write_bytes(content[:352] + b"\xff" * (len(content) - 352))
    refused(path, "found 3 x 3 x 3 mm")
