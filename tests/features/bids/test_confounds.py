"""Dummy frames, and the motion of windows, from fMRIPrep's confounds."""

from __future__ import annotations

import pytest

from swift_export.errors import InputError
from swift_export.features.bids.confounds import read_confounds
from swift_export.features.bids.scan_table import Window, windows_in_run


@pytest.fixture
def table(tmp_path):
    def table(text: str):
        path = tmp_path / "sub-01_task-rest_desc-confounds_timeseries.tsv"
        path.write_text(text)
        return path

    return table


def lines(*columns: str, rows: list[list[object]]) -> str:
    return "\n".join("\t".join(map(str, row)) for row in [columns, *rows]) + "\n"


def test_dummy_frames_are_the_flagged_ones_at_the_beginning(table):
    columns = [f"non_steady_state_outlier{n:02}" for n in range(3)]
    path = table(lines(*columns, rows=[[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]))

    assert read_confounds(path).dummy_frames == 2
    assert read_confounds(table("framewise_displacement\nn/a\n0.1\n")).dummy_frames == 0
    assert read_confounds(table("non_steady_state_outlier_00\n1\n")).dummy_frames == 1
    # fMRIPrep writes whole numbers as floats, too.
    assert read_confounds(table("non_steady_state_outlier00\n1.0\n0.0\n")).dummy_frames == 1


def test_motion_is_that_of_a_windows_frames(table):
    path = table(lines("csf", "framewise_displacement", rows=[[7, "n/a"], *([7, n / 10] for n in range(1, 10))]))
    confounds = read_confounds(path, 10)

    windows = windows_in_run([0, 4], 4, dropped=1, repetition_time=0.8, confounds=confounds)

    assert [window.first_frame for window in windows] == [1, 5]
    assert [window.onset for window in windows] == pytest.approx([0.8, 4.0])
    assert [window.duration for window in windows] == pytest.approx([3.2, 3.2])
    assert [window.fd_mean for window in windows] == pytest.approx([0.25, 0.65])  # 0.1 to 0.4, 0.5 to 0.8
    assert [window.fd_max for window in windows] == pytest.approx([0.4, 0.8])


def test_missing_motion_is_left_out(table):
    path = table("framewise_displacement\nn/a\nn/a\n0.3\n\n")
    confounds = read_confounds(path)

    assert confounds.frames == 3
    assert confounds.motion(0, 2) == (None, None)
    assert confounds.motion(0, 3) == (0.3, 0.3)
    assert windows_in_run([0], 2, confounds=confounds) == [Window(0)]
    assert windows_in_run([0], 2) == [Window(0)]


def test_windows_of_a_resampled_run_lie_in_the_file(table):
    """20 frames of 1 s as 25 of 0.8 s: five of these are four of the file."""
    path = table(lines("framewise_displacement", rows=[[n] for n in range(24)]))

    (window,) = windows_in_run([7], 5, dropped=2, scale=20 / 25, repetition_time=1.0, confounds=read_confounds(path))

    assert (window.first_frame, window.onset, window.duration) == (7, pytest.approx(7.6), pytest.approx(4.0))
    # From 7.6 to 11.6 s: the frames 7 to 11.
    assert (window.fd_mean, window.fd_max) == (9.0, 11.0)
    # 60 * (0.1 + 0.2) is a little more than 18, which adds no frame.
    (window,) = windows_in_run([30], 30, scale=0.1 + 0.2, confounds=read_confounds(path))
    assert (window.first_frame, window.fd_mean, window.fd_max) == (9, 13.0, 17.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("framewise_displacement\nn/a\nhigh\n", "a number or n/a in column framewise_displacement, line 3, found high"),
        ("framewise_displacement\nn/a\nnan\n", "line 3, found nan"),
        ("framewise_displacement\nn/a\n-1\n", "of at least 0, found less"),
        ("framewise_displacement\nn/a\n", "one row for each of 2 frames, found 1"),
        ("framewise_displacement\tcsf\nn/a\n", "expected 2 cells in each row, as in the header, found 1"),
        ("", "found an empty file"),
    ],
)
def test_malformed_confounds_are_refused(table, text, told):
    path = table(text)

    with pytest.raises(InputError, match=told) as caught:
        read_confounds(path, 2)
    assert str(path) in str(caught.value)
