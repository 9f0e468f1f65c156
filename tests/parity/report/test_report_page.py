"""parity.html as text: complete, self-contained, sound, and deaf to what hostile names say."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from swift_export.artifacts.manifest import Measurement
from swift_export.models.swift.structure.examine import Setting
from swift_export.parity.measure.compare import Difference
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.report import to_html
from swift_export.parity.results import BlockError, Comparison, Fault, Picture, RunTime, WeightsTag

ALLOWED = Tolerance(1e-5, 1e-5, "a reason in words")
RIGHT = Comparison("noise", {"batch": 1}, "features", Difference(6e-7, 7e-7, 0), ALLOWED)
FAR = Comparison("phantom", {"batch": 2}, "features", Difference(3e-3, 4e-3, 0), ALLOWED)

VOID = {"meta", "img", "br", "link", "input", "hr", "base", "source", "embed"}
#: Nothing that computes, fetches, sends or embeds.
FORBIDDEN = {"script", "link", "base", "iframe", "object", "embed", "form", "input", "button", "video", "audio", "use"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Every element in order, with the text in it and below."""

    source: str
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}>: an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(e.tag for e in self.open))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"
        if tag in ("dt", "dd", "th", "td"):
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    def one(self, tag: str) -> Element:
        (element,) = self.all(tag)
        return element

    def texts(self, tag: str, class_: str) -> list[str]:
        found = [e for e in self.all(tag) if class_ in e.attributes.get("class", "").split()]
        return [" ".join(element.text.split()) for element in found]

    @property
    def title(self) -> str:
        (title,) = (element for element in self.all("title") if element.parents == ("html", "head"))
        return title.text

    @property
    def text(self) -> str:
        return " ".join(self.one("body").text.split())


