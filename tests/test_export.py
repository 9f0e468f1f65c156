"""The whole job on a tiny model: weights in, checked files and their manifest out, or nothing at all."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import equinox as eqx
import numpy as np
import onnx
import pytest

import swift_export
from swift_export.artifacts import describe, open_artifact, verify
from swift_export.errors import ArchitectureError, CheckFailed, SwiftExportError, UsageError
from swift_export.exporting import ExportResult, run_export
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models import Model
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import Weights, synthetic_weights
from swift_export.parity.results import ParityReport

CONFIG = SwiFTConfig(
    img_size=(8, 8, 8, 4),
    in_chans=1,
    embed_dim=4,
    window_size=(2, 2, 2, 2),
    first_window_size=(2, 2, 2, 2),
    patch_size=(2, 2, 2, 1),
    depths=(2, 2),
    num_heads=(1, 2),
    c_multiplier=2,
    last_layer_full_MSA=True,
)
STABLEHLO = ("stablehlo/model.b1.mlir.bc", "stablehlo/model.jax", "stablehlo/model.mlir.bc")


@pytest.fixture(scope="module")
def weights() -> Weights:
    return synthetic_weights(CONFIG)


@pytest.fixture(scope="module")
def model(weights: Weights) -> Model:
    return swift_model(weights)


@pytest.fixture(scope="module")
def exported(model: Model, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """StableHLO, then ONNX into the same folder, both checked."""
    output = tmp_path_factory.mktemp("exported") / "out"
    run_export(["stablehlo"], model, output)
    return run_export(["onnx"], model, output)


def test_the_folder_holds_checked_files_and_says_so(exported: ExportResult, weights: Weights) -> None:
    manifest = open_artifact(exported.folder)
    assert manifest == exported.manifest
    golden = [f"golden/{name}/features.npy" for name in ("onnx", "stablehlo")]
    assert sorted(verify(exported.folder, manifest)) == [*golden, "onnx/model.onnx", *STABLEHLO]
    assert exported.files == (exported.folder / "onnx/model.onnx",)
    assert sorted(path.name for path in exported.folder.iterdir()) == [
        "golden",
        "manifest.json",
        "onnx",
        "parity.html",
        "parity.json",
        "parity.md",
        "stablehlo",
    ]
    assert manifest.weights.digest == weights.digest
    assert SwiFTConfig.from_hyper_parameters(manifest.model.architecture) == CONFIG
    assert manifest.artifacts["onnx"].settings == {
        "frames": None,
        "batch": None,
        "outputs": ["features"],
        "output_kind": "features",
        "opset": 20,
        "target": "portable",
        "attention": "auto",
    }
    details = dict(manifest.artifacts["onnx"].details)
    (attention,) = details.pop("attention").items()
    assert attention == ("stage0/block1", {"form": "regions", "excess": attention[1]["excess"], "limit": 76.4})
    assert 0 < attention[1]["excess"] < 76.4
    assert details == {
        "opset": {"ai.onnx": 20},
        "ir_version": 10,
        "nodes": len(onnx.load(exported.files[0]).graph.node),
        "target": "portable",
        "via": "stablehlo",
    }
    assert manifest.artifacts["stablehlo"].details["attention"] == dict([attention])
    assert {"python", "swift-export", "jax", "onnx", "onnx_ir"} <= manifest.artifacts["onnx"].versions.keys()
    for artifact in manifest.artifacts.values():
        assert [(spec.name, spec.dims) for spec in artifact.signature.inputs] == [("bold", ("batch", 1, 8, 8, 8, 4))]
        assert [(spec.name, spec.dims) for spec in artifact.signature.outputs] == [
            ("features", ("batch", 8, 2, 2, 2, 4))
        ]


def test_the_manifest_records_what_was_measured(exported: ExportResult) -> None:
    assert exported.report is not None
    assert exported.report.passed
    parity = exported.manifest.artifacts["onnx"].parity
    assert parity == exported.report.measurements("onnx")
    assert parity is not None
    assert {(m.file, m.input, m.batch) for m in parity} == {
        ("onnx/model.onnx", name, batch) for name in ("noise", "phantom") for batch in (1, 2)
    }
    assert all(0 < m.relative_l2 <= 2e-6 < m.tolerance for m in parity)
    # The reports speak of the whole folder: of this export, and of the one before.
    text = (exported.folder / "parity.json").read_text()
    report = json.loads(text)
    assert [artifact["file"] for artifact in report["artifacts"]] == ["onnx/model.onnx"]
    assert {m["file"] for m in report["earlier_measurements"]} == set(STABLEHLO)
    for name in ("parity.html", "parity.json", "parity.md", "manifest.json"):
        assert str(exported.folder.parent) not in (exported.folder / name).read_text(), name


def test_the_onnx_file_computes_the_backbones_features(exported: ExportResult, weights: Weights) -> None:
    import onnxruntime

    bold = np.random.default_rng(5).standard_normal((3, 1, 8, 8, 8, 4), dtype=np.float32)
    session = onnxruntime.InferenceSession(exported.files[0], providers=["CPUExecutionProvider"])
    (found,) = session.run(["features"], {"bold": bold})
    expected = np.asarray(eqx.filter_jit(swift_export.SwiFT.from_weights(weights))(bold))
    assert found.shape == expected.shape == (3, 8, 2, 2, 2, 4)
    assert np.linalg.norm(found - expected) <= 2e-6 * np.linalg.norm(expected)


def test_the_same_export_twice_gives_the_same_bytes(exported: ExportResult, model: Model, tmp_path: Path) -> None:
    run_export(["stablehlo"], model, tmp_path / "again", check=False)
    again = run_export(["onnx"], model, tmp_path / "again")
    for path in again.manifest.files:
        assert (again.folder / path).read_bytes() == (exported.folder / path).read_bytes(), path
    unchecked = dataclasses.replace(exported.manifest.artifacts["stablehlo"], parity=None, golden=None)
    artifacts = {**exported.manifest.artifacts, "stablehlo": unchecked}
    expected = dataclasses.replace(exported.manifest, created=again.manifest.created, artifacts=artifacts)
    assert again.manifest.to_json() == expected.to_json()  # what was measured included


def spoil(output: Path) -> Callable[[str], None]:
    """A progress that changes one weight of the staged ONNX file by 10 % before anything is checked."""

    def progress(words: str) -> None:
        if words.startswith("exporting"):
            return
        for path in output.glob(".swift-export-*/new/onnx/model.onnx"):
            model = onnx.load(path)
            weight = next(t for t in model.graph.initializer if t.name == "model.layers.0.blocks.0.mlp.linear1.weight")
            array = onnx.numpy_helper.to_array(weight) * np.float32(1.1)
            weight.raw_data = array.tobytes()
            onnx.save(model, path)

    return progress


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def copy(exported: ExportResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "copy"))


def test_what_fails_its_check_is_never_published(copy: Path, model: Model) -> None:
    before = snapshot(copy)
    shown: list[ParityReport] = []
    with pytest.raises(
        CheckFailed, match=r"^onnx/model.onnx: ONNX Runtime .* input noise, batch 1, .*relative L2"
    ) as e:
        run_export(["onnx"], model, copy, progress=spoil(copy), show=shown.append)
    assert e.value.exit_status == 1
    assert snapshot(copy) == before
    (report,) = shown
    assert not report.passed
    assert report.artifacts[0].root == "copy"


def test_an_interrupt_in_the_check_leaves_what_was_there(copy: Path, weights: Weights) -> None:
    before = snapshot(copy)
    said: list[str] = []

    def progress(words: str) -> None:
        said.append(words)
        if words.startswith("running"):
            signal.raise_signal(signal.SIGINT)

    before_test = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_export(["onnx"], swift_model(weights, SwiFTSettings(frames=2)), copy, progress=progress)
    finally:
        signal.signal(signal.SIGINT, before_test)
    assert said[-1].startswith("running onnx/model.onnx")
    assert snapshot(copy) == before


def test_other_weights_are_refused_before_any_work(copy: Path, weights: Weights) -> None:
    before = snapshot(copy)
    said: list[str] = []
    other = synthetic_weights(CONFIG, 1)
    with pytest.raises(UsageError, match=f"{weights.digest}.*{other.digest}.*--force"):
        run_export(["onnx"], swift_model(other), copy, progress=said.append)
    assert said == []
    assert snapshot(copy) == before
    run_export(["onnx"], swift_model(other), copy, check=False, force=True)
    assert set(snapshot(copy)) == {"manifest.json", "onnx/model.onnx"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"batch": 0}, UsageError, "--batch 0: expected at least 1"),
        ({"frames": 5}, ArchitectureError, "frames: expected 1 to 4"),
        ({"outputs": ("features", "stage9")}, UsageError, "--outputs features,stage9"),
        ({"outputs": ()}, UsageError, "--outputs"),
        ({"output_kind": "tokens"}, UsageError, "--output-kind tokens"),
        ({"opset": 7}, UsageError, "--opset 7"),
        ({"target": "tensorrt"}, UsageError, "--target tensorrt: expected portable or onnxruntime"),
        ({"attention": "regions"}, UsageError, "--attention regions: expected auto or masked"),
        ({"via": "torch"}, UsageError, "--via torch: expected stablehlo or savedmodel"),
        ({"device": "tpu"}, UsageError, "--device tpu: expected cpu or gpu"),
    ],
)
def test_options_that_do_not_fit_leave_no_trace(
    weights: Weights, tmp_path: Path, options: dict, error: type[SwiftExportError], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        swift_export.export_onnx(weights, output=tmp_path / "out", **options)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_no_format_and_an_unknown_one(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected some of stablehlo, savedmodel, onnx, found none"):
        run_export([], model, tmp_path / "out")
    with pytest.raises(UsageError, match="format 'coreml': expected one of stablehlo, savedmodel, onnx"):
        run_export(["onnx", "coreml"], model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_public_function_checks_given_clips_and_writes_where_the_variant_says(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = np.random.default_rng(0).standard_normal((1, 8, 8, 8, 4), dtype=np.float32)
    np.save("scan.npy", clip)
    result = swift_export.export_onnx(
        weights, frames=3, batch=2, outputs=["stage0", "features"], output_kind="embedding", inputs=["scan.npy"]
    )
    assert result.folder == Path("artifacts/custom")
    parity = result.manifest.artifacts["onnx"].parity
    assert parity is not None
    assert {(m.input, m.batch, m.output) for m in parity} == {
        (name, 2, output) for name in ("noise", "phantom", "scan.npy") for output in ("features", "stage0")
    }
    (part,) = describe(result.files[0]).parts
    assert part.facts.signature == result.manifest.artifacts["onnx"].signature
    assert part.facts.signature is not None
    assert [(spec.name, spec.dims) for spec in (*part.facts.signature.inputs, *part.facts.signature.outputs)] == [
        ("bold", (2, 1, 8, 8, 8, 3)),
        ("stage0", (2, 8, 2, 2, 2, 3)),
        ("features", (2, 8)),
    ]


def test_another_target_and_masks_are_checked_recorded_and_checked_again(weights: Weights, tmp_path: Path) -> None:
    result = swift_export.export_onnx(weights, output=tmp_path / "out", target="onnxruntime", attention="masked")
    made = result.manifest.artifacts["onnx"]
    assert (made.settings["target"], made.settings["attention"]) == ("onnxruntime", "masked")
    assert made.details["target"] == "onnxruntime"
    assert made.details["opset"] == {"ai.onnx": 20, "com.microsoft": 1}
    assert {place: block["form"] for place, block in made.details["attention"].items()} == {"stage0/block1": "masked"}
    assert made.parity is not None
    report = swift_export.check([tmp_path / "out"], runtimes=["onnxruntime"])
    assert report.passed, report.failures
    (checked,) = report.artifacts
    masks = {setting.place: setting.found for setting in checked.settings if setting.name == "mask"}
    assert masks["stage0/block1"].startswith("values -100 to 0")
    assert {mask for place, mask in masks.items() if place != "stage0/block1"} == {"none"}


@pytest.mark.requires("savedmodel")
def test_savedmodel_and_the_long_road_to_onnx(model: Model, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        settings = OnnxSettings(via="savedmodel")
        result = run_export(["savedmodel", "onnx"], model, tmp_path / "out", onnx=settings, check=False)
    finally:
        os.umask(old)
    onnx_made, made = (result.manifest.artifacts[name] for name in ("onnx", "savedmodel"))
    assert onnx_made.details["via"] == "savedmodel"
    assert {"tensorflow", "tf2onnx"} <= onnx_made.versions.keys()
    assert (made.details["tags"], made.details["platforms"]) == (["serve"], ["CPU", "CUDA"])
    assert "savedmodel/1/saved_model.pb" in made.files
    assert (onnx_made.parity, made.parity) == (None, None)
    assert not (tmp_path / "out" / "parity.json").exists()
    report = swift_export.check([tmp_path / "out"])
    assert report.passed, report.failures
    assert {artifact.file for artifact in report.artifacts} == {"onnx/model.onnx", "savedmodel/1"}
    for path in (tmp_path / "out").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


@pytest.fixture
def without_tensorflow() -> Iterator[None]:
    absent = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "tensorflow"}
    for name in absent:
        del sys.modules[name]
    sys.modules["tensorflow"] = None  # type: ignore[assignment] # how Python marks a module as not importable
    yield
    del sys.modules["tensorflow"]
    sys.modules.update(absent)


def test_without_tensorflow_the_extra_is_named_before_any_work(
    model: Model, tmp_path: Path, without_tensorflow: None
) -> None:
    said: list[str] = []
    with pytest.raises(UsageError, match=r"swift-export\[savedmodel\]"):
        run_export(["onnx", "savedmodel"], model, tmp_path / "out", progress=said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_load_backbone_gives_the_module(tmp_path: Path, weights: Weights) -> None:
    from swift_export.models.swift.weights import write_bundle

    write_bundle(weights, tmp_path / "bundle")
    model = swift_export.load_backbone(tmp_path / "bundle")
    bold = np.ones((1, 8, 8, 8, 4), np.float32)
    assert isinstance(model, swift_export.SwiFT)
    assert np.array_equal(model(bold), swift_export.SwiFT.from_weights(weights)(bold))


def test_the_public_surface() -> None:
    assert swift_export.__all__ == [
        "ScanWarning",
        "SwiFT",
        "SwiFTConfig",
        "SwiftExportError",
        "__version__",
        "check",
        "convert",
        "export",
        "export_onnx",
        "export_savedmodel",
        "export_stablehlo",
        "load_backbone",
        "load_weights",
        "open_scan",
        "prepare",
        "quantize",
        "run",
        "serve",
        "stablehlo_to_onnx",
        "tf2onnx_handlers",
        "to_onnx",
    ]
    assert all(getattr(swift_export, name) is not None for name in swift_export.__all__)
    assert set(swift_export.__all__) <= set(dir(swift_export))
    with pytest.raises(AttributeError, match="no attribute 'export_coreml'"):
        swift_export.export_coreml  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("equinox", "huggingface_hub", "jax", "nibabel", "numpy", "onnx", "onnxruntime", "rich", "tensorflow")
    program = f"import sys, swift_export; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
