"""Every example of docs/models.md runs, at smaller sizes."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/models.md"
CHECKPOINT = ROOT / "tests/golden/tiny-full/checkpoint.ckpt"

BLOCKS = {
    re.search(r'output="artifacts/(\w+)"', block)[1]: block
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
}

#: What stands in an example, and what is run in its place.
SMALLER = {
    r"\b224\b": "16",
    r"\b32000\b": "50",
    r"\b(1000|64|512|768|640)\b": "8",
    r"\b8, 8, decode": "2, 8, decode",
    r'load_backbone\("synthetic"\)': f"load_backbone({str(CHECKPOINT)!r})",
    r"\b288, 2\b": "48, 2",
    r"\(\"batch\", 1, 96, 96, 96, 20\)": '("batch", *backbone.config.input_shape())',
    r'"savedmodel", ': "",
}


def smaller(block: str) -> str:
    for written, run in SMALLER.items():
        block = re.sub(written, lambda _, run=run: run, block)
    return block


@pytest.mark.parametrize("name", BLOCKS)
def test_an_example_runs_and_its_check_passes(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "example.py"
    file.write_text(smaller(BLOCKS[name]))
    runpy.run_path(str(file), run_name="example")
    folder = tmp_path / "artifacts" / name
    assert (folder / "onnx/model.onnx").is_file()
    assert json.loads((folder / "parity.json").read_text())["passed"] is True


def test_the_page_has_one_example_of_each_kind() -> None:
    assert list(BLOCKS) == ["classifier", "decoder", "convnet", "match", "sex"]
