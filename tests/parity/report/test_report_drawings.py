"""Slices and curves, measured against what they draw."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from swift_export.parity.measure.compare import Difference
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.report.charts import plot_blocks
from swift_export.parity.report.images import Drawing, draw_difference, draw_input, draw_value
from swift_export.parity.report.matrix import build_matrix
from swift_export.parity.results import BlockError, Comparison, Fault, Picture

ALLOWED = Tolerance(1e-5, 2e-5, "a reason in words")
RIGHT = Comparison("noise", {"batch": 1}, "features", Difference(6e-7, 7e-7, 0), ALLOWED)


def decoded(drawing: Drawing) -> np.ndarray:
    """Pixels in three channels, as the page shows them: rows from the top."""
    head, _, data = drawing.uri.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert (image.format, image.size) == ("PNG", (drawing.width, drawing.height))
    return np.asarray(image.convert("RGB"))


def picture(expected: list, found: list) -> Picture:
    arrays = [np.array(values, np.float32) for values in (expected, found)]
    return Picture("phantom", arrays[0], "stage0/block1", *arrays)


def test_a_slice_is_drawn_upright_in_greys_of_its_range():
    # First axis to the right, second upwards: (0, 1) lies at the top left.
    drawing = draw_input(picture([[0, -1, 0.5], [3, 1, 0]], [[0] * 3] * 2))

    assert (drawing.low, drawing.high, drawing.not_finite) == (-1.0, 3.0, 0)
    assert decoded(drawing)[..., 0].tolist() == [[96, 64], [0, 128], [64, 255]]


def test_both_values_are_drawn_on_the_references_scale():
    drawn = picture([[0, 1], [2, 4]], [[0, 2], [-9, 9]])

    assert decoded(draw_value(drawn, found=False))[..., 0].tolist() == [[64, 255], [0, 128]]
    assert decoded(draw_value(drawn, found=True))[..., 0].tolist() == [[128, 255], [0, 0]]
    assert draw_value(drawn, found=True).high == 4


def test_a_difference_is_drawn_on_its_own_scale_with_equal_in_the_middle():
    drawing = draw_difference(picture([[1, 1], [1, 1]], [[1, 1.5], [0.5, 1.25]]))

    assert (drawing.low, drawing.high) == (-0.5, 0.5)
    top, bottom = decoded(drawing)
    equal, too_low = bottom
    too_high, half = top
    assert np.ptp(equal) <= 4
    assert too_low[2] > too_low[0]
    assert too_high[0] > too_high[2]
    # In print, without colour: the higher the lighter.
    lightness = [float(pixel @ [0.299, 0.587, 0.114]) for pixel in (too_low, equal, half, too_high)]
    assert lightness == sorted(lightness)
    assert min(np.diff(lightness)) > 30


def test_what_is_not_finite_is_seen_and_counted():
    drawn = picture([[0, 1], [2, 4]], [[math.nan, 1], [math.inf, 4]])

    for drawing in (draw_value(drawn, found=True), draw_difference(drawn)):
        assert drawing.not_finite == 2
        assert math.isfinite(drawing.low)
        pixels = decoded(drawing)
        assert (pixels[1] == [214, 0, 147]).all()
        assert not (pixels[0] == [214, 0, 147]).all(axis=-1).any()


@pytest.mark.parametrize("value", [0.0, 7.5, math.nan])
def test_a_slice_without_contrast_is_drawn_too(value):
    flat = picture([[value] * 3] * 2, [[value] * 3] * 2)

    assert decoded(draw_input(flat)).shape == (3, 2, 3)
    assert decoded(draw_difference(flat)).shape == (3, 2, 3)


def errors(*values: float) -> tuple[BlockError, ...]:
    stages = ("stage0/block0", "stage0/block1", "stage1/block0")
    return tuple(
        BlockError(block, Difference(value, value, 0 if math.isfinite(value) else 3))
        for block, value in zip(stages, values, strict=False)
    )


def plotted(report_of, *curves: tuple[BlockError, ...], **more):
    (one,) = report_of(RIGHT, **more).artifacts
    report = report_of(RIGHT)
    cells = [replace(one, info=replace(one.info, name=f"runtime {k}"), blocks=b) for k, b in enumerate(curves)]
    return plot_blocks(build_matrix(replace(report, artifacts=tuple(cells))).cells)


def test_errors_lie_where_the_logarithmic_axis_says(report_of):
    plot = plotted(report_of, errors(1e-7, 1e-6, 1e-5), errors(2e-7, 2e-7, 3e-4))

    at = {tick.text: tick.at for tick in plot.y_ticks}
    assert list(at) == ["1e-07", "1e-06", "1e-05", "1e-04", "1e-03"]
    assert [point.y for point in plot.curves[0].points] == pytest.approx([at["1e-07"], at["1e-06"], at["1e-05"]])
    assert at["1e-07"] == plot.bottom
    assert at["1e-03"] == plot.top
    decade = at["1e-04"] - at["1e-03"]
    assert plot.curves[1].points[2].y == pytest.approx(at["1e-04"] - math.log10(3) * decade)
    (line,) = plot.tolerances
    assert (line.y, line.text) == (pytest.approx(at["1e-05"]), "allowed for the outputs: 1e-05")
    assert [tick.text for tick in plot.x_ticks] == ["0", "1", "0"]
    assert [group.text for group in plot.groups] == ["stage0", "stage1"]
    assert plot.groups[0].at == (plot.x_ticks[0].at + plot.x_ticks[1].at) / 2


def test_no_error_at_all_and_no_number_have_rows_of_their_own(report_of):
    plot = plotted(report_of, errors(0.0, 1e-6, math.inf))

    assert (plot.y_ticks[0].text, plot.y_ticks[-1].text) == ("equal", "not finite")
    assert [point.y for point in plot.curves[0].points][::2] == [plot.bottom, plot.top]
    assert plot.curves[0].points[2].text == "3 values not finite"


def test_only_zeros_are_drawn_too(report_of):
    plot = plotted(report_of, errors(0.0, 0.0, 0.0))

    assert {point.y for point in plot.curves[0].points} == {plot.bottom}
    assert plot.bottom > plot.tolerances[0].y > 0


def test_curves_are_told_apart_without_colour(report_of):
    plot = plotted(report_of, *[errors(1e-7, 2e-7, 3e-7)] * 12)

    assert len({(curve.marker, curve.dash) for curve in plot.curves}) == 12
    assert [curve.key for curve in plot.curves] == [str(number) for number in range(1, 13)]
    # Twelve labels at one height: spread, apart and inside.
    heights = sorted(curve.key_y for curve in plot.curves)
    assert min(np.diff(heights)) >= 15 - 1e-9
    assert plot.top <= heights[0]
    assert heights[-1] <= plot.bottom


def test_a_label_that_has_room_stays_at_its_curve(report_of):
    plot = plotted(report_of, errors(1e-7, 1e-7, 1e-7), errors(1e-4, 1e-4, 1e-4))

    assert [curve.key_y for curve in plot.curves] == [curve.points[-1].y for curve in plot.curves]


def test_the_first_wrong_block_is_marked(report_of):
    fault = Fault("stage0/block1/mlp", "stage0/block1", None, "noise", {"batch": 1}, Difference(1e-3, 1e-3, 0))

    plot = plotted(report_of, errors(1e-7, 1e-3, 1e-3), fault=fault)

    assert [point.first_wrong for point in plot.curves[0].points] == [False, True, False]


def test_without_blocks_there_is_nothing_to_plot(report_of):
    assert plotted(report_of, ()) is None
