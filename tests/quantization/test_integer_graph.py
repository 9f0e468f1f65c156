"""Products with integer weights, in every form that a graph has them, in ONNX Runtime; and the way back."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from swift_export.errors import ArtifactError, InputError, UsageError
from swift_export.quantization.activation_ranges import ranges_from, write_range_probe
from swift_export.quantization.integer_graph import integer_products, products_for
from swift_export.quantization.products import CUSTOM, find_products
from swift_export.quantization.record import BITS, METHODS
from swift_export.quantization.restoring import restore

RNG = np.random.default_rng(7)


def noise(*shape) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


WEIGHTS = {
    "columns": noise(40, 33),
    "rows": noise(20, 33),
    "shared": noise(20, 20),
    "square": noise(20, 20),
    "bias": noise(20),
}


def graph() -> oir.Model:
    """MatMul of the input, then MatMul, FusedMatMul and Gemm of what is behind a nonlinearity, with shared weights."""
    nodes = [
        helper.make_node("MatMul", ["x", "columns"], ["a"], "a"),
        helper.make_node("Tanh", ["a"], ["b"], "b"),
        helper.make_node("FusedMatMul", ["b", "rows"], ["c"], "c", domain=CUSTOM, transB=1, alpha=0.5),
        helper.make_node("MatMul", ["c", "shared"], ["d"], "d"),
        helper.make_node("Reshape", ["d", "flat"], ["e"], "e"),
        helper.make_node("Gemm", ["e", "square", "bias"], ["f"], "f", transB=1, alpha=0.25, beta=0.25),
        helper.make_node("Gemm", ["f", "square", "bias"], ["g"], "g"),
        helper.make_node("Gemm", ["g", "shared", "bias"], ["y"], "y", alpha=0.25),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    constants.append(numpy_helper.from_array(np.array([-1, 20]), "flat"))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("x", ["n", 3, 40]), ("y", ["m", 20]))
    ]
    made = helper.make_graph(nodes, "products", ends[:1], ends[1:], constants)
    domains = [helper.make_opsetid("", 20), helper.make_opsetid(CUSTOM, 1)]
    return oir.from_proto(helper.make_model(made, opset_imports=domains, ir_version=10))


def run(model: oir.Model, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        oir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.fixture(scope="module")
def ranges(tmp_path_factory):
    """The ranges of all activations on the input of the test."""
    path = tmp_path_factory.mktemp("ranges") / "probe.onnx"
    model = graph()
    names = write_range_probe(model, find_products(model.graph), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    found = [dict(zip(outputs, session.run(None, {"x": noise(4, 3, 40)}), strict=True)) for _ in range(8)]
    return ranges_from(names, found)


def test_products_are_found_behind_nonlinearities_alone_where_activations_are_rounded() -> None:
    # "g" has the matrix of "f" transposed, "y" another factor for its bias than for its product.
    assert [product.node.name for product in find_products(graph().graph)] == ["a", "c", "d", "f"]
    assert [product.node.name for product in products_for("int8", graph().graph)] == ["c", "d", "f"]


@pytest.mark.parametrize("method", METHODS)
def test_every_form_is_the_same_within_its_steps_and_comes_back(method, ranges) -> None:
    x, model = noise(4, 3, 40), graph()
    expected = run(model, x)
    integer_products(model, method, ranges)
    found = run(model, x)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < (0.3 if BITS[method] == 4 else 0.03)

    rounded = restore(model)
    assert set(rounded) == {"columns", "rows", "shared", "square"} - ({"columns"} if method == "int8" else set())
    for name, weight in rounded.items():
        assert weight.is_of(WEIGHTS[name])
        assert not weight.is_of(WEIGHTS[name] + np.abs(weight.steps))
        assert not weight.is_of(np.zeros_like(WEIGHTS[name]))
    # What is left of the difference is that of the activations.
    again = run(model, x)
    if method == "int8":
        assert np.linalg.norm(again - expected) < 1.2 * np.linalg.norm(found - expected)
    else:
        np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-5)


def test_sums_of_two_products_fit_16_bits(ranges) -> None:
    """Processors without VNNI collect them there, and cut what does not fit."""
    model = graph()
    integer_products(model, "int8", ranges)
    constants = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    weights = max(int(np.abs(array.astype(int)).max()) for name, array in constants.items() if name.endswith(".int8"))
    activations = 0
    for name, (low, high) in ranges.items():
        if f"{name}.activation_step" in constants:
            step, zero = constants[f"{name}.activation_step"], constants[f"{name}.activation_zero"]
            assert np.rint(min(low, 0) / step) + zero >= -1
            activations = max(activations, int(np.rint(high / step) + zero))
    assert 120 < activations <= 128
    assert 2 * 127 * weights < 2**15


def test_weights_of_zeros_and_a_constant_activation_stay_finite(ranges) -> None:
    model = graph()
    model.graph.initializers["rows"].const_value = oir.tensor(np.zeros((20, 33), np.float32), name="rows")
    x = noise(2, 3, 40)
    expected = run(model, x)
    integer_products(model, "int8", ranges | {"b": (0.0, 0.0), "c": (0.0, 0.0), "e": (0.0, 0.0)})
    np.testing.assert_allclose(run(model, x), expected, rtol=0.05, atol=1e-3)
    assert restore(model)["rows"].is_of(np.zeros((20, 33), np.float32))


def test_what_cannot_be_is_refused(ranges, refused) -> None:
    empty = graph()
    for node in list(empty.graph):
        if node.op_type in ("FusedMatMul", "Gemm", "MatMul"):
            node.inputs[1].const_value = None
    with refused("--method int8: expected products of inner values", error=UsageError):
        products_for("int8", empty.graph)
    with refused("expected finite activations", error=InputError):
        ranges_from(["a"], [{"range0000-0": np.float32(0), "range0000-1": np.float32("inf")}])
    model = graph()
    integer_products(model, "int8", ranges)
    model.graph.initializers["rows.T.int8"].name = "rows.of.another"
    with refused("expected integer weights of an export", error=ArtifactError):
        restore(model)
