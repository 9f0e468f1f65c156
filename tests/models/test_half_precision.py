"""Any model in half precision: what is converted, what stays, and what is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import swift_export
from swift_export.errors import LoweringError, UsageError
from swift_export.models import Model
from swift_export.models.from_python import as_model
from swift_export.models.half_precision import in_precision
from swift_export.models.recovery import Recorded, source_of
from swift_export.parity.measure.running import float_types

sys.path.insert(0, str(Path(__file__).parents[1] / "converter"))
from compare import run

X = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
A, B = (np.random.default_rng(n).standard_normal((8, 8)).astype(np.float32) for n in (1, 2))


def net(weights, x, steps):
    y = jax.nn.softmax(jax.nn.gelu(x @ weights["a"], approximate=False) @ weights["b"])
    return {"y": y, "n": steps + 1}


def made(function=net, **weights: np.ndarray) -> Model:
    arrays = {"a": A, "b": B} | weights
    inputs = {"x": ("batch", 8)} | ({"steps": "int32[batch]"} if function is net else {})
    return as_model(function, inputs, weights=arrays)


def test_weights_and_inputs_are_converted_and_outputs_back() -> None:
    model = made()
    half = in_precision(model, "float16")
    file = swift_export.to_onnx(model, precision="float16")

    assert {t.name: t.data_type for t in file.graph.initializer if t.name in "ab"} == {"a": 10, "b": 10}
    assert [i.type.tensor_type.elem_type for i in (*file.graph.input, *file.graph.output)] == [1, 6, 6, 1]
    counted = np.arange(5, dtype=np.int32)
    n, y = run(file.SerializeToString(), X, counted)
    expected = model.forward(model.weights, X, counted)["y"]
    assert 1e-5 < np.linalg.norm(y - expected) / np.linalg.norm(expected) < 2e-3
    np.testing.assert_array_equal(n, counted + 1)
    # The reference is the model as it was, and the check allows what float16 needs.
    assert half.reference is model.forward
    assert half.digest == model.digest
    assert float_types(half) == {"float32", "float16"}
    assert float_types(model) == {"float32"}


def test_bfloat16_stays_in_the_file() -> None:
    file = swift_export.to_onnx(made(), precision="bfloat16")
    types = {v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(file).graph.value_info}
    products = [node for node in file.graph.node if node.op_type in ("Gemm", "MatMul")]
    assert [types[node.output[0]] for node in products] == [onnx.TensorProto.BFLOAT16] * 2


def masked(weights, x):
    y = x @ weights["a"]
    return jax.nn.softmax(jnp.where(y > 0, y, -1e9))


def scaled(weights, x):
    return (x @ weights["a"]) * jnp.asarray(1e6, x.dtype)


def wide_inside(weights, x):
    """Numbers that are used in float32 may be large, and infinity stays infinity."""
    y = (x @ weights["a"]).astype(jnp.float32)
    return jax.nn.softmax(jnp.where(y > 0, y, -1e9)).astype(x.dtype) + jnp.maximum(x, -jnp.inf)


@pytest.mark.parametrize(("function", "number"), [(masked, r"-1e\+09"), (scaled, r"1e\+06")])
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_number_out_of_range_is_named(function, number) -> None:
    with pytest.raises(UsageError, match=rf"expected numbers up to 65504 in the function, .* found {number}; choose"):
        in_precision(made(function), "float16")
    assert in_precision(made(function), "bfloat16").settings == {"precision": "bfloat16"}


def test_large_numbers_in_float32_are_allowed() -> None:
    assert in_precision(made(wide_inside), "float16").settings == {"precision": "float16"}


def test_a_weight_out_of_range_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"^a: expected numbers up to 65504, .* found 100000 at \[0, 1\]; choose another"
    ):
        in_precision(made(a=np.where(np.arange(64).reshape(8, 8) == 1, np.float32(1e5), A)), "float16")


def particular(weights, x):
    assert x.dtype == jnp.float32, "float32 only"
    return x @ weights["a"]


def test_a_function_that_refuses_gives_one_line() -> None:
    with pytest.raises(LoweringError, match="chosen --precision: AssertionError: float32 only") as caught:
        in_precision(made(particular), "float16")
    assert "\n" not in str(caught.value)


def test_other_precisions_are_refused() -> None:
    with pytest.raises(UsageError, match="--precision mixed: expected float32 or float16 or bfloat16"):
        in_precision(made(), "mixed")
    with pytest.raises(UsageError, match="is in float16 already"):
        in_precision(in_precision(made(), "float16"), "bfloat16")


def test_a_check_restores_the_precision_that_an_artifact_records() -> None:
    source = source_of(made())
    recorded = Recorded("net", {}, {"precision": "float16", "opset": 20}, None, "model.onnx")
    assert source.model(recorded).stored == {"a": "float16", "b": "float16"}
    assert source.model(Recorded("net", {}, {"opset": 20}, None, "model.onnx")).stored == {}
