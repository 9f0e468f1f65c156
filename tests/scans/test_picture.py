"""The picture of a scan, read back from its pixels."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from swift_export.scans.picture import draw_scan
from swift_export.scans.picture.anatomy import Anatomy, Sample, anatomy_of, codes_of, sample_of
from swift_export.scans.picture.canvas import (
    BRAIN,
    COVERED,
    CUT,
    FAINT,
    GRID,
    INK,
    WIDTH,
    WINDOWS,
    Axis,
    Canvas,
    fitted,
    pieces,
    safe,
    text_width,
    wrapped,
)
from swift_export.scans.picture.charts import draw_histogram, draw_timeline, timeline_of
from swift_export.scans.picture.slices import draw_slices, lay_out
from swift_export.scans.placement import PLACEMENTS, Placement, parse_placement
from swift_export.scans.preparing import prepare_scan
from swift_export.scans.scan import Reading, open_scan

SIZE = (12, 12, 12)
CENTRE = parse_placement("0,-18,18")
SAGITTAL, CORONAL, AXIAL = range(3)
VIEWS = {SAGITTAL: (1, 2), CORONAL: (0, 2), AXIAL: (0, 1)}
TORCH_FILE = Path(__file__).parents[1] / "formats/checkpoint/torch_file.py"


def opened(path, size=SIZE, frames=2, **reading):
    return open_scan(path, Reading(**{"placement": CENTRE} | reading), size, frames, warn=lambda message: None)


def block(*ranges, value=1000.0, grid=(9, 11, 7)):
    """A volume of zeros with a box of one value."""
    volume = np.zeros(grid)
    volume[tuple(slice(*pair) for pair in ranges)] = value
    return volume


def anatomy(volume, front=(2, 1, 3), **more):
    grid = tuple((f, f + n) for f, n in zip(front, volume.shape, strict=True))
    kept = tuple((max(0, start), min(12, stop)) for start, stop in grid)
    return replace(Anatomy(volume, volume != 0, front, SIZE, grid, grid, kept, 0), **more)


def panels(subject, codes="LAS", point=None):
    """The three panels of a drawing as arrays (y, x, 3), without titles and legend."""
    whole = np.asarray(draw_slices(subject, codes, point))
    return [whole[top : bottom + 1, left : right + 1] for left, top, right, bottom in (p.box for p in lay_out(subject))]


def extent(pixels, colour):
    """Left, top, right and bottom edge of all pixels of a colour; right and bottom lie behind the last one."""
    y, x = np.nonzero((pixels == colour).all(axis=-1))
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def voxels(pixels, colour):
    """Those edges in voxels of the model's grid, whose frame is found by its colour; y is counted upwards."""
    left, top, right, bottom = extent(pixels, GRID)
    scale = (right - left) / 12
    assert (bottom - top) / 12 == scale
    x0, y0, x1, y1 = extent(pixels, colour)
    return tuple(
        float(edge) for edge in ((x0 - left) / scale, (x1 - left) / scale, (bottom - y1) / scale, (bottom - y0) / scale)
    )


def glyph(letter):
    """The shape of a letter as Pillow draws it, without what is around it."""
    image = Image.new("RGB", (40, 40))
    ImageDraw.Draw(image).text((20, 20), letter, INK, ImageFont.load_default(size=17), "mm")
    return trimmed(np.asarray(image).any(axis=-1))


