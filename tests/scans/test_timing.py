"""The repetition time, where it stands, and interpolation to another one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from swift_export.errors import InputError, UsageError
from swift_export.scans.nifti import MAX_FRAMES, open_nifti
from swift_export.scans.placement import parse_placement
from swift_export.scans.plausibility import tr_doubts
from swift_export.scans.scan import Reading, open_scan
from swift_export.scans.timing import RepetitionTime, repetition_time, resampling

SHAPE = (9, 11, 7, 12)
SIZE = (12, 12, 12)
CENTRED = parse_placement("0,-18,18")


def interpolated(values: np.ndarray, count: int) -> np.ndarray:
    """``torch.nn.functional.interpolate(x, size=count, mode="linear", align_corners=False)`` over the last axis.

    From PyTorch's documentation and its statement of half-pixel centres: output i lies at
    ``(i + 0.5) * n / count - 0.5`` of the input, not before its first element; beyond the last one the last one holds.
    The scale and, once, the place are rounded to float32, as where the processor multiplies and adds in one step.
    """
    n = values.shape[-1]
    scale = float(np.float32(n) / np.float32(count))
    frames = []
    for i in range(count):
        place = float(np.float32(max(scale * (i + 0.5) - 0.5, 0)))
        low = min(int(place), n - 1)
        high = low + 1 if low < n - 1 else low
        weight = np.float32(min(place - low, 1))
        frames.append((np.float32(1) - weight) * values[..., low] + weight * values[..., high])
    return np.stack(frames, axis=-1)


@pytest.mark.parametrize(
    ("frames", "seconds", "target"),
    [(12, 2.0, 0.8), (12, 0.72, 0.8), (30, 0.5, 0.8), (7, 3.0, 0.1), (12, 0.8, 0.8), (1, 2.0, 0.8), (5, 0.9, 1.0),
     (1200, 0.72, 0.8)],
)  # fmt: skip
def test_weights_are_torchs(frames, seconds, target):
    plan = resampling(frames, seconds, target)
    assert len(plan) == round(seconds * frames / target)
    values = np.random.default_rng(0).standard_normal((3, frames)).astype(np.float32)
    found = values[:, plan.first] * (1 - plan.weight) + values[:, plan.second] * plan.weight
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, interpolated(values, len(plan)))


@pytest.mark.parametrize(
    ("frames", "seconds", "target", "places", "recorded"),
    [
        (1200, 0.72, 0.8, [0, 1, 360, 541, 1078, 1079],
         [2.055556535720825, 43.16667175292969, 56.056182861328125, 23.16741943359375, 81.8348388671875, 27.5546875]),
        (12, 2.0, 0.8, [0, 1, 10, 16, 28, 29],
         [0.0, 3.700000286102295, 35.900001525878906, 23.699996948242188, 9.39996337890625, 3.0]),
        (200, 3.0, 0.8, [0, 1, 250, 376, 748, 749],
         [0.0, 0.0, 29.100112915039062, 60.30005645751953, 91.0, 91.0]),
    ],
)  # fmt: skip
def test_what_torch_gave(frames, seconds, target, places, recorded):
    """Recorded from torch 2.13 on a processor with fused multiplication and addition."""
    values = (np.arange(frames) * 37 % 101).astype(np.float32)
    plan = resampling(frames, seconds, target)
    found = values[plan.first] * (1 - plan.weight) + values[plan.second] * plan.weight
    np.testing.assert_allclose(found[places], recorded, rtol=1e-6, atol=1e-5)


def test_by_hand():
    # Four frames become two: each the mean of two. Two become four: quarters, and the edges hold.
    halved = resampling(4, 1.0, 2.0)
    assert (halved.first.tolist(), halved.second.tolist(), halved.weight.tolist()) == ([0, 2], [1, 3], [0.5, 0.5])
    doubled = resampling(2, 2.0, 1.0)
    values = np.array([10.0, 20.0], np.float32)
    found = values[doubled.first] * (1 - doubled.weight) + values[doubled.second] * doubled.weight
    assert found.tolist() == [10.0, 12.5, 17.5, 20.0]
    same = resampling(5, 0.8, 0.8)
    assert same.weight.tolist() == [0] * 5


def test_times_that_make_no_run():
    with pytest.raises(
        InputError, match=r"--resample-tr 30: expected 1 to \d+ frames from 10 frames of 1 s, found none"
    ):
        resampling(10, 1.0, 30.0)
    for target in (1e-6, 1e-300, 5e-324):
        with pytest.raises(InputError, match=f"expected 1 to {MAX_FRAMES} frames from 10 frames of 1 s, found more"):
            resampling(10, 1.0, target)
    for target in (0.0, -0.8, np.nan, np.inf):
        with pytest.raises(UsageError, match=r"--resample-tr .*: expected a positive number"):
            resampling(10, 1.0, target)


def found_in(path) -> tuple[RepetitionTime | None, list[str]]:
    told: list[str] = []
    return repetition_time(open_nifti(path), told.append), told


@pytest.mark.requires("fmri")
def test_the_sidecar_decides_then_the_header(brains, tmp_path):
    path = brains.timed(tmp_path / "sub-01_bold.nii.gz", brains.run(SHAPE), 0.72)
    assert found_in(path) == (RepetitionTime(0.72, "header"), [])
    sidecar = tmp_path / "sub-01_bold.json"
    sidecar.write_text(json.dumps({"RepetitionTime": 0.72, "TaskName": "rest"}))
    assert found_in(path) == (RepetitionTime(0.72, "sidecar"), [])
    sidecar.write_text(json.dumps({"RepetitionTime": 2}))
    assert found_in(path) == (
        RepetitionTime(2.0, "sidecar"),
        ["the sidecar's RepetitionTime is 2 s, the header's 0.72 s; the sidecar's was used"],
    )
    brains.patch(brains.write(tmp_path / "plain.nii", brains.run(SHAPE)), xyzt_units=0, pixdim=[1, 2, 2, 2, 0, 0, 0, 0])
    assert found_in(tmp_path / "plain.nii") == (None, [])
    (tmp_path / "plain.json").write_text('{"RepetitionTime": 0.8}')
    assert found_in(tmp_path / "plain.nii") == (RepetitionTime(0.8, "sidecar"), [])


@pytest.mark.requires("fmri")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", None),
        ('{"RepetitionTime": "0.8"}', "RepetitionTime '0.8', which is not a time in seconds"),
        ('{"RepetitionTime": "0.8\\n"}', "RepetitionTime '0.8\\n', which"),
        ('{"RepetitionTime": true}', "RepetitionTime True, which"),
        ('{"RepetitionTime": [0.8]}', "RepetitionTime [0.8], which"),
        ('{"RepetitionTime": null}', None),
        ('{"RepetitionTime": 800}', "RepetitionTime 800, which is not a time in seconds"),
        ('{"RepetitionTime": 0}', "RepetitionTime 0, which"),
        ('{"RepetitionTime": -0.8}', "RepetitionTime -0.8, which"),
        ('{"RepetitionTime": NaN}', "RepetitionTime nan, which"),
        ('{"RepetitionTime": Infinity}', "RepetitionTime inf, which"),
        (f'{{"RepetitionTime": {10**400}}}', "RepetitionTime 10000000000000000000, which"),
        ("not JSON", "cannot be read"),
        ("[0.8]", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (" " * (4 * 2**20 + 1), "it is larger than"),
    ],
    ids=range(16),
)
def test_sidecars_that_tell_no_time(brains, tmp_path, content, told):
    path = brains.timed(tmp_path / "run.nii", brains.run((9, 11, 7, 2)), 0.72)
    (tmp_path / "run.json").write_text(content)
    time, warnings = found_in(path)
    assert time == RepetitionTime(0.72, "header")
    assert len(warnings) == (told is not None)
    for warning in warnings:
        assert told in warning
        assert "the header's" in warning
        assert "\n" not in warning


@pytest.mark.parametrize(
    ("seconds", "resampled", "told"),
    [
        (0.72, None, None), (0.8, None, None), (0.6, None, None), (1.0, None, None), (3.0, 0.8, None),
        (0.59, None, "the repetition time is 0.59 s (0.72 to 0.8 s in training); use --resample-tr 0.8 to interpolate"),
        (3.0, None, "the repetition time is 3 s"),
        (0.8, 2.0, "the repetition time is 2 s (0.72 to 0.8 s in training); choose a closer value"),
        (None, None, "the repetition time is unknown (0.72 to 0.8 s in training): neither the header nor a sidecar"),
    ],
)  # fmt: skip
def test_what_is_told_of_the_repetition_time(seconds, resampled, told):
    found = list(tr_doubts(None if seconds is None else RepetitionTime(seconds, "header"), resampled))
    assert len(found) == (told is not None)
    assert told is None or found[0].startswith(told)


def patchy(seed: int, frames: int) -> np.ndarray:
    """A run whose background differs from frame to frame."""
    rng = np.random.default_rng(seed)
    run = rng.normal(1000, 50, (*SHAPE[:3], frames)).astype(np.float32)
    run[rng.random(run.shape) > 0.4] = 0
    run[0] = 0
    return run


@pytest.mark.requires("fmri")
@pytest.mark.parametrize(("seconds", "target"), [(2.0, 0.8), (0.5, 0.8), (0.72, 0.8)])
def test_a_run_is_interpolated_after_normalisation(brains, tmp_path, seconds, target):
    """Over all frames that are left, background among them; then windows are cut."""
    run = patchy(0, 23)
    path = brains.timed(tmp_path / "run.nii.gz", run, seconds)
    left = run[..., 2:-1].astype(np.float64)
    signal = left[left != 0]
    z = (left - signal.mean()) / signal.std(ddof=1)
    z[left == 0] = z[left != 0].min()
    whole = interpolated(z.astype(np.float32), round(seconds * 20 / target))
    whole = np.pad(whole, [(2, 1), (1, 0), (3, 2), (0, 0)], constant_values=z.min())
    count = whole.shape[-1]
    for options, windows in (
        ({}, count // 5),
        ({"start": 2, "step": 3}, (count - 2 - 5) // 3 + 1),
        ({"stride": 2, "windows": 1}, 1),
    ):
        reading = Reading(CENTRED, drop_frames=(2, 1), resample_tr=target, **options)
        with open_scan(path, reading, SIZE, 5, warn=lambda _: None) as scan:
            assert scan.facts["resample_tr"] == target
            assert scan.facts["repetition_time"] == {"seconds": seconds, "source": "header"}
            assert scan.facts["total"] == count
            assert len(scan) == windows
            for number, clip in enumerate(scan):
                expected = whole[..., list(scan.windows.indices(number))]
                np.testing.assert_allclose(clip, expected, rtol=0, atol=1e-6)


@pytest.mark.requires("fmri")
def test_resampling_needs_a_time(brains, tmp_path):
    path = brains.patch(
        brains.write(tmp_path / "run.nii", brains.run(SHAPE)), xyzt_units=0, pixdim=[1, 2, 2, 2, 0, 0, 0, 0]
    )
    reading = Reading(CENTRED, resample_tr=0.8)
    with (
        pytest.raises(
            InputError,
            match=r"run\.nii: --resample-tr 0.8: expected a repetition time in the header or a sidecar, .* put a .json",
        ),
        open_scan(path, reading, SIZE, 5, warn=lambda _: None),
    ):
        pass
    (tmp_path / "run.json").write_text('{"RepetitionTime": 1.6}')
    with open_scan(path, reading, SIZE, 5, warn=lambda _: None) as scan:
        assert scan.facts["total"] == 24
        assert scan.facts["repetition_time"] == {"seconds": 1.6, "source": "sidecar"}
    with (
        pytest.raises(InputError, match=r"expected at least 5 frames .* found 4"),
        open_scan(path, Reading(CENTRED, resample_tr=4.8), SIZE, 5, warn=lambda _: None),
    ):
        pass
