"""The export commands from a real checkpoint to checked files, and what a failed or interrupted one leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GOLDEN / "tiny-full" / "checkpoint.ckpt"
OTHER = GOLDEN / "tiny-windowed" / "checkpoint.ckpt"


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_onnx_from_a_checkpoint_to_a_checked_file(run, artifact: Path, tmp_path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(artifact / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    case = json.loads((GOLDEN / "tiny-full" / "case.json").read_text())
    assert session.get_inputs()[0].shape == ["batch", *case["input_shape"][1:]]
    manifest = json.loads((artifact / "manifest.json").read_text())
    details = manifest["artifacts"]["onnx"]["details"]
    assert details["target"] == "portable"
    assert {block["form"] for block in details["attention"].values()} == {"regions"}
    measured = manifest["artifacts"]["onnx"]["parity"]
    assert {m["batch"] for m in measured} >= {1, 2}
    assert max(max(m["relative_l2"], m["relative_max"]) for m in measured) <= 1e-5


def test_console_shows_what_no_shape_tells_and_what_was_measured(run, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    result = run("onnx", "--weights", TINY, "-o", "out", TMPDIR=str(tmp_path / "tmp"))
    assert result.returncode == 0
    assert result.stderr == ""
    for line in ("window_size          4x4x4x4", "first_window_size    4x4x4x4", "last_layer_full_MSA  True"):
        assert line in result.stdout
    assert "relative L2" in result.stdout
    assert result.stdout.endswith("wrote out/onnx/model.onnx\n")
    # Nothing of the check is left, nor the session file of a library's telemetry.
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_default_folder_is_that_of_the_variant_below_the_callers(run, tmp_path: Path) -> None:
    assert run("stablehlo", "--weights", TINY, "--no-check", "--quiet").stdout == ""
    assert (tmp_path / "artifacts" / "custom" / "stablehlo" / "model.jax").is_file()


def test_half_precision_has_a_default_folder_of_its_own_and_is_recorded(run, tmp_path: Path) -> None:
    import onnx

    done = run(
        "onnx", "--weights", TINY, "--precision", "float16", "--io-dtype", "float16", "--no-check", "--quiet"
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "artifacts" / "custom-float16"
    settings = json.loads((folder / "manifest.json").read_text())["artifacts"]["onnx"]["settings"]
    assert (settings["precision"], settings["io_dtype"]) == ("float16", "float16")
    graph = onnx.load(folder / "onnx" / "model.onnx").graph
    ends = (*graph.input, *graph.output)
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.FLOAT16}


def test_target_and_attention_are_recorded_and_checked_again(run, tmp_path: Path) -> None:
    import onnx

    asked = ["--target", "onnxruntime", "--attention", "masked"]
    result = run("onnx", "--weights", TINY, "-o", "out", *asked)
    assert result.returncode == 0, result.stderr
    made = json.loads((tmp_path / "out" / "manifest.json").read_text())["artifacts"]["onnx"]
    assert (made["details"]["target"], made["settings"]["attention"]) == ("onnxruntime", "masked")
    forms = made["details"]["attention"]
    assert {place: block["form"] for place, block in forms.items()} == {
        "stage0/block1": "masked",
        "stage1/block1": "masked",
    }
    model = onnx.load(tmp_path / "out" / "onnx" / "model.onnx")
    assert {opset.domain for opset in model.opset_import} == {"", "com.microsoft"}
    assert json.loads({p.key: p.value for p in model.metadata_props}["swift_export.attention"]) == forms
    again = run("check", "out", "--weights", TINY)
    assert again.returncode == 0, again.stderr
    assert "ok" in again.stdout


@pytest.mark.requires("savedmodel")
def test_all_writes_every_format(run, tmp_path: Path) -> None:
    result = run("all", "--weights", TINY, "-o", "out", "--outputs", "features", "--outputs", "stage0", "--frames", "5")
    assert result.returncode == 0, result.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["artifacts"]) == {"onnx", "savedmodel", "stablehlo"}
    for artifact in manifest["artifacts"].values():
        assert {m["output"] for m in artifact["parity"]} == {"features", "stage0"}


@pytest.mark.requires("savedmodel")
def test_onnx_through_a_savedmodel(run, tmp_path: Path) -> None:
    result = run("onnx", "--weights", TINY, "-o", "out", "--via", "savedmodel", "--output-kind", "embedding")
    assert result.returncode == 0, result.stderr
    assert "ok" in result.stdout
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["artifacts"]["onnx"]["details"]["via"] == "savedmodel"


def test_synthetic_weights_are_announced(run) -> None:
    result = run("bundle", "--weights", "synthetic:3", "-o", "out")
    assert "SYNTHETIC WEIGHTS (seed 3): the features mean nothing" in result.stdout


def test_a_clip_of_the_user_is_checked_too(run, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((1, 48, 48, 48, 8), dtype=np.float32))
    result = run("onnx", "--weights", TINY, "-o", "out", "--input", "mine.npy", "--batch", "3")
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if "mine.npy" in line]
    assert rows
    assert all("3" in row and row[-1] == "ok" for row in rows)


def test_other_weights_need_force(run, refused, artifact: Path, tmp_path: Path) -> None:
    out = shutil.copytree(artifact, tmp_path / "out")
    before = digests(out)
    assert "--force" in refused("onnx", "--weights", OTHER, "-o", out, "--no-check", "--quiet")
    assert digests(out) == before
    assert run("onnx", "--weights", OTHER, "-o", out, "--no-check", "--force").returncode == 0
    assert digests(out) != before


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("stage", ["exporting", "checking"])
def test_an_interrupted_export_leaves_the_artifact_as_it_was(
    start, artifact: Path, tmp_path: Path, number: signal.Signals, status: int, word: str, stage: str
) -> None:
    out = shutil.copytree(artifact, tmp_path / "out")
    before = digests(out)
    process = start("onnx", "--weights", OTHER, "-o", out, "--force")
    # While it exports the staging folder is there, while it checks the file in it too.
    pattern = ".swift-export-*/new" if stage == "exporting" else ".swift-export-*/new/onnx/model.onnx"
    wait_until(lambda: any(out.glob(pattern)), process)
    # As a terminal does: to the whole group, so to the workers of a check too.
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=300)
    assert (process.returncode, stderr) == (status, f"swift-export: {word}\n")
    assert digests(out) == before


def test_a_full_disk_is_status_1_and_leaves_the_artifact_as_it_was(run, artifact: Path, small_disk: Path) -> None:
    out = shutil.copytree(artifact, small_disk / "out")
    before = digests(out)
    # Room to begin, none to finish.
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 2**17))
    result = run("onnx", "--weights", OTHER, "-o", out, "--force", "--no-check")
    assert result.returncode == 1
    assert "the disk is full" in result.stderr
    assert result.stderr.count("\n") == 1
    assert digests(out) == before


def wait_until(condition, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