def trimmed(shape):
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    return shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def letter_at(pixels, side):
    """Which letter stands left, right, above or below of all that is drawn to scale."""
    frame = (pixels == GRID).all(axis=-1) | (pixels == 0).all(axis=-1)
    left, right = np.flatnonzero(frame.any(axis=0))[[0, -1]]
    top, bottom = np.flatnonzero(frame.any(axis=1))[[0, -1]]
    area = {
        "left": pixels[:, :left],
        "right": pixels[:, right + 1 :],
        "top": pixels[:top],
        "bottom": pixels[bottom + 1 :],
    }[side]
    shape = trimmed((area != area[0, 0]).any(axis=-1))
    found = [
        letter for letter in "LRAPSI" if glyph(letter).shape == shape.shape and ((glyph(letter) > 0) == shape).all()
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.requires("fmri")
def test_the_scan_lies_on_the_models_grid_where_the_placement_puts_it(brains, tmp_path):
    values = np.zeros((9, 11, 7, 2), np.float32)
    values[3:6, 4:8, 2:5] = [1000, 1010]
    values[4, 5, 3] = 1100
    with opened(brains.write(tmp_path / "run.nii", values), frames=1) as scan:
        subject = anatomy_of(scan, sample_of(scan))
        drawn = panels(subject, codes_of(scan))
    # Index n // 2 of each axis goes to 6: the first voxel to 6 - 4, 6 - 5, 6 - 3.
    scan_edges, brain_edges = ((2, 11), (1, 12), (3, 10)), ((5, 8), (5, 9), (5, 8))
    assert subject.scan == subject.covered == subject.kept == scan_edges
    for view, (across, up) in VIEWS.items():
        assert voxels(drawn[view], BRAIN) == (*brain_edges[across], *brain_edges[up])
        found = voxels(drawn[view], (0, 0, 0))
        expected = (*scan_edges[across], *scan_edges[up])
        # The frame of the grid, two pixels wide, lies over the edge that they share.
        assert found == pytest.approx(expected, abs=0.1)


@pytest.mark.requires("fmri")
@pytest.mark.parametrize("stored", ["LAS", "RAS", "PSR", "IRP"])
@pytest.mark.parametrize(("orientation", "side"), [("LAS", "left"), ("RAS", "right")])
def test_right_front_and_top_of_the_brain_are_at_their_letters(brains, tmp_path, stored, orientation, side):
    """A voxel to the right, in front and above lights up next to R, A and S, however the scan is stored."""
    affine = brains.centred((9, 9, 9), stored)
    values = np.zeros((9, 9, 9, 2), np.float32)
    values[2:7, 2:7, 2:7] = [1000, 1001]
    for mm in ((4, -18, 18), (0, -14, 18), (0, -18, 22)):
        x, y, z = np.rint(np.linalg.solve(affine, [*mm, 1])[:3]).astype(int)
        values[x, y, z] = 3000
    with opened(brains.write(tmp_path / "run.nii", values, affine), orientation=orientation) as scan:
        drawn = panels(anatomy_of(scan, sample_of(scan)), codes_of(scan))
    other = "left" if side == "right" else "right"
    for view, beside, codes in ((CORONAL, side, "RS"), (AXIAL, side, "RA"), (SAGITTAL, "right", "AS")):
        assert letter_at(drawn[view], beside) == codes[0]
        assert letter_at(drawn[view], "top") == codes[1]
        left, top, right, bottom = extent(drawn[view], GRID)
        y, x = np.nonzero((drawn[view] == 250).all(axis=-1))
        x, y, scale = x - (left + right) / 2, y - (top + bottom) / 2, (right - left) / 12
        # Of the two bright voxels in the slice, one lies beside the centre voxel and one above it.
        assert set(np.sign(x[np.abs(x) > 1.2 * scale])) == {1 if beside == "right" else -1}
        assert set(np.sign(y[np.abs(y) > 1.2 * scale])) == {-1}
    assert letter_at(drawn[AXIAL], other) == "L"
    assert letter_at(drawn[AXIAL], "bottom") == "P"
    assert letter_at(drawn[CORONAL], "bottom") == "I"


def test_a_mirrored_brain_is_drawn_mirrored():
    volume = block((1, 3), (2, 9), (1, 6), grid=(9, 11, 7)) + block((3, 6), (4, 6), (2, 4), value=400)
    plain, mirrored = (panels(anatomy(v, front=(2, 1, 3))) for v in (volume, volume[::-1]))
    for view in (CORONAL, AXIAL):
        left, top, right, bottom = extent(plain[view], (0, 0, 0))
        one, other = (p[view][top:bottom, left:right] for p in (plain, mirrored))
        grey = (one == one[..., :1]).all(axis=-1) & (one > 0).all(axis=-1)
        assert grey.any()
        assert (one != other).any()
        turned = other[:, ::-1]
        both = grey & (turned == turned[..., :1]).all(axis=-1)
        np.testing.assert_array_equal(one[both], turned[both])


@pytest.mark.requires("fmri")
def test_what_training_arrays_covered_is_a_dashed_box_where_it_is_smaller_than_the_scan(brains, tmp_path):
    values = np.zeros((9, 11, 7, 2), np.float32)
    values[3:6, 4:7, 2:5] = [1000, 1010]
    path = brains.write(tmp_path / "run.nii", values)
    with opened(path) as scan:
        assert not any((p == COVERED).all(axis=-1).any() for p in panels(anatomy_of(scan, sample_of(scan))))
    # Of 12 voxels those from 3 to 8, 2 to 9 and 4 to 8, by paddings to 96.
    known = Placement("known", CENTRE.point, paddings=((45, 45), (44, 44), (46, 45)), stored={(9, 11, 7): (0, 0, 0)})
    with opened(path, placement=known) as scan:
        drawn = panels(anatomy_of(scan, sample_of(scan)))
    edges = ((3, 9), (2, 10), (4, 9))
    for view, (across, up) in VIEWS.items():
        assert voxels(drawn[view], COVERED) == pytest.approx((*edges[across], *edges[up]), abs=0.1)


@pytest.mark.requires("fmri")
def test_cut_voxels_are_marked_beside_what_the_model_sees(brains, tmp_path):
    """The brain's end, two voxels thick, lies beyond the grid on one axis: seen from both sides, not end-on."""
    whole = anatomy(block((3, 6), (4, 7), (2, 5)))
    values = np.zeros((9, 21, 9, 2), np.float32)
    values[3:6, 8:18, 3:7] = [1000, 1010]
    path = brains.write(tmp_path / "run.nii", values)
    with opened(path, allow_crop=True) as scan:
        subject = anatomy_of(scan, sample_of(scan))
        assert subject.cut == 3 * 2 * 4
        drawn = panels(subject, codes_of(scan))
    # Voxels 8 to 17 go to 4 to 13, of which the grid holds those to 11.
    assert voxels(drawn[SAGITTAL], CUT) == (12, 14, 5, 9)
    assert voxels(drawn[AXIAL], CUT) == (5, 8, 12, 14)
    assert not (drawn[CORONAL] == CUT).all(axis=-1).any()
    for image, marked in ((draw_slices(subject, "LAS", None), True), (draw_slices(whole, "LAS", None), False)):
        assert (np.asarray(image)[-60:] == CUT).all(axis=-1).any() == marked  # in the legend


def test_without_a_brain_at_the_centre_the_nearest_slice_that_has_one_is_shown():
    drawn = panels(anatomy(block((0, 1), (9, 11), (0, 2)), front=(2, 1, 3)))
    # The frame of the grid, two pixels wide, lies over the edge that they share.
    assert voxels(drawn[SAGITTAL], BRAIN) == pytest.approx((10, 12, 3, 5), abs=0.1)
    assert voxels(drawn[AXIAL], BRAIN) == pytest.approx((2, 3, 10, 12), abs=0.1)


def test_all_panels_have_one_scale_and_fit_the_page():
    for grid, front in (((97, 115, 97), (-40, -50, -48)), ((2000, 2, 2), (-1000, 5, 5)), ((3, 300, 4), (4, -100, 4))):
        laid = lay_out(anatomy(block((0, 1), (0, 1), (0, 1), grid=grid), front=front))
        assert len({panel.scale for panel in laid}) == 1
        assert all(0 <= panel.box[0] < panel.shown[0] <= panel.shown[2] < panel.box[2] < WIDTH for panel in laid)
        assert all(before.box[2] < after.box[0] for before, after in pairwise(laid))


@pytest.mark.requires("fmri")
def test_the_timeline_counts_in_frames_of_the_file(brains, tmp_path):
    values = brains.run((9, 11, 7, 13))
    values[..., 4] = 0
    path = brains.write(tmp_path / "run.nii", values)
    with opened(path, frames=4, drop_frames=(2, 1), start=1) as scan:
        line = timeline_of(scan, sample_of(scan))
    assert (line.frames, line.dropped) == (13, (2, 1))
    assert line.windows == ((3, 7), (7, 11))
    assert line.unused == ((2, 3), (11, 12))
    assert [place for place, _ in line.means] == [frame + 0.5 for frame in range(2, 12)]
    assert math.isnan(line.means[2][1])
    assert line.means[0][1] == pytest.approx(values[..., 2][values[..., 2] != 0].mean(dtype=np.float64), rel=1e-9)
    with opened(path, frames=4, drop_frames=(2, 1), resample_tr=0.5) as scan:
        # Ten frames of 1 s become twenty: a window of four takes two of the file's.
        line = timeline_of(scan, sample_of(scan))
    assert line.seconds == 1
    assert line.windows == ((2, 4), (4, 6), (6, 8), (8, 10), (10, 12))
    assert not line.unused
    with opened(path, frames=4, step=1, start=2) as scan:
        assert timeline_of(scan, sample_of(scan)).rows == 4


@pytest.mark.requires("fmri")
def test_windows_are_bars_of_two_shades_and_the_remainder_stays_empty(brains, tmp_path):
    with opened(brains.write(tmp_path / "run.nii", brains.run((9, 11, 7, 13))), frames=4) as scan:
        line = timeline_of(scan, sample_of(scan))
    canvas = Canvas(300)
    draw_timeline(canvas, (0, 0, 1073, 299), line, "means")
    # Seconds and frames take 44 pixels below the bars, which begin at 74 and are 1000 pixels long.
    row = np.asarray(canvas.image)[299 - 44 - 3, 74:1074]
    for shade, (start, end) in zip((0, 1, 0), ((0, 4), (4, 8), (8, 12)), strict=True):
        assert (row[round(start / 13 * 1000) : round(end / 13 * 1000) - 1] == WINDOWS[shade]).all()
    assert (row[round(12 / 13 * 1000) + 1 :] == FAINT).all()


def test_the_histogram_is_true_to_its_axis():
    values = np.repeat(np.float32([-1, 1, 2]), (100, 50, 50))
    canvas = Canvas(300)
    draw_histogram(canvas, (0, 0, 499, 299), Sample(1, values, (), np.zeros(SIZE), np.zeros(SIZE, bool)), -1.5)
    chart = np.asarray(canvas.image)[60:275]
    columns = np.flatnonzero((chart == GRID).all(axis=-1).any(axis=0))
    marks = np.flatnonzero((chart == INK).all(axis=-1).all(axis=0))
    background, zero = marks.tolist()
    unit = (zero - background) / 1.5
    bars = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    assert [(bar.mean() - zero) / unit for bar in bars] == pytest.approx([-1, 1, 2], abs=0.06)
    heights = [(chart[:, bar[0]] == GRID).all(axis=-1).sum() for bar in bars]
    assert heights[0] == pytest.approx(2 * heights[1], abs=2)
    assert heights[1] == heights[2]


ODD = {
    "one frame": ((9, 11, 7, 1), {}, 1),
    "one window": ((9, 11, 7, 5), {"windows": 1, "drop_frames": (1, 1)}, 2),
    "empty frames": ((9, 11, 7, 8), {}, 4),
    "windows of frames far apart": ((9, 11, 7, 40), {"stride": 3, "step": 11}, 2),
    "a thousand windows": ((3, 3, 3, 1000), {}, 1),
    "windows that overlap": ((9, 11, 7, 50), {"step": 1}, 30),
    "resampled": ((9, 11, 7, 10), {"resample_tr": 0.7}, 3),
    "as stored": ((9, 11, 7, 4), {"orientation": "keep", "placement": parse_placement("2,1,1,0,3,2")}, 2),
    "a needle": ((2000, 2, 2, 2), {"allow_crop": True}, 1),
}


@pytest.mark.requires("fmri")
@pytest.mark.parametrize(("shape", "reading", "frames"), ODD.values(), ids=ODD)
def test_odd_scans_are_drawn_the_same_every_time(brains, tmp_path, shape, reading, frames):
    values = brains.run(shape)
    if shape[3] == 8:
        values[..., [0, 3, 7]] = 0
    with opened(brains.write(tmp_path / "run.nii", values), frames=frames, **reading) as scan:
        one, other = draw_scan(scan), draw_scan(scan)
    assert one.mode == "RGB"
    assert one.width == WIDTH
    assert one.tobytes() == other.tobytes()


@pytest.mark.requires("fmri")
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.stack([block((4, 5), (5, 6), (3, 4), value=v) for v in (1, 2, 4)], -1), id="one voxel"),
        pytest.param(np.stack([block((2, 7), (2, 9), (1, 6)) * v for v in (1, 1, 1.001)], -1), id="nearly constant"),
        pytest.param(np.stack([block((2, 7), (2, 9), (1, 6), value=v) for v in (-1, 1, 2)], -1), id="no anatomy"),
        pytest.param(np.stack([block((2, 7), (2, 9), (1, 6)) * v for v in (1e27, 2e27, 3e27)], -1), id="huge"),
    ],
)
def test_odd_values_are_drawn(brains, tmp_path, values):
    with opened(brains.write(tmp_path / "run.nii", values.astype(np.float32)), frames=1) as scan:
        assert draw_scan(scan).width == WIDTH


