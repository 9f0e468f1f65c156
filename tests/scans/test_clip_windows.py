"""The frames of each window, as in the authors' code."""

from __future__ import annotations

import pytest

from swift_export.errors import InputError, UsageError
from swift_export.scans.clip_windows import plan_windows


def authors(total: int, frames: int, within: int, between: int, start: int = 0) -> list[list[int]]:
    """``datasets.py``: a sample takes ``frames * within`` frames, and begins wherever a whole one is left."""
    sample = frames * within
    return [list(range(first, first + sample, within)) for first in range(start, total - sample + 1, between)]


@pytest.mark.parametrize("total", [20, 39, 40, 45, 100])
@pytest.mark.parametrize(("within", "step", "start"), [(1, None, 0), (1, 7, 3), (2, None, 0), (2, 20, 0), (1, 40, 0)])
def test_windows_are_the_authors(total, within, step, start):
    expected = authors(total, 20, within, step or 20 * within, start)
    if not expected:
        with pytest.raises(InputError):
            plan_windows(total, 20, name="run", stride=within, step=step, start=start)
        return
    windows = plan_windows(total, 20, name="run", stride=within, step=step, start=start)
    assert [list(windows.indices(n)) for n in range(len(windows.starts))] == expected
    assert (windows.frames, windows.stride, windows.total) == (20, within, total)


def test_a_number_of_windows():
    assert plan_windows(100, 20, name="run", count=2).starts == (0, 20)
    assert plan_windows(100, 20, name="run", count=5).starts == (0, 20, 40, 60, 80)
    assert plan_windows(100, 20, name="run", count=2, step=1, start=79).starts == (79, 80)
    assert len(plan_windows(1200, 20, name="run").starts) == 60
    assert len(plan_windows(1180, 20, name="run").starts) == 59


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"run\.nii: expected at least 20 frames \(20 from frame 0\), found 19; give a longer run"),
        ({"start": 5}, r"expected at least 25 frames \(20 from frame 5\), found 19"),
        ({"stride": 2}, r"expected at least 40 frames \(20 from frame 0, 2 apart\), found 19"),
        ({"count": 3, "start": 1}, r"expected at least 61 frames \(3 windows from frame 1\), found 19"),
        ({"count": 3, "step": 5}, r"expected at least 30 frames \(3 windows from frame 0\), found 19"),
        ({"left": ", after 10 dropped"}, r"found 19, after 10 dropped; give"),
    ],
)
def test_runs_that_are_too_short(options, message):
    with pytest.raises(InputError, match=message):
        plan_windows(19, 20, name="run.nii", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "--start -1: expected a frame number of at least 0"),
        ({"count": 0}, "--windows 0: expected all, or a number of at least 1"),
        ({"step": 0}, "--stride 0: expected a number of frames of at least 1"),
        ({"step": -3}, "--stride -3"),
        ({"frames": 0}, "--frames 0: expected at least 1"),
    ],
)
def test_numbers_that_are_none(options, message):
    with pytest.raises(UsageError, match=message):
        plan_windows(100, **({"frames": 20, "name": "run"} | options))
