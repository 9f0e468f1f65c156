"""``swift-export quantize`` as users meet it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from swift_export.models.swift.check_inputs import phantom

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "json.md").read_text()


def test_a_folder_of_clips_calibrates_and_the_figures_are_told(run, artifact, weights, tmp_path) -> None:
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips" / "a.npy", phantom(weights.config, 2, seed=9))
    done = run("quantize", artifact, "-o", "int8", "--calibrate", "clips", "--placement", "ukb", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (row,) = [line for line in DOCUMENTED.splitlines() if line.startswith("| `quantize` |")]
    assert {*re.findall("`([a-z_]+)`", row)} - {"quantize"} == {*told} - {
        "schema_version",
        "command",
        "passed",
        "error",
    }
    record = told["quantization"]
    assert [(one["name"], one["items"]) for one in record["calibration"]] == [("a.npy", 2)]
    assert record["size"] < record["source_size"]
    assert told["files"][0]["path"] == "int8/onnx/model.onnx"
    assert not any("calibrated on" in note for note in told["notes"])
    assert any("slower" in note for note in told["notes"]) == (record["time_ratio"] > 1)

    shown = run("inspect", "int8").stdout
    assert re.search(r"precision +int8: \d+ of \d+ products with integers.*calibrated on a\.npy \(2\)", shown)
    again = run("quantize", "int8", "-o", "twice")
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert "found integers" in again.stderr


def test_clips_that_do_not_fit_are_refused(run, artifact, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "flat.npy", np.zeros((1, 1, 4, 4, 4, 2), np.float32))
    for path, told in (("empty", "found none"), ("flat.npy", "flat.npy: "), ("nowhere.npy", "no such file")):
        done = run("quantize", artifact, "-o", "out", "--calibrate", path)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert told in done.stderr
        assert not (tmp_path / "out").exists()