@pytest.mark.requires("fmri")
def test_names_and_warnings_are_text_alone_and_leave_room(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run((9, 11, 7, 4)))
    with opened(path) as scan:
        plain = replace(scan, name="run.nii", warnings=())
        named = replace(plain, name="\x1b[31m\n脳\u202e" + "long" * 500)
        warned = replace(plain, warnings=("\x07" + "word " * 900, "x" * 3000, *map(str, range(50))))
        heights = [draw_scan(each).height for each in (plain, named, warned)]
    assert heights[1] == heights[0]
    # Three lines for each of the long ones, one for each of eight more, and one that tells of the rest.
    assert heights[2] == heights[0] + 22 + 20 * (3 + 3 + 8 + 1)


def frames_folder(folder: Path, count: int, shape: tuple[int, int, int]) -> Path:
    spec = importlib.util.spec_from_file_location("picture_tests_torch_file", TORCH_FILE)
    writer = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    folder.mkdir()
    rng = np.random.default_rng(0)
    for frame in range(count):
        values = np.full((*shape, 1), -2, np.float16)
        values[3:6, 4:8, 2:5] = rng.normal(0, 0.5, (3, 4, 3, 1))
        writer.write(folder / f"frame_{frame}.pt", writer.Tensor(values))
    return folder


