"""``--json``: one object on stdout, of the keys that docs/json.md lists, also where a command fails."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

from swift_export.parity.report import read_schema

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests" / "golden" / "tiny-full" / "checkpoint.ckpt"
COMMON = ["schema_version", "command", "passed", "error"]
ADD = """
func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
  %0 = stablehlo.add %x, %x : tensor<?xf32>
  return %0 : tensor<?xf32>
}
"""


def documented() -> dict[str, set[str]]:
    """The keys of each command, beside those of all."""
    keys: dict[str, set[str]] = {}
    page = (REPOSITORY / "docs" / "json.md").read_text()
    for line in page.partition("| command | further keys |")[2].splitlines():
        if line.startswith("| `"):
            _, commands, listed, _ = line.split("|")
            listed_keys = set(re.findall("`([a-z_]+)`", listed))
            keys |= dict.fromkeys(re.findall("`([a-z]+)`", commands), listed_keys)
    return keys


@pytest.fixture
def ask(run) -> Callable[..., dict[str, Any]]:
    """Runs a command with --json, holds the object against the page, and returns it."""

    def ask(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
        result = run(*arguments, "--json")
        assert result.returncode == status, result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        assert [*told][:4] == COMMON
        assert {*told} - {*COMMON} <= documented()[told["command"]]
        assert (told["schema_version"], told["command"], told["passed"]) == (1, arguments[0], status == 0)
        if error := told["error"]:
            assert error["exit_status"] == status
            assert result.stderr == f"swift-export: error: {error['message']}\n"
        else:
            assert result.stderr == ""
        return told

    return ask


def holds(files: list[dict[str, Any]], folder: Path) -> set[str]:
    """The paths of files, once their sizes and digests are seen to be right."""
    for file in files:
        data = (folder / file["path"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    return {file["path"] for file in files}


def test_an_export(ask, tmp_path: Path) -> None:
    told = ask("stablehlo", "--weights", TINY, "-o", "out", "--no-check")
    names = ("model.jax", "model.mlir.bc", "model.b1.mlir.bc")
    assert holds(told["files"], tmp_path) == {f"out/stablehlo/{name}" for name in names}
    assert (told["folder"], told["formats"]) == ("out", ["stablehlo"])
    assert told["weights"] == json.loads((tmp_path / "out/manifest.json").read_text())["weights"]


def test_a_check_and_an_inspection(ask, artifact: Path, tmp_path: Path) -> None:
    told = ask("check", artifact / "onnx", "--quick")
    assert holds(told["files"], tmp_path) == {str(artifact / "onnx" / "model.onnx")}
    jsonschema.validate(told["check"], read_schema())
    assert told["check"]["artifacts"][0]["comparisons"][0]["relative_l2"] <= 1e-5
    assert told["skipped"] == []

    told = ask("inspect", artifact)
    assert holds(told["files"], tmp_path) == {str(artifact / "onnx" / "model.onnx")}
    assert [part["path"] for part in told["parts"]] == ["onnx/model.onnx"]


def test_a_failed_check_and_a_failed_comparison_have_their_figures(ask, artifact: Path, tmp_path: Path) -> None:
    model = onnx.load(artifact / "onnx" / "model.onnx")
    (bias,) = (t for t in model.graph.initializer if t.name == "model.layers.2.blocks.1.mlp.linear2.bias")
    values = onnx.numpy_helper.to_array(bias) + 0.01
    bias.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), bias.name))
    onnx.save(model, tmp_path / "altered.onnx")

    told = ask("check", "altered.onnx", "--weights", TINY, "--runtime", "onnxruntime", "--batch", "1", status=1)
    assert told["error"]["kind"] == "CheckFailed"
    assert holds(told["files"], tmp_path) == {"altered.onnx"}
    (found,) = told["check"]["artifacts"]
    assert found["comparisons"][0]["relative_l2"] > 1e-5
    assert found["fault"]["place"] == "stage2/block1/mlp"

    told = ask("diff", artifact / "onnx", "altered.onnx", status=1)
    assert told["error"] is None
    assert told["same_weights"]
    assert not any(comparison["passed"] for pair in told["pairs"] for comparison in pair["comparisons"])


def test_a_benchmark(ask, artifact: Path) -> None:
    told = ask("bench", artifact, "--runtime", "onnxruntime", "--seconds", "0")
    (row,) = told["rows"]
    assert (row["artifact"], row["runtime"], row["ratio"], row["reason"]) == ("onnx/model.onnx", "onnxruntime", 1, None)
    assert row["items_per_s"] == pytest.approx(1 / row["median_s"])


def test_a_conversion(ask, tmp_path: Path) -> None:
    (tmp_path / "add.mlir").write_text(ADD)
    told = ask("convert", "add.mlir", "-o", "add.onnx", "--check", "--dims", "x=batch")
    assert holds(told["files"], tmp_path) == {"add.onnx"}
    assert told["source"] == {"path": "add.mlir", "kind": "StableHLO text", "notes": []}
    assert told["inputs"] == [{"name": "x", "dtype": "float32", "dims": ["batch"]}]
    assert (told["opset"], told["nodes"]) == (20, 1)
    assert [found["sizes"] for found in told["check"]["comparisons"]] == [{"batch": 2}, {"batch": 3}]
    assert all(found["passed"] and found["relative_l2"] <= 1e-5 for found in told["check"]["comparisons"])


def test_a_layout(ask, artifact: Path, tmp_path: Path) -> None:
    told = ask("layout", "triton", artifact, "-o", "layout", "--name", "swift")
    assert (told["folder"], told["layout"], told["model"]) == ("layout", "triton", "swift")
    written = holds(told["files"], tmp_path)
    assert {"layout/README.md", "layout/smoke_test.py", "layout/models/swift/1/model.onnx"} <= written
    # The phantom of the export's check, and what the reference made of it.
    case = json.loads((tmp_path / "layout" / "layout.json").read_text())["smoke_test"]
    golden = np.load(artifact / "golden" / "onnx" / "features.npy")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "layout" / case["outputs"][0]["file"], "f4"), golden.ravel())
    assert ask("layout", "ovms", artifact, "-o", "layout", status=2)["error"]["kind"] == "UsageError"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["check", "nowhere"], "ArtifactError"),
        (["inspect", "nowhere"], "ArtifactError"),
        (["convert", "nowhere", "-o", "out.onnx"], "SourceError"),
        (["onnx", "--weights", "nowhere.ckpt"], "WeightsError"),
        (["all", "--variant", "contrastive", "--batch", "0"], "UsageError"),
    ],
)
def test_bad_input(ask, arguments: list[str], kind: str) -> None:
    assert ask(*arguments, status=2)["error"]["kind"] == kind


def test_progress_goes_to_stderr(artifact: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "swift_export", "check", str(artifact), "--quick", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    out, _ = process.communicate(timeout=120)
    sent = b""
    try:
        while data := os.read(ours, 2**16):
            sent += data
    except OSError:  # how the end of a terminal is told on Linux
        pass
    os.close(ours)
    assert json.loads(out)["passed"]
    assert b"running onnx/model.onnx" in sent
