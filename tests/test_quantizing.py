"""Artifacts with integer weights: made, measured, checked like others, and refused where nothing can be made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import swift_export
from swift_export.artifacts import read_manifest
from swift_export.errors import ArtifactError, CheckFailed, InputError, UsageError
from swift_export.exporting import run_export
from swift_export.models.drawing import ExampleInputs
from swift_export.models.swift.check_inputs import INPUT, Noise
from swift_export.models.swift.swift_model import swift_model
from swift_export.parity.golden.quick import check_quick
from swift_export.parity.measure.tolerances import INTEGER_TOLERANCES
from swift_export.parity.structure.examining import examine_file
from swift_export.parity.structure.weight_identity import digests
from swift_export.parity.targets import find_artifacts
from swift_export.serving.layouts.smoke_case import smoke_case
from swift_export.serving.served_model import load_model
from swift_export.system.arrays import save_array

FILE = "onnx/model.onnx"
#: tests/quantization has the third.
TRIED = ("int8", "weights-int4")
BLOCK = "model.layers.1.blocks.0."


def two_layers(weights, x):
    """A network without SwiFT's names, whose weights are stored as (inputs, outputs)."""
    import jax

    hidden = jax.nn.gelu(x @ weights["first"] + weights["bias"], approximate=False)
    return jax.nn.relu(hidden @ weights["second"]) @ weights["third"]


@pytest.fixture(scope="module")
def source(weights, tmp_path_factory) -> Path:
    """A checked float32 artifact; not to be changed."""
    folder = tmp_path_factory.mktemp("quantizing") / "float32"
    run_export(["onnx"], swift_model(weights), folder)
    return folder


@pytest.fixture(scope="module")
def made(source, weights) -> dict[str, swift_export.quantizing.QuantizeResult]:
    """An artifact of each method tried; not to be changed."""
    own = {
        "calibrate": [Noise(weights.config, seed=5, name="mine")],
        "inputs": [Noise(weights.config, seed=6, name="held")],
    }
    return {
        method: swift_export.quantize(source, source.parent / method, method=method, **options)
        for method, options in zip(TRIED, (own, {}), strict=True)
    }


@pytest.mark.parametrize("method", TRIED)
def test_an_artifact_states_how_it_was_made_and_what_it_changes(method, source, made) -> None:
    record = made[method].quantization
    manifest = read_manifest(made[method].folder)
    stated = manifest.artifacts["onnx"].details["quantization"]

    assert manifest.weights == read_manifest(source).weights
    assert stated["method"] == method
    assert stated["source"] == read_manifest(source).artifacts["onnx"].files[FILE].sha256
    assert [(one["name"], one["items"]) for one in stated["calibration"]] == ([("mine", 2)] if method == "int8" else [])
    # Tiny weights: names and steps outweigh them.
    assert record.products > 20
    measured = {(effect.input, effect.output) for effect in record.effects}
    assert {("noise", "features"), ("phantom", "features"), ("noise", "embedding")} <= measured
    assert (("held", "features") in measured) == (method == "int8")
    worst = max(effect.relative_l2 for effect in record.effects)
    assert 1e-4 < worst <= record.relative_l2 <= min(2 * worst, INTEGER_TOLERANCES[method].relative_l2)
    assert all(effect.cosine > (0.9 if "4" in method else 0.998) for effect in record.effects)
    assert manifest.artifacts["onnx"].parity, "the golden outputs of the source were measured against"


def test_integers_take_the_place_of_float32_weights_and_of_nothing_else(source, made) -> None:
    whole = {t.name: t for t in onnx.load(source / FILE).graph.initializer}
    for method, bits in {"int8": 8, "weights-int4": 4}.items():
        model = onnx.load(made[method].folder / FILE)
        found = {t.name: t for t in model.graph.initializer}
        gone = {name for name in whole if name not in found}
        assert len(gone) == made[method].quantization.products
        assert all(f"{name}.int{bits}" in found or f"{name}.T.int{bits}" in found for name in gone)
        assert all(found[name] == whole[name] for name in whole if name in found)
        operators = {node.op_type for node in model.graph.node}
        assert ("QuantizeLinear" in operators, "MatMulNBits" in operators) == (method == "int8", method != "int8")


