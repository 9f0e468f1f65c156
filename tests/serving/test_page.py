"""The page in a real browser: a scan is dropped, computed, drawn and downloaded; refusals are told; keys suffice."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, browser
from embedded import Running, backbone, serving, until
from PIL import Image

import swift_export

pytestmark = pytest.mark.requires("serve", "fmri", "chromium")

TOKEN = "0123456789abcdef"
BY_ID = "document.getElementById"
DROP = f"{BY_ID}('drop')"
DRAWN = "document.querySelector('#slices canvas').toDataURL()"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return backbone(tmp_path_factory.mktemp("artifact") / "model.onnx")


@pytest.fixture(scope="module")
def server(artifact: Path) -> Iterator[Running]:
    with serving({"tiny": artifact}, golden=False, token=TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def run(brains, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run off the grid's centre, and its mask."""
    folder = tmp_path_factory.mktemp("scan")
    scan = brains.timed(folder / "sub-01_bold.nii.gz", brains.run((9, 11, 7, 30)), 0.8)
    return scan, brains.threshold_mask(scan, folder / "sub-01_mask.nii.gz", 900)


@pytest.fixture(scope="module")
def page(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        found.open(f"http://127.0.0.1:{server.port}/")
        yield found


def text(page: Browser, identifier: str) -> str:
    return str(page.js(f"{BY_ID}('{identifier}').textContent"))


def focused(page: Browser) -> str:
    return str(page.js("document.activeElement.id"))


def type_in(page: Browser, words: str) -> None:
    page.call("Input.insertText", text=words)


def pixels(page: Browser) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def test_the_whole_way(page: Browser, server: Running, artifact: Path, run: tuple[Path, Path], tmp_path: Path) -> None:
    # A wrong token, then the right one, by keys alone.
    page.until(f"!{BY_ID}('access').hidden")
    assert focused(page) == "token"
    type_in(page, "not the server's token")
    page.press("Enter", 13, "\r")
    page.until(f"{BY_ID}('access-error').textContent !== ''")
    type_in(page, TOKEN)
    page.press("Enter", 13, "\r")
    page.until(f"!{BY_ID}('request').hidden")
    assert page.js("[localStorage.length, sessionStorage.length, document.cookie.length, location.href.length]") == [
        *(0, 0, 0, len(f"http://127.0.0.1:{server.port}/"))
    ]
    order = []
    for _ in range(6):
        page.press("Tab", 9)
        order.append(focused(page))
    assert order == ["scan", "mask", "sidecar", "model", "placement", ""]
    assert page.js(f"{BY_ID}('compute').disabled")

    # Both files, dropped in any order.
    page.drop(run[::-1], DROP)
    page.until(f"{BY_ID}('mask-name').textContent !== 'No file'")
    assert text(page, "scan-name").startswith("sub-01_bold.nii.gz, ")
    assert text(page, "hint") == "Choose a placement."
    page.js(f"{BY_ID}('placement').focus()")
    for letter in "a p":
        page.press(letter, 0, letter)
    assert (page.js(f"{BY_ID}('placement').value"), page.js(f"{BY_ID}('point-field').hidden")) == ("point", False)
    page.press("Tab", 9)
    type_in(page, "mars")
    page.press("Enter", 13, "\r")
    page.until("document.body.dataset.state === 'refused'")
    assert focused(page) == "refused"
    assert text(page, "reason").startswith("--placement mars: expected hcp, ukb, abcd or a point X,Y,Z of MNI152")
    assert text(page, "advice") == (
        "On this page, --placement is “Placement on the model's grid”, --orientation is “Orientation”."
    )
    assert page.js(f"{BY_ID}('more').open")
    page.js(f"{BY_ID}('more').open = false")

    page.js(f"{BY_ID}('point').select()")
    page.js(f"{BY_ID}('stride').value = 2")
    type_in(page, "0,-18,18")
    page.press("Enter", 13, "\r")
    page.until("document.body.dataset.state === 'result'")
    assert (text(page, "result-title"), focused(page)) == ("sub-01_bold.nii.gz", "result-title")
    warned: list[str] = []
    how = {"placement": "0,-18,18", "mask": run[1], "stride": 2, "threads": 1}
    for name in ("run.tsv", "run.safetensors"):
        swift_export.run(artifact, run[0], tmp_path / name, warn=warned.append, **how)  # type: ignore[arg-type]
    assert page.js("[...document.querySelectorAll('#warnings li')].map((line) => line.textContent)") == [
        line.removeprefix(f"{run[0]}: ") for line in warned[: len(warned) // 2]
    ]
    assert page.js("document.querySelectorAll('#table tbody tr').length") == 12

    # What is downloaded is what `run` writes.
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    for number, name in enumerate(("run.tsv", "run.safetensors")):
        saved = tmp_path / str(page.js(f"document.querySelectorAll('#downloads a')[{number}].download"))
        page.js(f"document.querySelectorAll('#downloads a')[{number}].click()")
        until(saved.is_file, 60)
        assert (saved.name, saved.read_bytes()) == (
            f"sub-01_bold_embedding{saved.suffix}",
            (tmp_path / name).read_bytes(),
        )
    # A slice shows the brain, and a key moves it.
    page.js("document.querySelector('#slices input').focus()")
    before = page.js(DRAWN)
    assert page.js("document.querySelector('#slices figcaption').textContent") == "Sagittal, x 8 at 0 mm"
    page.press("ArrowRight", 39)
    page.until("document.querySelector('#slices figcaption').textContent === 'Sagittal, x 9 at -2 mm'")
    assert page.js(DRAWN) != before

    # As wide as the window, in both schemes.
    for width in (1200, 700, 360):
        page.size(width)
        assert page.js("document.documentElement.scrollWidth") == width
    page.size(800)
    light = pixels(page)
    page.scheme("dark")
    dark = pixels(page)
    page.scheme("light")
    assert (light[0, 0].tolist(), dark[0, 0].tolist()) == ([255, 255, 255], [20, 23, 27])
    for drawn in (light, dark):
        assert len(np.unique(drawn[::2, ::2] @ np.array([2**16, 2**8, 1]))) > 300
        assert all(np.ptp(stretch) > 100 for stretch in np.array_split(drawn, 8))

    # Another run does not keep the mask of this one.
    page.drop(run[:1], DROP)
    page.until(f"{BY_ID}('mask-name').textContent === 'No file'")
    # Nothing of elsewhere, nothing that the policy forbids.
    home = f"http://127.0.0.1:{server.port}/"
    assert [address for address in page.requests if not address.startswith((home, f"blob:{home}"))] == []
    assert [line for line in page.console if "status of 40" not in line] == []


def test_cancelled(page: Browser, server: Running, run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = server.server.service.scans.models.find("tiny").model
    computing, held = threading.Event(), threading.Event()

    def slow(self: Any, arrays: Any, instance: int) -> Any:
        computing.set()
        assert held.wait(20)
        raise RuntimeError("nobody hears of it")

    monkeypatch.setattr(type(model), "infer", slow)
    page.js(f"{BY_ID}('compute').click()")
    until(computing.is_set, 60)
    page.until(f"{BY_ID}('step').textContent.startsWith('Computing sub-01_bold.nii.gz: window 1 of 12')")
    assert page.js(f"[{BY_ID}('compute').disabled, {BY_ID}('result').hidden]") == [True, True]
    page.js(f"{BY_ID}('cancel').click()")
    page.until("document.body.dataset.state === 'empty'")
    until(lambda: any(event.get("status") == 499 for event in server.events), 60)
    held.set()
    assert focused(page) == "compute"
