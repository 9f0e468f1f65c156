"""The whole check on small models: what is right passes, every fault fails, and each error says what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from swift_export.artifacts.manifest import read_manifest
from swift_export.errors import ArtifactError, CheckFailed, InputError, MachineError, UsageError
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models.swift.check_inputs import Given, noise
from swift_export.models.swift.clip import Clip
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import load_weights, synthetic_weights
from swift_export.parity import check_paths, report_files
from swift_export.parity.checking import check_staged
from swift_export.parity.measure.scratch import scratch_folder
from swift_export.parity.report import rows, to_json, to_markdown
from swift_export.runtimes.base import LoadError

GOLDEN = Path(__file__).parents[1] / "golden"

FILES = ["onnx/model.onnx", "stablehlo/model.b1.mlir.bc", "stablehlo/model.jax", "stablehlo/model.mlir.bc"]


def check(paths, **options):
    """Each file in its own runtime; all of them in all are for test_matrix.py."""
    return check_paths(paths, runtimes="own", blocks=False, **options)


@pytest.fixture(scope="module")
def report(artifact):
    """Everything in an artifact folder, checked with what it records of itself."""
    return check([artifact])


def cases(checked):
    return [(c.input, c.sizes["batch"], c.output) for c in checked.comparisons]


def edited(staged, folder, edit):
    """A staged folder with another ONNX file."""
    (folder / "onnx").mkdir(parents=True)
    model = onnx.load(staged / "onnx/model.onnx")
    edit(model)
    onnx.save(model, folder / "onnx/model.onnx")
    return folder


def scale(name, factor, index):
    def edit(model):
        (tensor,) = [t for t in model.graph.initializer if t.name == name]
        array = onnx.numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[index] *= factor
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))

    return edit


def multiply_features(factor):
    def edit(model):
        (node,) = [node for node in model.graph.node if "features" in node.output]
        node.output[:] = ["unscaled"]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "factor"))
        model.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "factor"], ["features"], name="scaled"))

    return edit


def test_every_artifact_of_a_folder_is_checked(report, weights):
    assert report.passed
    report.raise_for_failures()
    assert [checked.file for checked in report.artifacts] == FILES
    assert [checked.info.name for checked in report.artifacts] == [
        "ONNX Runtime",
        "StableHLO on XLA",
        "jax.export",
        "StableHLO on XLA",
    ]
    for checked in report.artifacts:
        sizes = (1,) if checked.file.endswith(".b1.mlir.bc") else (1, 2)
        assert cases(checked) == [(name, size, "features") for name in ("noise", "phantom") for size in sizes]
        assert checked.weights.digest == weights.digest
        assert checked.weights.synthetic
        assert len(checked.settings) > 10


def test_figures_are_measured_not_made_up(report):
    # Two runtimes never agree to the last bit on every input; a comparison of a file with itself would.
    errors = [c.difference.relative_l2 for c in report.artifacts[0].comparisons]
    assert all(1e-9 < error < 2e-6 for error in errors)
    assert len(set(errors)) == len(errors)
    assert report.reference.settings["jax_default_matmul_precision"] == "highest"


def test_the_report_is_data_and_text(report, artifact):
    manifest = read_manifest(artifact)
    files = report_files(manifest, report)

    found = json.loads(files["parity.json"])
    assert found["schema_version"] == 3
    assert found["passed"] is True
    assert [entry["file"] for entry in found["artifacts"]] == FILES
    assert found["artifacts"][0]["comparisons"][0]["relative_l2"] > 0
    assert str(artifact) not in files["parity.json"] + files["parity.md"]
    assert files["parity.md"].count("| onnx/model.onnx |") == 5
    assert "Synthetic weights: the features mean nothing." in files["parity.md"]


def test_measurements_are_the_manifests(report):
    measured = report.measurements("onnx")

    assert len(measured) == 4
    assert {(m.file, m.runtime, m.device) for m in measured} == {
        ("onnx/model.onnx", report.artifacts[0].runtime, "cpu")
    }
    assert len(report.measurements("stablehlo")) == 2 + 4 + 4
    assert report.measurements("savedmodel") == ()


@pytest.mark.requires("savedmodel")
def test_the_savedmodel_runs_without_jax(weights, write, tmp_path):
    write(weights, tmp_path, "savedmodel")

    report = check_staged(tmp_path, swift_model(weights), batches=[3])

    report.raise_for_failures()
    (checked,) = report.artifacts
    assert (checked.file, checked.info.name) == ("savedmodel/1", "TensorFlow")
    assert cases(checked) == [("noise", 3, "features"), ("phantom", 3, "features")]


@pytest.mark.parametrize(
    ("form", "target", "settings"),
    [
        ("onnx", "portable", SwiFTSettings(frames=3, outputs=("features", "stage0", "stage2"))),
        ("onnx", "onnxruntime", SwiFTSettings(attention="masked")),
        ("onnx", "portable", SwiFTSettings(batch=3, output_kind="embedding")),
        (
            "stablehlo",
            "portable",
            SwiFTSettings(frames=1, batch=2, outputs=("stage1", "features"), output_kind="embedding"),
        ),
    ],
)
def test_an_artifact_is_checked_as_it_was_exported(weights, write, tmp_path, form, target, settings):
    write(weights, tmp_path, form, settings=settings, onnx=OnnxSettings(target=target))

    report = check_staged(tmp_path, swift_model(weights, settings))

    report.raise_for_failures()
    for checked in report.artifacts:
        fixed = 1 if checked.file.endswith("b1.mlir.bc") else settings.batch
        assert {c.sizes["batch"] for c in checked.comparisons} == ({fixed} if fixed else {1, 2})
        assert {c.output for c in checked.comparisons} == set(settings.outputs)


def test_a_file_on_its_own_needs_its_weights(weights, staged, tmp_path):
    file = shutil.copy(staged / "onnx/model.onnx", tmp_path)

    check([file], weights=weights, batches=[1]).raise_for_failures()
    with pytest.raises(UsageError, match=r"model\.onnx: not in an artifact folder; .*--weights"):
        check([file])


def test_a_part_of_a_folder_can_be_checked(artifact):
    report = check([artifact / "onnx"], batches=[1])

    assert [checked.file for checked in report.artifacts] == ["onnx/model.onnx"]


def test_a_given_clip_is_tried_too(weights, staged):
    scan = Given(Clip("scan.nii.gz", noise(weights.config, 1, seed=9), {"orientation": "LAS"}))

    report = check([staged / "onnx/model.onnx"], weights=weights, inputs=[scan, scan])

    names = [name for name, size, _ in cases(report.artifacts[0]) if size == 2]
    assert names == ["noise", "phantom", "scan.nii.gz", "scan.nii.gz (3)"]
    assert json.loads(to_json(report))["inputs"] == [
        {"name": "noise", "seed": 0},
        {"name": "phantom", "seed": 0},
        {"name": "scan.nii.gz", "orientation": "LAS"},
        {"name": "scan.nii.gz (3)", "orientation": "LAS"},
    ]
    report.raise_for_failures()


def test_a_clip_of_other_frames_is_refused(weights, staged):
    short = Given(Clip("short.npy", noise(weights.config, 1, frames=3), {}))

    with pytest.raises(
        InputError, match=r"short\.npy: bold: expected float32 \(batch, 1, 48, 48, 48, 8\), found .*, 3\)"
    ):
        check([staged / "onnx/model.onnx"], weights=weights, inputs=[short])


def test_a_changed_weight_fails_and_is_named(weights, staged, tmp_path):
    folder = edited(staged, tmp_path / "a", scale("model.layers.1.blocks.0.mlp.linear1.weight", 1.5, 7))

    report = check_staged(folder, swift_model(weights), batches=[1])

    assert not report.passed
    assert "FAILED" in {row[-1] for row in rows(report)}
    with pytest.raises(
        CheckFailed,
        match=r"onnx/model\.onnx: ONNX Runtime [\d.]+ on cpu: input noise, batch 1, output features: "
        r"relative L2 \S+, largest \S+ \(allowed 1e-05 and 1e-05\); first differs at "
        r"stage1/block0/mlp \(.*; and 2 more",
    ) as caught:
        report.raise_for_failures()
    assert caught.value.exit_status == 1
    # Not only what it does is found: the tensor itself is.
    assert report.failures[-1].endswith("1 differ or are absent, such as model.layers.1.blocks.0.mlp.linear1.weight")


def test_a_small_fault_is_not_taken_for_noise(weights, staged, tmp_path):
    # Between the tolerance and what the noisiest weights would be allowed: these are not noisy.
    folder = edited(staged, tmp_path / "a", scale("model.layers.0.blocks.0.mlp.linear1.weight", 1.003, 7))

    report = check_staged(folder, swift_model(weights), batches=[1])

    errors = [comparison.difference.relative_l2 for comparison in report.artifacts[0].comparisons]
    assert all(1e-5 < error < 1e-4 for error in errors), errors
    assert {comparison.allowed.relative_l2 for comparison in report.artifacts[0].comparisons} == {1e-5}
    assert not report.passed


def test_noisy_weights_are_measured_and_told(write, tmp_path):
    # Scores to 37: float32 itself is 8e-6 from float64 there, and two right runtimes are up to 1.5e-5 apart. How far
    # depends on the processor; the factor makes it 1.5e-5 at least, which weights without noise are not allowed.
    sharp = load_weights(GOLDEN / "sharp/checkpoint.ckpt")
    folder = edited(write(sharp, tmp_path / "right", "onnx"), tmp_path / "a", multiply_features(1 + 1.5e-5))

    report = check_staged(folder, swift_model(sharp), batches=[1])

    report.raise_for_failures()
    (noisy,) = {comparison.allowed for comparison in report.artifacts[0].comparisons}
    assert min(comparison.difference.relative_l2 for comparison in report.artifacts[0].comparisons) > 1e-5
    assert 2e-5 < noisy.relative_l2 <= 1e-4
    assert "these weights amplify rounding" in to_markdown(report)


def test_output_that_is_not_finite_fails(weights, staged, tmp_path):
    folder = edited(staged, tmp_path / "a", scale("model.layers.2.blocks.1.mlp.linear2.bias", np.nan, 0))

    report = check_staged(folder, swift_model(weights), batches=[1])

    with pytest.raises(CheckFailed, match="values not finite"):
        report.raise_for_failures()
    found = json.loads(to_json(report))
    assert found["artifacts"][0]["comparisons"][0]["relative_l2"] is None


def test_a_setting_that_features_cannot_tell_fails(weights, staged, tmp_path):
    def other_epsilon(model):
        for node in model.graph.node:
            if node.name == "stage0/block0/norm1/LayerNormalization":
                (attribute,) = [a for a in node.attribute if a.name == "epsilon"]
                attribute.f = 1e-6

    folder = edited(staged, tmp_path / "a", other_epsilon)

    report = check_staged(folder, swift_model(weights), batches=[1])

    assert all(comparison.passed for comparison in report.artifacts[0].comparisons)
    with pytest.raises(CheckFailed, match="stage0/block0/norm1: epsilon: expected 1e-05, found 1e-06"):
        report.raise_for_failures()


def test_a_batch_that_the_export_never_saw_is_tried(weights, staged, tmp_path):
    # The Reshapes that keep the batch free are nailed to one clip: batch 1 alone would pass.
    def one_clip_only(model):
        free = {v.name for v in model.graph.value_info if v.type.tensor_type.shape.dim[0].dim_param == "batch"}
        stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Reshape" and node.output[0] in free and stored[node.input[1]][0] == -1:
                fixed = np.concatenate([[1], stored[node.input[1]][1:]])
                model.graph.initializer.append(onnx.numpy_helper.from_array(fixed, f"{node.name}/fixed"))
                node.input[1] = f"{node.name}/fixed"

    folder = edited(staged, tmp_path / "a", one_clip_only)

    check_staged(folder, swift_model(weights), batches=[1]).raise_for_failures()
    with pytest.raises(CheckFailed, match=r"model\.onnx: ONNX Runtime failed on bold float32 \(2, .+"):
        check_staged(folder, swift_model(weights)).raise_for_failures()


def test_a_tampered_artifact_is_an_error(artifact, tmp_path):
    copy = shutil.copytree(artifact, tmp_path / "copy")
    with (copy / "onnx/model.onnx").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\0")

    with pytest.raises(ArtifactError, match=r"onnx/model\.onnx: changed since its export: expected sha256 ") as caught:
        check([copy])
    assert caught.value.exit_status == 2


def test_settings_that_no_export_has_are_an_error(artifact, tmp_path):
    copy = shutil.copytree(artifact, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    for wrong in ({"frames": 99}, {"outputs": 3}, {"output_kind": None}):
        onnx_file = manifest["artifacts"]["onnx"]
        changed = {"onnx": onnx_file | {"settings": onnx_file["settings"] | wrong}}
        (copy / "manifest.json").write_text(json.dumps(manifest | {"artifacts": changed}))

        with pytest.raises(ArtifactError, match=r"manifest\.json: records settings that no export has \("):
            check([copy])


def test_settings_from_before_attention_was_one_are_one_clear_line(artifact, tmp_path):
    copy = shutil.copytree(artifact, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    for made in manifest["artifacts"].values():
        del made["settings"]["attention"]
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ArtifactError, match=r"manifest\.json: records settings .*attention.*export again$") as caught:
        check([copy])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_file_with_settings_from_before_is_one_clear_line(weights, staged, tmp_path):
    def without_attention(model):
        (entry,) = [p for p in model.metadata_props if p.key == "swift_export.settings"]
        entry.value = json.dumps({k: v for k, v in json.loads(entry.value).items() if k != "attention"})

    folder = edited(staged, tmp_path / "a", without_attention)

    with pytest.raises(ArtifactError, match=r"model\.onnx: records settings .*attention.*export again$"):
        check([folder / "onnx/model.onnx"], weights=weights)


def test_a_file_that_masks_where_the_weights_need_none_fails_as_what_it_is_not(weights, write, tmp_path):
    settings = SwiFTSettings(attention="masked")
    masked = write(weights, tmp_path, "onnx", settings=settings)

    check_staged(masked, swift_model(weights, settings), batches=[1]).raise_for_failures()
    with pytest.raises(
        CheckFailed, match=r"stage0/block1: windows: expected .*, regions, found .* sets of tokens differ"
    ):
        check_staged(masked, swift_model(weights), batches=[1]).raise_for_failures()


def test_other_weights_are_refused(artifact, config_of):
    other = synthetic_weights(config_of(), seed=4)

    with pytest.raises(UsageError, match=r"expected weights of digest .* in synthetic:4; .*--weights"):
        check([artifact], weights=other)


def test_a_file_that_no_runtime_loads_is_an_error(weights, staged, tmp_path):
    (tmp_path / "onnx").mkdir()
    content = (staged / "onnx/model.onnx").read_bytes()
    (tmp_path / "onnx/model.onnx").write_bytes(content[: len(content) // 2])

    with pytest.raises(LoadError, match=r"model\.onnx: ONNX Runtime cannot load it: "):
        check_staged(tmp_path, swift_model(weights))


def test_a_gpu_that_is_absent_is_an_error(artifact):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is a GPU here")
    with pytest.raises(
        MachineError, match=r"--device gpu: ONNX Runtime .* has no CUDA GPU, only .*CPUExecutionProvider"
    ):
        check([artifact / "onnx"], device="gpu")


@pytest.mark.parametrize("batches", [[], [0], [1, -2]])
def test_batch_sizes_are_checked(artifact, batches):
    with pytest.raises(UsageError, match="batch sizes: expected at least one, each at least 1"):
        check([artifact], batches=batches)


def test_nothing_to_check_is_an_error(weights, tmp_path):
    with pytest.raises(UsageError, match="nothing to check in "):
        check_staged(tmp_path, swift_model(weights))


def test_nothing_is_left_behind(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    check([artifact / "onnx"], batches=[1])
    with pytest.raises(MachineError):
        check([artifact / "onnx"], device="gpu")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_the_clips_is_one_line():
    with pytest.raises(MachineError, match="the disk is full; free some space or set TMPDIR"), scratch_folder():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(MachineError, match="the disk is full"), scratch_folder(), open("/dev/full", "wb") as full:
        np.save(full, np.zeros(1 << 16))


def test_ctrl_c_leaves_no_process_and_no_file(artifact, tmp_path, popen):
    program = "import sys; from swift_export.parity import check_paths; check_paths(sys.argv[1:])"
    caller = popen(
        [sys.executable, "-c", program, str(artifact)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("swift-export-*/0/request.json")):
        assert caller.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)

    caller.send_signal(signal.SIGINT)

    assert caller.wait(300) != 0
    assert list(tmp_path.iterdir()) == []
