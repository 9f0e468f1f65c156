"""``check``, ``diff`` and ``inspect`` on artifacts, on parts of them and on single files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GOLDEN / "tiny-full" / "checkpoint.ckpt"


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(artifact, tmp_path / "copy")


@pytest.fixture
def altered(artifact: Path, tmp_path: Path) -> Path:
    """The ONNX file, taken out of its artifact, with one bias changed: it says the same and computes something else."""
    model = onnx.load(artifact / "onnx" / "model.onnx")
    (bias,) = (t for t in model.graph.initializer if t.name == "model.layers.2.blocks.1.mlp.linear2.bias")
    values = onnx.numpy_helper.to_array(bias) + 0.01
    bias.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), bias.name))
    onnx.save(model, tmp_path / "altered.onnx")
    return tmp_path / "altered.onnx"


def test_check_repeats_the_check_and_leaves_its_report(run, copy: Path) -> None:
    (copy / "parity.json").unlink()
    result = run("check", copy, "--weights", TINY)
    assert result.returncode == 0, result.stderr
    report = json.loads((copy / "parity.json").read_text())
    assert report["passed"]
    assert {artifact["root"] for artifact in report["artifacts"]} == {"copy"}
    assert (copy / "parity.md").is_file()


def test_check_of_a_single_file_that_computes_something_else_fails(run, altered: Path) -> None:
    result = run("check", altered, "--weights", TINY)
    assert result.returncode == 1
    assert "FAILED" in result.stdout
    assert "altered.onnx" in result.stderr
    assert "ONNX Runtime" in result.stderr
    assert result.stderr.count("\n") == 1


def test_quiet_check_prints_nothing(run, copy: Path) -> None:
    result = run("check", copy / "onnx" / "model.onnx", "--weights", TINY, "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_check_refuses_a_tampered_artifact(refused, copy: Path) -> None:
    file = copy / "onnx" / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert "onnx/model.onnx" in refused("check", copy, "--weights", TINY)
    assert "onnx/model.onnx" in refused("inspect", copy)


def test_check_asks_for_the_weights_and_refuses_others(refused, copy: Path) -> None:
    assert "--weights" in refused("check", copy)
    assert "digest" in refused("check", copy, "--weights", GOLDEN / "tiny-windowed" / "checkpoint.ckpt")


def test_a_gpu_that_is_absent_is_an_error(run, copy: Path) -> None:
    result = run("check", copy, "--weights", TINY, "--device", "gpu", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 1
    assert "--device gpu" in result.stderr
    assert result.stderr.count("\n") == 1


def test_diff_of_equal_and_of_different_files(run, artifact: Path, altered: Path) -> None:
    same = run("diff", artifact / "onnx", artifact)
    assert same.returncode == 0, same.stderr
    assert "within 1e-05" in same.stdout
    assert same.stdout.endswith("the same weights\n")
    other = run("diff", artifact / "onnx" / "model.onnx", altered)
    assert other.returncode == 1
    assert other.stderr == ""
    assert "beyond 1e-05" in other.stdout


def test_inspect_shows_what_a_file_is(run, artifact: Path) -> None:
    shown = run("inspect", artifact).stdout
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["weights"]["digest"] in shown
    assert "bold float32 (batch, 1, 48, 48, 48, 8)" in shown
    assert "ai.onnx 20" in shown
    assert "relative L2" in shown
    assert manifest["weights"]["digest"] in run("inspect", artifact / "onnx" / "model.onnx").stdout


def test_inspect_as_json(run, artifact: Path) -> None:
    described = json.loads(run("inspect", artifact, "--json").stdout)
    assert described["manifest"] == json.loads((artifact / "manifest.json").read_text())
    assert [part["path"] for part in described["parts"]] == ["onnx/model.onnx"]


def test_inspect_of_a_file_on_its_own(run, altered: Path) -> None:
    shown = run("inspect", altered).stdout
    assert "swift_export.weights_sha256" in shown
    assert "features float32 (batch, 48, 2, 2, 2, 8)" in shown