def test_a_folder_of_frames_is_drawn(tmp_path):
    folder = frames_folder(tmp_path / "subject", 100, (9, 11, 7))
    with opened(folder, frames=20, placement=parse_placement("2,1,1,0,3,2"), drop_frames=(10, 5)) as scan:
        sample = sample_of(scan)
        line = timeline_of(scan, sample)
        drawn = panels(anatomy_of(scan, sample), codes_of(scan))
        assert draw_scan(scan).width == WIDTH
    assert sample.frames == 40
    assert sample.values.size == 40 * 36
    assert (line.frames, line.dropped, line.seconds) == (100, (10, 5), None)
    assert line.windows[0] == (10, 30)
    assert line.unused == ((90, 95),)
    places = [place for place, _ in line.means]
    assert (places[0], places[19], places[20], places[-1]) == (10.5, 29.5, 70.5, 89.5)
    assert voxels(drawn[CORONAL], BRAIN) == (5, 8, 5, 8)
    assert voxels(drawn[CORONAL], (0, 0, 0)) == (2, 11, 3, 10)


@pytest.mark.requires("fmri")
def test_directions_of_arrays_taken_as_stored_are_their_data_sets(brains, tmp_path):
    values = brains.run((79, 97, 85, 2))
    for name, expected in (("abcd", "RAS"), ("2,1,1,0,3,2", "LAS")):
        path = brains.write(tmp_path / "run.nii", values if name == "abcd" else values[:9, :11, :7])
        size = (96, 96, 96) if name == "abcd" else SIZE
        reading = {"placement": PLACEMENTS.get(name) or parse_placement(name), "orientation": "keep"}
        with opened(path, size, 1, drop_frames=(0, 0), allow_crop=True, **reading) as scan:
            assert codes_of(scan) == expected


