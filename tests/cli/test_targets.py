"""The line about an ONNX file's target names what the benchmark measured."""

from __future__ import annotations

import json
from pathlib import Path

from swift_export.cli.onnx_targets import describe_target, speed_up

DOCS = Path(__file__).parents[2] / "docs"


def test_the_speed_up_is_that_of_the_benchmark() -> None:
    measured = json.loads((DOCS / "benchmark.json").read_text())
    seconds = {row["name"]: row["batches"]["1"]["median_s"] for row in measured["rows"] if row["batches"]}
    assert speed_up() == seconds["ort-portable"] / seconds["ort"]
    # As the page shows it, from rounded figures.
    page = (DOCS / "benchmark.md").read_text()
    shown = {line.split("|")[2].strip(): line.split("|")[3] for line in page.splitlines() if line.startswith("| ONNX")}
    assert abs(speed_up() - float(shown["ort-portable"]) / float(shown["ort"])) < 0.01


def test_each_target_names_the_other() -> None:
    assert f"--target onnxruntime is {speed_up():.2f} times as fast" in describe_target("portable")
    assert "--target portable" in describe_target("onnxruntime")
    assert describe_target("portable", "float16").endswith("--target onnxruntime has ONNX Runtime's own operators")
