"""Exports in half precision: how far from float32, what stays in float32, and that every fault is still found."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx_ir as oir
import pytest

from swift_export.errors import UsageError
from swift_export.lowering.lower import lower_open
from swift_export.lowering.onnx_file import model_to_onnx
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models import Model
from swift_export.models.swift.precision import PRECISIONS, element_types
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.structure.examine import examine_graph
from swift_export.models.swift.swift_model import swift_model
from swift_export.parity.checking import check_staged
from swift_export.parity.measure.cases import Case
from swift_export.parity.measure.running import load_outputs, run_artifact
from swift_export.parity.targets import Choice
from swift_export.runtimes.registry import RUNTIMES

sys.path.insert(0, str(Path(__file__).parents[2] / "lowering"))
sys.path.insert(0, str(Path(__file__).parents[2] / "converter"))
from cases import clip, features, relative_error, weights
from compare import run

CASE = "tiny-windowed"
NATIVE = ("Gemm", "LayerNormalization", "MatMul", "MultiHeadAttention")


def model_of(precision: str, **settings: str) -> Model:
    return swift_model(weights(CASE), SwiFTSettings(precision=precision, **settings))


def file_of(model: Model, target: str = "onnxruntime") -> oir.Model:
    return model_to_onnx(model, OnnxSettings(target=target))


def casts(file: oir.Model) -> int:
    return sum(node.op_type == "Cast" for node in file.graph)


@pytest.mark.parametrize(("attention", "target"), [("auto", "onnxruntime"), ("masked", "portable")])
def test_float16_is_close_and_has_no_conversions_inside(attention: str, target: str) -> None:
    model = model_of("float16", attention=attention)
    file = file_of(model, target)
    assert casts(file) == 2  # of the clip and of the features
    stored = {str(v.name).partition("[")[0]: v.dtype for v in file.graph.initializers.values()}
    assert {stored[name] for name in model.weights if name in stored} == {oir.DataType.FLOAT16}
    assert right(file, model)
    (found,) = run(file, clip(CASE))
    assert found.dtype == np.float32
    assert 1e-5 < relative_error(found, features(CASE)) <= 2e-3


def functions_of(model: Model) -> dict[str, Any]:
    return {"forward": model.forward, "reference": model.reference}


def right(file: oir.Model, model: Model) -> bool:
    settings = examine_graph(file, weights(CASE).config, forms=model.structure.arguments["forms"])
    return len(settings) > 20 and all(setting.holds for setting in settings)


def test_mixed_converts_around_every_product_and_is_closer() -> None:
    model = model_of("mixed", attention="masked")
    file = file_of(model)
    # The clip, the patch embedding's result; two to and two from each block; those of the two mergings.
    assert casts(file) == 2 + 4 * 6 + 2 * 2
    assert right(file, model)
    (found,) = run(file, clip(CASE))
    assert 1e-5 < relative_error(found, features(CASE)) <= 1e-3


@pytest.mark.requires("openvino")
def test_bfloat16_stays_bfloat16_for_gpus_and_runs_in_openvino(tmp_path: Path) -> None:
    model = model_of("bfloat16", attention="masked")
    file = file_of(model)
    assert {node.outputs[0].dtype for node in file.graph if node.op_type in NATIVE} == {oir.DataType.BFLOAT16}
    assert casts(file) <= 60
    assert right(file, model)
    oir.save(file, tmp_path / "model.onnx")
    np.save(tmp_path / "clip.npy", clip(CASE))
    case = Case("golden", {"batch": 1}, {"bold": (str(tmp_path / "clip.npy"),)}, ())
    (tmp_path / "run").mkdir()
    answer = run_artifact(tmp_path / "model.onnx", RUNTIMES["openvino"], "cpu", [case], tmp_path / "run")
    found = load_outputs(answer.runs[0])["features"]
    assert 1e-3 < relative_error(found, features(CASE)) <= 1.5e-2


def test_a_wrong_block_in_float16_is_found_and_named(tmp_path: Path) -> None:
    model = model_of("float16")
    file = file_of(model)
    wrong = file.graph.initializers["model.layers.1.blocks.0.mlp.linear2.weight"]
    wrong.const_value = oir.tensor(wrong.const_value.numpy() * np.float16(1.5), name=wrong.name)
    (tmp_path / "onnx").mkdir()
    oir.save(file, tmp_path / "onnx/model.onnx")

    (checked,) = check_staged(tmp_path, model, batches=(1,)).artifacts

    assert not checked.passed
    assert {comparison.allowed.relative_l2 for comparison in checked.comparisons} == {5e-3}
    assert checked.fault.block == "stage1/block0"
    assert [setting.name for setting in checked.wrong_settings] == ["tensors"]


def test_a_cpu_without_kernels_is_said_in_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"^model.onnx: ONNX Runtime on the cpu has no kernels for bfloat16: check it in"
    ):
        Choice(("onnxruntime",)).runtimes("model.onnx", "bfloat16")
    assert [runtime.name for runtime in Choice(("onnxruntime",)).runtimes("model.onnx", "float16")] == ["onnxruntime"]
    assert [runtime.name for runtime in Choice(device="gpu").runtimes("model.onnx", "bfloat16")] == ["onnxruntime"]


def test_inputs_and_outputs_of_float16_need_no_conversion() -> None:
    model = model_of("float16", io_dtype="float16")
    file = file_of(model)
    assert casts(file) == 0
    (found,) = run(file, clip(CASE).astype(np.float16))
    assert found.dtype == np.float16
    assert relative_error(found.astype(np.float32), features(CASE)) <= 2e-3


def test_the_reference_stays_in_float32() -> None:
    model = model_of("float16")
    assert {array.dtype for array in model.weights.values()} == {np.dtype(np.float32)}
    assert model.digest == model_of("float32").digest
    traced = {name: str(jax.make_jaxpr(f)(model.weights, clip(CASE))) for name, f in functions_of(model).items()}
    assert "f16[" in traced["forward"]
    assert "f16[" not in traced["reference"]


def test_a_number_out_of_range_is_found_before_anything_is_written() -> None:
    loaded = weights(CASE)
    name = "model.layers.1.blocks.0.mlp.linear1.weight"
    tensor = loaded.tensors[name].copy()
    tensor[2, 3] = -7e4
    model = swift_model(replace(loaded, tensors={**loaded.tensors, name: tensor}), SwiFTSettings(precision="float16"))
    expected = (
        rf"{name}: expected numbers up to 65504, the largest of float16, found -70000 at \[2, 3\]; choose another"
    )
    with pytest.raises(UsageError, match=expected):
        lower_open(model)


def test_a_file_says_its_precision_only_where_it_is_not_float32() -> None:
    assert not {"precision", "io_dtype"} & SwiFTSettings().to_dict().keys()
    half = SwiFTSettings(precision="float16", io_dtype="float16")
    assert half.to_dict()["precision"] == "float16"
    for settings in (half, SwiFTSettings()):
        assert SwiFTSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(("option", "value"), [("precision", "float8"), ("io_dtype", "int8")])
def test_other_types_are_refused(option: str, value: str) -> None:
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(UsageError, match=rf"^{flag} {value}: expected .*float32"):
        SwiFTSettings(**{option: value}).check(weights(CASE).config)


def test_only_the_residual_stream_is_float32_in_mixed() -> None:
    types = element_types(weights(CASE).tensors, "mixed")
    wide = {name for name, kind in types.items() if kind == "float32"}
    assert wide == {name for name in types if "norm" in name or "pos_embeds" in name}
    assert {types[name] for name in types.keys() - wide} == {"float16"}
    assert set(element_types(types, "float32").values()) == {"float32"}
    assert PRECISIONS[0] == "float32"