@pytest.mark.requires("fmri")
def test_prepare_writes_it_as_png(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii", brains.run((9, 11, 7, 4)))
    reading, picture = Reading(CENTRE), tmp_path / "run.png"
    prepare_scan(path, tmp_path / "run.npy", reading, size=SIZE, frames=2, picture=picture, warn=lambda message: None)
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert image.width == WIDTH
        stored = image.convert("RGB").tobytes()
    with opened(path) as scan:
        assert stored == draw_scan(scan).tobytes()


def test_text_is_made_to_fit():
    assert safe("a\x1b[31m脳é\n") == "a\\x1b[31m\\u8133\\xe9\\n"
    name = "sub-01_" + "x" * 300 + "_bold.nii.gz"
    short = fitted(name, 20, 400)
    assert text_width(short, 20) <= 400 < text_width(name, 20)
    assert short.startswith("sub-01_")
    assert short.endswith("_bold.nii.gz")
    lines = wrapped("one two " + "y" * 200 + " three", 14, 300, 20)
    assert all(text_width(line, 14) <= 300 for line in lines)
    assert "".join(lines).replace(" ", "") == "onetwo" + "y" * 200 + "three"
    assert lines[0] == "one two"
    assert len(wrapped("word " * 500, 14, 300, 3)) == 3
    assert wrapped("word " * 500, 14, 300, 3)[-1].endswith("...")


def test_ticks_are_round_and_lie_where_their_values_do():
    axis = Axis(-1.3, 8.4, 100, 200)
    assert [label for _, label in axis.ticks(5)] == ["0", "2", "4", "6", "8"]
    assert all(place == pytest.approx(axis.place(float(label))) for place, label in axis.ticks(5))
    assert [label for _, label in Axis(0, 3, 0, 900).ticks(12, whole=True)] == ["0", "1", "2", "3"]
    for low, high in ((0, 1e-12), (0, 1e7), (1e9, 1e9 + 1), (-5e-3, 5e-3)):
        assert 1 <= len(Axis(low, high, 0, 1).ticks(5)) <= 7


def test_curves_break_where_frames_are_missing():
    points = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 4.0), (9, 5.0), (10, 6.0)]
    assert list(pieces(points)) == [[(0, 1.0), (1, 2.0)], [(3, 4.0)], [(9, 5.0), (10, 6.0)]]
    assert list(pieces([])) == []
