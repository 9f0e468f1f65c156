"""parity.html in a real browser: drawn, in both schemes, as wide as its window and no wider, on paper too."""

from __future__ import annotations

import html
import io
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swift_export.parity.report import to_html

pytestmark = pytest.mark.requires("chromium")

#: Of A4 and of Letter, landscape, less the page's margins of 14 mm: what is left to print on, in CSS pixels.
PAPER = {"A4": round((297 - 28) / 25.4 * 96), "Letter": round((279.4 - 28) / 25.4 * 96)}

WIDTHS = (1200, 700, 360)
PAGES = ("passed", "failed", "not finite", "bare")
#: Tells how wide a page's content is in each of several frames.
FRAMES = """<!doctype html>
{frames}
<pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const roots = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument.documentElement);
  document.getElementById("found").textContent = roots
    .map((root) => [root.clientWidth, root.scrollWidth, root.scrollHeight].join(" "))
    .join("\\n");
}});
</script>
"""
FRAME = '<iframe style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>'


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

    def chromium(*arguments: str) -> bytes:
        command = [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={profile}", *arguments),
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return chromium


@pytest.fixture(scope="module")
def pages(full_report, report_of) -> dict[str, str]:
    reports = {"passed": full_report(5e-7), "failed": full_report(3e-3), "not finite": full_report(math.inf)}
    return {name: to_html(report) for name, report in (reports | {"bare": report_of()}).items()}


@pytest.fixture(scope="module")
def sizes(pages, full_report, chromium, tmp_path_factory) -> dict[tuple[str, int], tuple[int, int]]:
    """The width and height of every page's content in windows of several widths, all in one browser."""
    wide = to_html(full_report()).replace("<main>", '<main><div style="width:500px">wide</div>')
    long = to_html(full_report(3e-3)).replace("onnx/model.onnx", "onnx/" + "a-very-long-name-" * 9 + ".onnx")
    framed = {("wide", 360): wide, ("long", 360): long.replace("contrastive", "c" * 200)}
    for name, page in pages.items():
        framed |= {(name, width): page for width in WIDTHS}
        # What a print uses, in a window as wide as the paper: there nothing may scroll.
        printed = page.replace("@media screen", "@media not all").replace("@media print", "@media all")
        framed |= {(f"{name} printed", width): printed for width in PAPER.values()}
    frames = [FRAME.format(width=width, page=html.escape(page)) for (_, width), page in framed.items()]
    wrapper = tmp_path_factory.mktemp("frames") / "frames.html"
    wrapper.write_text(FRAMES.format(frames="\n".join(frames)), encoding="utf-8")
    dumped = chromium("--window-size=1400,1000", "--dump-dom", wrapper.as_uri()).decode()
    (found,) = re.findall(r'<pre id="found">([\d \n]+)</pre>', dumped)
    measured = [tuple(map(int, line.split())) for line in found.split("\n")]
    assert [window for window, _, _ in measured] == [width for _, width in framed]
    return {key: (content, height) for key, (_, content, height) in zip(framed, measured, strict=True)}


@pytest.fixture
def screenshot(chromium, tmp_path):
    def screenshot(page: str, *arguments: str) -> np.ndarray:
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        picture = tmp_path / "page.png"
        size = ("--window-size=1200,1600", f"--screenshot={picture}")
        chromium(*size, *arguments, Path(tmp_path / "page.html").as_uri())
        return np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("RGB"))

    return screenshot


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(sizes, name, width):
    content, height = sizes[name, width]

    assert content == width
    assert height > 1000


def test_a_page_that_is_too_wide_would_be_noticed(sizes):
    assert sizes["wide", 360][0] > 360


def test_long_names_do_not_widen_the_page(sizes):
    assert sizes["long", 360][0] == 360


@pytest.mark.parametrize("paper", PAPER)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_paper(sizes, name, paper):
    assert sizes[f"{name} printed", PAPER[paper]][0] == PAPER[paper]


@pytest.mark.parametrize("name", PAGES)
def test_it_prints(pages, name, chromium, tmp_path):
    (tmp_path / "page.html").write_text(pages[name], encoding="utf-8")

    chromium(f"--print-to-pdf={tmp_path / 'page.pdf'}", Path(tmp_path / "page.html").as_uri())

    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    boxes = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert all(float(width) > float(height) for width, height in boxes)
    assert boxes


def test_it_is_drawn_in_both_schemes(full_report, screenshot):
    page = to_html(full_report(3e-3))

    light, dark = screenshot(page), screenshot(page, "--blink-settings=preferredColorScheme=0")

    assert light[0, 0].tolist() == [255, 255, 255]
    assert dark[0, 0].tolist() == [20, 23, 27]
    for drawn, bad in ((light, (164, 14, 38)), (dark, (255, 156, 148))):
        pixels = drawn.reshape(-1, 3)
        assert len(np.unique(pixels, axis=0)) > 200
        # The verdict's own colour, in its mark and word.
        assert (pixels == bad).all(axis=1).sum() > 1000
        # Something on every stretch of the page.
        assert all(np.ptp(stretch) > 100 for stretch in np.array_split(drawn, 8))
