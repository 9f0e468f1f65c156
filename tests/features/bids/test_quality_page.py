"""The page about a cohort's quality: what it says, that it is whole by itself, and how a browser draws it."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from swift_export.features.bids.derivative_files import write_scan
from swift_export.features.bids.group_level import write_group
from swift_export.features.bids.group_table import Origin, ScanRow
from swift_export.features.bids.quality_chart import rank_correlation
from swift_export.features.bids.quality_page import Refusal, quality_page
from swift_export.features.bids.scan_table import ScanTable, Window
from swift_export.features.bids.scan_task import Task

NAME = "task-rest_run-1_space-MNI152NLin6Asym"
REFUSED = [Refusal(f"sub-9{n}_{NAME}", "expected its brain mask, found none") for n in range(3)]


def rows_of(count: int, far: tuple[int, ...] = (), still: tuple[int, ...] = ()) -> list[ScanRow]:
    rng = np.random.default_rng(5)
    rows = []
    for n in range(count):
        mean = (rng.standard_normal(40) * 0.2 + 1 + 3 * (n in far)).astype(np.float32)
        motion = None if n in still else 0.05 + 0.01 * n
        entities = {"sub": f"{n:02}", "task": "rest", "run": "1", "space": "MNI152NLin6Asym"}
        rows.append(ScanRow(entities, 19 - n % 3, motion, motion, mean, 0.1, Origin("ukb", "abc" * 20)))
    return rows


class Text(HTMLParser):
    """The text of a page, and of its attributes, without its style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not self.tags or self.tags[-1][0] != "style":
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())


def test_it_says_what_was_computed_refused_and_far(tmp_path):
    page = Text(quality_page(rows_of(20, far=(4, 17), still=(2,)), REFUSED))

    assert "20 of 23 scans Features of 20 participants. 3 scans refused, 2 outliers." in page.text
    assert "Placement ukb; artifact abcabcabcabc ; 40 channels." in page.text
    assert "task rest, space MNI152NLin6Asym 20 20 17 to 19, median 18 0.15 0 2" in page.text
    assert "3 expected its brain mask, found none 3 scans sub-90_" in page.text
    for n in (4, 17):
        assert f"sub-{n:02}_{NAME}" in page.text.partition("Outliers Scan Score")[2]
    assert f"sub-05_{NAME}" not in page.text.partition("Outliers Scan Score")[2]
    assert "1 scan without confounds is not drawn" in page.text
    assert re.search(r"Windows Scans 17 6 18 7 19 7", page.text)
    # One mark for each scan whose motion is known, crosses for outliers.
    marks = [(tag, attributes.get("class")) for tag, attributes in page.tags if tag in ("circle", "path")]
    assert (marks.count(("circle", "dot")), marks.count(("path", "dot outlier"))) == (17, 2)
    assert ("a", {"href": f"group_{NAME.replace('_run-1', '')}_desc-swift_embeddings.tsv"}) in page.tags


def test_few_scans_and_none_are_said_to_be_so():
    few = Text(quality_page(rows_of(3, still=(0, 1, 2))))
    assert "Features of 3 participants. No scan refused, no outliers." in few.text
    assert "No scan has a table of confounds." in few.text
    assert "Not judged: fewer than 8 scans." in few.text
    none = Text(quality_page([], REFUSED))
    assert "0 of 3 scans" in none.text
    assert "No scan has features." in none.text


def test_it_fetches_nothing_and_runs_nothing():
    hostile = Refusal("sub-1\x1b]8;;x\x07", '<script>alert(1)</script><img src="http://x.example/">\u202egpj')
    page = quality_page(rows_of(9), [hostile])

    tags = Text(page).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "img", "iframe", "object", "form"})
    assert all("://" not in str(value) for _, attributes in tags for value in attributes.values())
    assert (
        "meta",
        {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"},
    ) in tags
    assert all(line.isprintable() for line in page.split("\n"))
    assert "url(" not in page


def test_long_lists_are_cut_and_counted():
    refusals = [Refusal(f"sub-{n}", "one reason") for n in range(1234)]

    page = Text(quality_page(rows_of(9), refusals))

    assert "1,234 one reason 1,234 scans" in page.text
    assert "and 1,034 more" in page.text


def test_the_same_scans_give_the_same_page():
    assert quality_page(rows_of(9), REFUSED) == quality_page(rows_of(9), REFUSED)


def test_correlation_is_that_of_ranks():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert rank_correlation(x, np.array([10.0, -1.0, -2.0, -30.0])) == pytest.approx(-1)
    # By hand: ranks 1, 2, 3, 4 with 1.5, 1.5, 3, 4.
    assert rank_correlation(x, np.array([5.0, 5.0, 6.0, 7.0])) == pytest.approx(4.5 / 22.5**0.5)
    assert rank_correlation(x, np.ones(4)) is None


def test_the_group_level_writes_tables_and_page(tmp_path):
    for sub in ("01", "02"):
        task = Task(tmp_path / "scan.nii", {"sub": sub, "task": "rest"})
        write_scan(tmp_path, ScanTable(task, [Window(0)], np.ones((1, 4), np.float32), "hcp"))

    written = write_group(tmp_path, REFUSED)

    assert [path.name for path in written] == ["group_task-rest_desc-swift_embeddings.tsv", "group.html"]
    page = Text(written[-1].read_text())
    assert "2 of 5 scans" in page.text
    assert any(attributes.get("href") == written[0].name for _, attributes in page.tags)


@pytest.mark.requires("chromium")
def test_a_browser_draws_it_in_the_dark_no_wider_than_its_window(tmp_path):
    page = quality_page(rows_of(20, far=(4,)), [*REFUSED, Refusal("sub-" + "x" * 300, "y" * 300)])
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>'
        for width in (1200, 360)
    )
    script = (
        "addEventListener('load', () => document.title = [...document.querySelectorAll('iframe')]"
        ".map((f) => f.contentDocument).map((d) => d.documentElement.scrollWidth + ' ' "
        "+ getComputedStyle(d.body).backgroundColor + ' ' + d.querySelector('.dot').getBoundingClientRect().width)"
        ".join('; '))"
    )
    (tmp_path / "frames.html").write_text(f"<!doctype html><script>{script}</script>{frames}")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    command = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000"),
        *("--blink-settings=preferredColorScheme=0", "--dump-dom", (tmp_path / "frames.html").as_uri()),
    ]

    dom = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()

    found = re.search(r"<title>(.+)</title>", dom)
    assert found
    drawn = re.findall(r"(\d+) rgb\(20, 23, 27\) ([\d.]+)", found[1])
    assert [width for width, _ in drawn] == ["1200", "360"]
    assert all(float(dot) > 4 for _, dot in drawn)