def assert_sound(source: str) -> Page:
    """What holds for every page, whatever it tells."""
    page = Page(source)
    assert source.startswith("<!doctype html>\n")
    assert page.one("html").attributes["lang"] == "en"
    assert page.title.startswith("Parity ")

    assert not FORBIDDEN & {element.tag for element in page.elements}
    ids = Counter(element.attributes["id"] for element in page.elements if "id" in element.attributes)
    assert max(ids.values()) == 1
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"<{element.tag} {name}>"
            if name in ("href", "xlink:href"):
                assert value.removeprefix("#") in ids
                assert value.startswith("#")
            if name == "src":
                assert value.startswith("data:image/png;base64,")
            if name in ("aria-labelledby", "aria-describedby"):
                assert set(value.split()) <= set(ids)
        if element.tag == "img":
            assert element.attributes["alt"]
        if element.tag == "th":
            assert element.attributes["scope"] in ("col", "row", "rowgroup")
        if element.tag == "table":
            # Either it reflows, or it scrolls in a box that the keyboard reaches.
            assert {"matrix", "times"} & {element.attributes.get("class")} or "div" in element.parents
    style = page.one("style").text
    assert "url(" not in style
    assert "@import" not in style
    policy = {e.attributes.get("http-equiv"): e.attributes.get("content") for e in page.all("meta")}
    assert policy["Content-Security-Policy"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

    levels = [int(heading.tag[1]) for heading in page.all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for drawing in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        ElementTree.fromstring(drawing)
    return page


def test_every_page_is_sound_and_self_contained(report_of, full_report):
    earlier = Measurement("onnx/model.onnx", "OpenVINO 1", "cpu", "noise", 1, "features", 5e-7, 5e-7, 1e-5)
    for report in (report_of(RIGHT), full_report(), full_report(warm=False), full_report(3e-3), full_report(math.inf)):
        source = to_html(report, [earlier])
        assert_sound(source)
        assert "http://" not in source
        assert "https://" not in source
        assert "private" not in source


def test_a_full_page_is_small(full_report):
    assert len(to_html(full_report()).encode()) < 600_000


def test_the_same_report_gives_the_same_page(full_report):
    assert to_html(full_report(3e-3)) == to_html(full_report(3e-3))


def test_the_verdict_comes_first(full_report):
    passed, failed = assert_sound(to_html(full_report())), assert_sound(to_html(full_report(3e-3)))

    assert passed.one("h1").text.split() == ["✓", "Passed"]
    assert passed.texts("p", "verdict") == [
        "In all 9 combinations of file and runtime the exported model computes the same as the original. The largest "
        "error is 7.5e-07, 13 times below the allowed 1e-05 (stablehlo/model.jax in jax.export 0.10.2)."
    ]
    assert failed.one("h1").text.split() == ["✗", "Failed"]
    assert failed.title == "Parity failed: contrastive"


def test_every_cell_is_in_the_matrix_with_its_figures_and_not_by_colour_alone(full_report):
    report = full_report(3e-3)

    page = assert_sound(to_html(report))

    cells = [element for element in page.all("td") if element.attributes.get("role") == "cell"]
    shown = [e for e in cells if e.attributes["class"] in ("far", "below", "near", "failed")]
    assert Counter(e.attributes["class"] for e in shown) == {"far": 8, "failed": 1}
    for element in shown:
        words = " ".join(element.text.split())
        if element.attributes["class"] == "failed":
            assert words == "ONNX Runtime 1.31.1 ✗ FAILED L2 3.0e-03 largest 4.5e-03 450 times above"
        else:
            assert words.endswith("✓ passed L2 5.0e-07 largest 7.5e-07 13 times below")
    # Five files in seven runtimes, of which nine pairs were run.
    assert sum(e.attributes["class"] == "none" and "not run" in e.text for e in cells) == 5 * 7 - 9


@pytest.mark.parametrize(
    ("error", "shade"), [(9e-7, "far"), (2e-6, "below"), (9e-6, "near"), (1e-5, "near"), (1.1e-5, "failed")]
)
def test_a_cell_is_coloured_by_its_error_beside_what_is_allowed(report_of, error, shade):
    page = Page(to_html(report_of(replace(RIGHT, difference=Difference(error / 3, error, 0)))))

    (cell,) = [e for e in page.all("td") if e.attributes.get("role") == "cell" and "time" not in e.attributes["class"]]
    assert cell.attributes["class"] == shade


def test_what_fails_is_told_with_its_place(full_report, report_of):
    page = assert_sound(to_html(full_report(3e-3)))

    (told,) = page.all("article")
    assert " ".join(told.text.split()).startswith(
        "✗ onnx/model.onnx in ONNX Runtime 1.31.1 First differs at stage2/block3/attention: relative L2 0.003, "
        "largest 0.0045, on noise at batch 1. Up to stage2/block3/norm1 it agrees. "
        "input noise, batch 1, output features: relative L2 0.003, largest 0.0045 (allowed 1e-05 and 1e-05)"
    )
    assert page.texts("text", "wrong") == ["first differs here"]
    assert "Failures" not in Page(to_html(full_report())).text
    unknown = Page(to_html(report_of(FAR)))
    assert "The place is unknown" in unknown.one("article").text
    wrong = Page(to_html(report_of(RIGHT, settings=(Setting("stage0/block1", "mask", "by region", "none"),))))
    assert "stage0/block1, mask: expected by region, found none" in wrong.one("article").text
    assert "The place is unknown" not in wrong.text


def test_every_comparison_is_told(full_report):
    report = full_report(math.inf)

    page = assert_sound(to_html(report))

    rows = [row for row in re.findall(r"<tr[^>]*>\n<td>.*?</tr>", page.source, re.DOTALL) if 'class="worst"' in row]
    assert len(rows) == sum(len(cell.comparisons) for cell in report.artifacts) == 32
    found = [re.sub(r"<[^>]*>", "", row).split("\n")[1:-1] for row in rows]
    near = ["5.0e-07", "7.5e-07", "1e-05", "1 - 1e-13", "(0, 3, 1, 0, 1, 4): expected 1.25, found 1.25000063", "0"]
    assert found[0] == ["noise", "batch 1", "features", *near, "0.400", "✓ ok"]
    broken = ["-", "-", "1e-05", "-", "(0, 3, 1, 0, 1, 4): expected 0.5, found not finite", "17"]
    assert found[-8] == ["noise", "batch 1", "features", *broken, "0.400", "✗ FAILED"]


def test_time_is_told_in_seconds_and_bars(report_of):
    one = report_of(RIGHT)
    times = (
        *(RunTime("noise", {"batch": 1}, 8.0, (), ()), RunTime("noise", {"batch": 2}, 2.0, (0.1, 0.3, 0.2), ())),
        RunTime("phantom", {"batch": 1}, 0.4, (), ()),
    )
    page = Page(to_html(replace(one, artifacts=(replace(one.artifacts[0], times=times),))))

    assert page.texts("td", "first") == ["8.00 s", "2.00 s"]
    # Timed warm where that was asked for; else what the other input took.
    assert page.texts("td", "later") == ["0.400 s", "0.200 s"]
    assert re.findall(r"width:([\d.]+)%", page.source) == ["100.0", "100.0", "25.0", "50.0"]
    once = Page(to_html(one))
    assert once.texts("td", "later") == ["not timed"]


def test_what_is_absent_is_said(report_of):
    page = assert_sound(to_html(report_of(RIGHT)))

    (absent,) = page.texts("p", "absent")
    assert "swift-export check" in absent
    # A model may have nothing that can be drawn.
    assert "pictures" not in [element.attributes.get("aria-labelledby") for element in page.all("section")]
    assert not page.all("img", "svg")


def test_where_the_numbers_come_from(report_of):
    one = report_of(RIGHT)
    info = replace(one.artifacts[0].info, settings={"intra-op threads": "2"})
    synthetic = replace(one.artifacts[0], info=info, weights=WeightsTag("custom", "cd" * 32, synthetic=True))
    clip = {"name": "scan.nii.gz", "orientation": "LAS", "frames": [0, 20]}

    page = assert_sound(to_html(replace(one, artifacts=(synthetic,), inputs=(*one.inputs, clip))))

    for told in (
        *("cd" * 32, "Equinox the original 0.13", "matmul precision highest", "CPUExecutionProvider"),
        *("intra-op threads 2", "name noise seed 0", "orientation LAS frames [0, 20]", "a reason in words."),
        *("swift-export ", "all 1 are correct", "ONNX Runtime 1.99 cpu float32"),
    ):
        assert told in page.text, told
    assert page.texts("p", "warning") == ["Synthetic weights: the features mean nothing."]
    assert not Page(to_html(one)).texts("p", "warning")


def test_names_from_files_are_only_text(report_of):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}\x1b\u202e\n\udcff</style></title>"
    slices = [np.eye(3, dtype=np.float32)] * 3
    hostile = report_of(
        Comparison(evil, {evil: 1}, evil, Difference(3e-3, 4e-3, 0, mismatch=evil), replace(ALLOWED, reason=evil)),
        settings=(Setting(evil, evil, evil, "other"),),
        blocks=(BlockError(evil, Difference(1e-3, 1e-3, 0)), BlockError(evil + "/2", Difference(0, 0, 0, evil))),
        fault=Fault(evil, evil, evil, evil, {evil: 1}, Difference(1e-3, 1e-3, 0)),
        picture=Picture(evil, slices[0], evil, slices[1], slices[2]),
    )
    checked = hostile.artifacts[0]
    info = replace(checked.info, name=evil, version=evil, device=evil, settings={evil: evil}, providers=(evil,))
    checked = replace(checked, file=evil, info=info, weights=WeightsTag(evil, evil, True))
    earlier = Measurement(evil, evil, evil, evil, 1, evil, 5e-7, 5e-7, 1e-5)

    source = to_html(replace(hostile, artifacts=(checked,), inputs=({"name": evil, evil: [evil]},)), [earlier])

    page = assert_sound(source)
    assert {e.attributes["src"][:22] for e in page.all("img")} == {"data:image/png;base64,"}
    shown = (
        r"<script>alert(1)</script>"
        + "\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
        + r"\x1b\u202e \udcff</style></title>"
    )
    assert page.text.count(shown) > 30
    assert " ".join(page.title.split()) == f"Parity failed: {shown}"
    source.encode()


def _colours(block: str) -> dict[str, tuple[int, int, int]]:
    found = re.findall(r"--([\w-]+): #([0-9a-f]{3}(?:[0-9a-f]{3})?);", block)
    full = {name: code if len(code) == 6 else "".join(2 * digit for digit in code) for name, code in found}
    return {name: (int(c[:2], 16), int(c[2:4], 16), int(c[4:], 16)) for name, c in full.items()}


def _contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """WCAG 2.2's contrast ratio."""

    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("number", [0, 1], ids=["light", "dark"])
def test_contrast_is_enough_in_both_schemes(report_of, number):
    blocks = re.findall(r":root \{(.*?)\}", Page(to_html(report_of(RIGHT))).one("style").text, re.DOTALL)
    colours = _colours(blocks[number])

    assert len(colours) == 21
    for ground in ("page", "panel", "far", "below", "near", "failed", "warning"):
        assert _contrast(colours["text"], colours[ground]) >= 4.5, ground
    for ink in ("minor", "link", "good", "bad", "c0", "c1", "c2", "c3", "c4", "c5"):
        assert _contrast(colours[ink], colours["page"]) >= 4.5, ink
    assert _contrast(colours["minor"], colours["panel"]) >= 4.5
    for fill in ("bar-first", "bar-later"):
        assert _contrast(colours[fill], colours["page"]) >= 3, fill
