"""The placements and what users write in their place."""

from __future__ import annotations

import numpy as np
import pytest

from swift_export.errors import UsageError
from swift_export.scans.placement import (
    DATASETS,
    PLACEMENTS,
    check_orientation,
    check_positive,
    parse_drop_frames,
    parse_placement,
)

#: First voxel, in mm, and the way of x, of the grid that each data set's volumes are stored on.
GRIDS = {"hcp": ((90, -126, -72), -2), "ukb": ((90, -126, -72), -2), "abcd": ((-98, -134, -72), 2)}


@pytest.mark.parametrize("name", PLACEMENTS)
def test_the_point_is_where_the_paddings_put_it(name):
    placement = PLACEMENTS[name]
    first, x = GRIDS[name]
    (_, front), *_ = placement.stored.items()
    point = [mm + step * (48 - before) for mm, step, before in zip(first, (x, 2, 2), front, strict=True)]
    assert tuple(point) == placement.point
    # The box of the training arrays is what the authors pad: 96 less the pads.
    box = placement.box((96, 96, 96))
    extent = tuple(part.stop - part.start for part in box)
    assert all(n + before + behind == 96 for n, (before, behind) in zip(extent, placement.paddings, strict=True))
    # Of that shape are the arrays that the authors' files hold.
    assert placement.stored[extent] == tuple(part.start for part in box)
    assert placement.orientation == ("RAS" if x > 0 else "LAS")


def test_the_datasets_of_the_authors():
    assert {name: found.name for name, found in DATASETS.items()} == {"S1200": "hcp", "UKB": "ukb", "ABCD": "abcd"}
    assert [PLACEMENTS[name].drop_frames for name in ("hcp", "ukb", "abcd")] == [(10, 10), (0, 0), (20, 0)]
    assert [PLACEMENTS[name].note is None for name in ("hcp", "ukb", "abcd")] == [True, True, False]


def test_boxes_keep_their_place_about_the_centre_of_other_grids():
    x, y, z = PLACEMENTS["hcp"].box((96, 80, 20))
    assert (x, y, z) == (slice(11, 86), slice(-6, 87), slice(-30, 51))
    assert parse_placement("1,2,3").box((96, 96, 96)) is None
    assert parse_placement("1,2,3,4,5,6").box((96, 96, 96)) is None


def test_what_is_left_is_open_where_the_authors_cut_nothing():
    size = (96, 96, 96)
    everything = slice(None)
    assert PLACEMENTS["ukb"].left(size) == parse_placement("1,2,3").left(size) == (everything,) * 3
    # Their crops begin at the first slice of z.
    assert PLACEMENTS["hcp"].left(size) == (slice(11, 86), slice(2, 95), slice(None, 89))
    assert PLACEMENTS["abcd"].left(size) == (slice(9, 88), slice(0, 97), slice(None, 91))
    assert PLACEMENTS["hcp"].left((96, 80, 20))[2] == slice(None, 51)


def test_names_points_and_paddings():
    for name in PLACEMENTS:
        assert parse_placement(name) is parse_placement(name.upper()) is PLACEMENTS[name]
    point = parse_placement("0, -18, +18.5")
    assert (point.name, point.point, point.orientation, point.drop_frames) == (
        "0,-18,+18.5",
        (0, -18, 18.5),
        "LAS",
        (0, 0),
    )
    pads = parse_placement(" 3,2,-7,-6, 3,2")
    assert (pads.point, pads.paddings) == (None, ((3, 2), (-7, -6), (3, 2)))
    assert pads.describe() == "voxel paddings 3,2,-7,-6,3,2"
    assert point.describe() == "index 48 at (0, -18, 18.5) mm"
    assert PLACEMENTS["hcp"].describe() == "hcp: index 48 at (0, -18, 8) mm"


@pytest.mark.parametrize(
    "text",
    ["", "hcp2", "mni", "1,2", "1,2,3,4", "1,2,3,4,5", "1,2,3,4,5,6,7", "nan,0,0", "inf,0,0", "1e3,0,0", "1;2;3",
     "1,2,3.5,4,5,6", "999999,0,0", "0,-18,", "hcp\n0", "\uff10,-18,18", "3,2,-7,-6,3,\u0662"],
)  # fmt: skip
def test_other_words_are_refused_with_the_choices(text):
    with pytest.raises(UsageError, match=r"expected hcp, ukb, abcd or a point X,Y,Z of MNI152 in mm") as error:
        parse_placement(text)
    assert "six voxel paddings" in str(error.value)


def test_orientation_names():
    assert [check_orientation(name) for name in ("las", "RAS", "Keep")] == ["LAS", "RAS", "keep"]
    with pytest.raises(UsageError, match="--orientation LPS: expected one of LAS, RAS, keep"):
        check_orientation("LPS")


def test_frames_to_drop():
    assert parse_drop_frames("10,10") == (10, 10)
    assert parse_drop_frames(" 5 , 0 ") == (5, 0)
    for text in ("", "5", "5,", "-1,0", "1,2,3", "a,b", "1.5,0", "9999999,0", "\uff11,0"):
        with pytest.raises(
            UsageError, match=r"--drop-frames .*: expected two numbers of frames, first and last, such as 10"
        ):
            parse_drop_frames(text)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_positive_numbers(value):
    check_positive("--resample-tr", 0.8)
    with pytest.raises(UsageError, match=r"--resample-tr \S+: expected a positive number"):
        check_positive("--resample-tr", value)