def test_onnx_runtime_multiplies_integers(made, tmp_path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(made["int8"].folder / FILE, options, providers=["CPUExecutionProvider"])

    operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    integers = operators.count("QGemm") + operators.count("MatMulIntegerToFloat")
    assert integers == made["int8"].quantization.products


def test_the_check_accepts_it_with_its_own_tolerance(made, weights) -> None:
    report = swift_export.check(
        made["int8"].folder, weights=weights, runtimes="onnxruntime", batches=(3,), blocks=False
    )
    report.raise_for_failures()
    (found,) = report.artifacts
    assert {c.allowed.relative_l2 for c in found.comparisons} == {made["int8"].quantization.relative_l2}
    (identity,) = [setting for setting in found.settings if setting.name == "tensors"]
    assert "to half a step" in identity.found
    assert len(found.settings) > 20, "windows, masks and epsilons are read from its graph, too"


def test_the_quick_check_accepts_it(made) -> None:
    check_quick([result.folder for result in made.values()]).report.raise_for_failures()


def test_diff_takes_the_wider_tolerance_of_both(source, made) -> None:
    found = swift_export.parity.diff_artifacts(source, made["weights-int4"].folder)
    assert found.equal
    (pair,) = found.pairs
    allowed = {c.allowed.relative_l2 for c in pair.comparisons}
    assert allowed == {made["weights-int4"].quantization.relative_l2}


def test_a_server_takes_it_with_its_tolerance(made, tmp_path) -> None:
    folder = made["weights-int4"].folder
    served = load_model(folder, "small", threads=1)
    assert served.golden
    found = find_artifacts(folder)
    case = smoke_case(found.targets[0], found.records[FILE], found.manifest, "onnx", tmp_path)
    assert case.allowed.relative_l2 == made["weights-int4"].quantization.relative_l2


def planted(path: Path, out: Path, name: str, change) -> Path:
    """A copy of a file with one tensor changed."""
    model = onnx.load(path)
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
    onnx.save(model, out)
    return out


def swapped(steps):
    low, high = steps.argmin(), steps.argmax()
    steps[[low, high]] = steps[[high, low]]
    return steps


@pytest.fixture(scope="module")
def tensors(weights, tmp_path_factory) -> dict[str, str]:
    """Files of the weights, as a check passes them to the process that reads graphs."""
    folder = tmp_path_factory.mktemp("tensors")
    files = {name: str(folder / f"{number}.npy") for number, name in enumerate(weights.tensors)}
    for name, file in files.items():
        save_array(Path(file), weights.tensors[name])
    return files


@pytest.mark.parametrize(
    ("method", "name", "change"),
    [
        ("int8", "mlp.linear2.weight.int8", np.zeros_like),
        ("int8", "mlp.linear2.weight.steps", lambda steps: steps * np.float32(100)),
        ("int8", "mlp.linear1.weight.steps", swapped),
        ("int8", "norm1.weight", lambda norm: np.nextafter(norm, np.float32(9))),
        ("weights-int4", "attn.proj.weight.int4", np.zeros_like),
        ("weights-int4", "attn.proj.weight.steps", swapped),
    ],
)
def test_a_weight_that_is_not_the_models_is_found(method, name, change, made, weights, tensors, tmp_path) -> None:
    def identity(file: Path) -> str:
        (found,) = examine_file(file, weights=digests(weights.tensors), tensors=tensors)
        return found.found

    assert "to half a step" in identity(made[method].folder / FILE)
    told = BLOCK + name.removesuffix(".int8").removesuffix(".int4").removesuffix(".steps")
    file = planted(made[method].folder / FILE, tmp_path / "model.onnx", BLOCK + name, change)
    assert identity(file) == f"1 differ or are absent, such as {told}"


def test_an_activation_rounded_too_coarsely_is_found(made, weights, tmp_path) -> None:
    step = next(
        t.name
        for t in onnx.load(made["int8"].folder / FILE).graph.initializer
        if "mlp" in t.name and t.name.endswith(".activation_step")
    )
    file = planted(made["int8"].folder / FILE, tmp_path / "model.onnx", step, lambda step: step * np.float32(16))
    report = swift_export.check(file, weights=weights, runtimes="onnxruntime", batches=(1,), blocks=False)

    assert any("output features: relative L2" in failure for failure in report.failures)


def test_a_record_that_would_excuse_anything_is_refused(made, tmp_path, refused) -> None:
    folder = shutil.copytree(made["int8"].folder, tmp_path / "changed")
    text = (folder / "manifest.json").read_text()
    own = f'"relative_l2": {made["int8"].quantization.relative_l2!r}'
    assert own in text
    (folder / "manifest.json").write_text(text.replace(own, '"relative_l2": 100.0'))
    with refused("quantization: expected tolerances up to", "found 100.0", error=ArtifactError):
        find_artifacts(folder)


def test_any_model_of_the_door_may_be_quantized(tmp_path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"first": (6, 40), "bias": (40,), "second": (40, 33), "third": (33, 5)}
    weights = {name: rng.standard_normal(shape, np.float32) / 6 for name, shape in shapes.items()}
    exported = swift_export.export(
        two_layers, {"x": ("batch", "length", 6)}, tmp_path / "float32", weights=weights, formats="onnx"
    )
    done = swift_export.quantize(exported.folder, tmp_path / "int8")
    # The product of the model's input stays float32.
    assert (done.quantization.products, done.quantization.kept) == (2, 1)
    assert [one.name for one in done.quantization.calibration] == ["random"]
    assert done.notes[0].startswith("calibrated on random; ")
    swift_export.check(done.folder, runtimes="onnxruntime").raise_for_failures()


def flat(weights, value) -> ExampleInputs:
    spec = swift_model(weights).inputs
    return ExampleInputs(spec, {INPUT: np.full((1, *spec[0].dims[1:]), value, np.float32)}, "flat")


def test_what_cannot_be_quantized_is_refused_in_one_line(source, artifact, made, weights, tmp_path, refused) -> None:
    out = tmp_path / "out"
    hub = tmp_path / "hub"
    shutil.copytree(artifact, hub)
    manifest = json.loads((hub / "manifest.json").read_text())
    del manifest["artifacts"]["onnx"]
    (hub / "manifest.json").write_text(json.dumps(manifest))
    for told, error, path, options in (
        ("expected an artifact folder", UsageError, source / "..", {}),
        ("expected an ONNX file, found stablehlo", UsageError, hub, {}),
        ("found integers", UsageError, made["int8"].folder, {}),
        ("--method int2: expected one of", UsageError, source, {"method": "int2"}),
        (
            "--calibrate: cannot be combined",
            UsageError,
            source,
            {"method": "weights-int8", "calibrate": [flat(weights, 1)]},
        ),
        ("expected different values, found only 1", InputError, source, {"calibrate": [flat(weights, 1)]}),
        ("expected finite values", InputError, source, {"calibrate": [flat(weights, np.nan)]}),
        ("other: bold: expected", InputError, source, {"calibrate": [Noise(weights.config, frames=3, name="other")]}),
    ):
        with refused(told, error=error):
            swift_export.quantize(path, out, **options)
        assert not out.exists()
    with refused("in float32; choose another --output", error=UsageError):
        swift_export.quantize(source, source)
    with refused("in float32; choose another --output", error=UsageError):
        swift_export.quantize(source, hub, force=True)


def test_an_error_beyond_the_methods_tolerance_writes_nothing(source, tmp_path, refused, monkeypatch) -> None:
    strict = {name: type(one)(1e-6, 1e-6, one.reason) for name, one in INTEGER_TOLERANCES.items()}
    monkeypatch.setattr("swift_export.parity.integer_errors.INTEGER_TOLERANCES", strict)
    with refused("input noise, output features", "nothing was written", error=CheckFailed, status=1):
        swift_export.quantize(source, tmp_path / "out", method="weights-int4")
    assert not (tmp_path / "out").exists()


def test_nothing_to_quantize_and_half_precision_are_refused(tmp_path, refused) -> None:
    def scaled(weights, x):
        return x * weights["scale"]

    def halved(weights, x):
        return (x @ weights["matrix"].astype("float32")) @ weights["other"]

    swift_export.export(
        scaled, {"x": ("batch", 3)}, tmp_path / "scaled", weights={"scale": np.float32(2)}, formats="onnx", check=False
    )
    with refused("nothing to quantize", error=UsageError):
        swift_export.quantize(tmp_path / "scaled", tmp_path / "out")
    half = {"matrix": np.eye(40, dtype=np.float16), "other": np.eye(40, dtype=np.float32)}
    swift_export.export(halved, {"x": ("batch", 40)}, tmp_path / "half", weights=half, formats="onnx", check=False)
    with refused("found float16", error=UsageError):
        swift_export.quantize(tmp_path / "half", tmp_path / "out")
