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

#: Tells how wide a page's content is in a frame of a given width.
FRAME = """<!doctype html>
<iframe id="frame" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
addEventListener("load", () => {{
  const root = document.getElementById("frame").contentDocument.documentElement;
  document.getElementById("found").textContent = [root.clientWidth, root.scrollWidth, root.scrollHeight].join(" ");
}});
</script>
"""


@pytest.fixture
def chromium(tmp_path):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

    def chromium(*arguments: str) -> bytes:
        command = [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={tmp_path / 'profile'}", *arguments),
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return chromium


@pytest.fixture
def width_of(chromium, tmp_path):
    """How wide and high a page's content is in a window of that width."""

    def width_of(page: str, width: int) -> tuple[int, int]:
        wrapper = tmp_path / "frame.html"
        wrapper.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
        dumped = chromium("--window-size=1400,1000", "--dump-dom", wrapper.as_uri()).decode()
        (found,) = re.findall(r'<pre id="found">(\d+) (\d+) (\d+)</pre>', dumped)
        window, content, height = map(int, found)
        assert window == width
        return content, height

    return width_of


@pytest.fixture
def screenshot(chromium, tmp_path):
    def screenshot(page: str, *arguments: str) -> np.ndarray:
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        picture = tmp_path / "page.png"
        size = ("--window-size=1200,1600", f"--screenshot={picture}")
        chromium(*size, *arguments, Path(tmp_path / "page.html").as_uri())
        return np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("RGB"))

    return screenshot


@pytest.fixture(scope="module", params=["passed", "failed", "not finite", "bare"])
def page(request, full_report, report_of) -> str:
    reports = {"passed": 5e-7, "failed": 3e-3, "not finite": math.inf}
    return to_html(full_report(reports[request.param]) if request.param in reports else report_of())


@pytest.mark.parametrize("width", [1200, 700, 360])
def test_nothing_is_wider_than_the_window(page, width_of, width):
    content, height = width_of(page, width)

    assert content == width
    assert height > 1000


def test_a_page_that_is_too_wide_would_be_noticed(full_report, width_of):
    wide = to_html(full_report()).replace("<main>", '<main><div style="width:500px">wide</div>')

    assert width_of(wide, 360)[0] > 360


def test_long_names_do_not_widen_the_page(full_report, width_of):
    long = to_html(full_report(3e-3)).replace("onnx/model.onnx", "onnx/" + "a-very-long-name-" * 9 + ".onnx")

    assert width_of(long.replace("contrastive", "c" * 200), 360)[0] == 360


@pytest.mark.parametrize("paper", PAPER)
def test_nothing_is_wider_than_the_paper(page, width_of, paper):
    # What a print uses, in a window as wide as the paper: there nothing may scroll.
    printed = page.replace("@media screen", "@media not all").replace("@media print", "@media all")

    assert width_of(printed, PAPER[paper])[0] == PAPER[paper]


def test_it_prints(page, chromium, tmp_path):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")

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
