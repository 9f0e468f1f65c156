"""Names that the converter would make itself, given to inputs, outputs, weights, sizes and scopes."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as oir
import pytest
from jax import export, lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.converter.dims import Dim
from swift_export.converter.passes.factors import as_factor, product
from swift_export.converter.passes.naming import check_names
from swift_export.converter.size_names import SizeNames
from swift_export.errors import LoweringError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
from compare import run

#: Constants, sizes, parameters of bodies, parts of weights, values and nodes as they are named without a reason to.
GENERATED = (
    *(f"constant_{number}" for number in range(9)),
    *(f"unknown_{number}" for number in (1, 2)),
    *(f"body_{number}" for number in range(4)),
    *("w[:, 0:4]", "w[:, 4:8]", "bias[0:4]", "bias[0:4]_", "w_", "x_dim0", "x_dim0_1", "y_dim0"),
    *("Add", "Add_1", "Mul", "MatMul", "Gemm", "Loop", "Slice", "Identity", "Tanh", "layer/Add", "layer", "layer_1"),
    *("b", "b_1", "2*b", "output", "output_0", "arg0", "main", "body", "x", "y", "w", "bias", "1", "a b", "é"),
)

rng = np.random.default_rng(0)
W, BIAS = rng.standard_normal((4, 12), np.float32), rng.standard_normal(12, np.float32)


def network(w: jax.Array, bias: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    with jax.named_scope("constant_1"):
        q, k, v = jnp.split(x @ w + bias, 3, axis=1)
    with jax.named_scope("layer"):
        z = lax.fori_loop(0, 3, lambda i, z: jnp.tanh(z) * 2.5 + y[0], q * k + v * 1.5)
    return z + 2.25, y[1:] * 7.5, jnp.where(y > 0, y, 0.25)


@functools.cache
def module() -> bytes:
    b, c = export.symbolic_shape("b, c", constraints=["c >= 2"])
    shapes = [W.shape, BIAS.shape, (b, 4), (c, 4)]
    exported = export.export(jax.jit(network), platforms=["cpu"])(*(jax.ShapeDtypeStruct(s, "f4") for s in shapes))
    return exported.mlir_module_serialized


@pytest.mark.parametrize("seed", range(12))
def test_names_of_any_kind_are_kept_and_clash_with_none(seed: int) -> None:
    draw = np.random.default_rng(seed)
    w, bias, x, y, *outputs = names = [str(name) for name in draw.choice(GENERATED, 7, replace=False)]
    if seed % 2:
        # Their parts are named after them.
        w, bias = names[:2] = ["w", "bias"]
    if len(set(names)) < len(names):
        names = [w, bias, x, y, *outputs] = [f"{name}{'_' * i}" for i, name in enumerate(names)]
    sizes = [str(size) for size in draw.choice(GENERATED, 2, replace=False)]
    model = stablehlo_to_onnx(
        module(),
        constants={w: W, bias: BIAS},
        argument_names=[w, bias, x, y],
        result_names=outputs,
        dim_names={x: [sizes[0], None], y: [sizes[1], None]},
        target=("portable", "onnxruntime")[seed // 2 % 2],
    )
    onnx.checker.check_model(oir.to_proto(model), full_check=True)
    assert [v.name for v in (*model.graph.inputs, *model.graph.outputs)] == [x, y, *outputs]
    fed = rng.standard_normal((6, 4), np.float32), rng.standard_normal((4, 4), np.float32)
    for found, wanted in zip(run(model, *fed, optimized=True), network(W, BIAS, *fed), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_part_of_a_weight_is_not_named_like_an_input() -> None:
    for place in (2, 4):
        names = ["w", "bias", "x", "y", "o0", "o1", "o2"]
        names[place] = "w[:, 0:4]"
        model = stablehlo_to_onnx(
            module(), constants={"w": W, "bias": BIAS}, argument_names=names[:4], result_names=names[4:]
        )
        assert "w[:, 0:4]_" in model.graph.initializers


def test_a_size_that_depends_on_data_is_not_the_input_s_of_that_name() -> None:
    text = """
    func.func @main(%x: tensor<?xf32>, %a: tensor<1xi32>, %b: tensor<1xi32>) -> tensor<i32> {
      %one = stablehlo.constant dense<1> : tensor<1xi32>
      %0 = stablehlo.real_dynamic_slice %x, %a, %b, %one
        : (tensor<?xf32>, tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<?xf32>
      %1 = stablehlo.get_dimension_size %0, dim = 0 : (tensor<?xf32>) -> tensor<i32>
      return %1 : tensor<i32>
    }"""
    with pytest.raises(LoweringError, match=r"dimension unknown_2: .* depends on data"):
        stablehlo_to_onnx(text, argument_names=["x", "a", "b"], dim_names={"x": ["unknown_1"]})


def test_default_names_of_sizes_are_not_given_ones() -> None:
    text = """
    func.func @main(%x: tensor<?xf32>, %y: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>) {
      return %x, %y : tensor<?xf32>, tensor<?xf32>
    }"""
    model = stablehlo_to_onnx(text, argument_names=["x", "y"], dim_names={"y": ["x_dim0"]})
    x, y = np.zeros(2, np.float32), np.ones(3, np.float32)
    assert [found.shape for found in run(model, x, y)] == [(2,), (3,)]
    assert [str(v.shape[0]) for v in model.graph.inputs] == ["x_dim0_1", "x_dim0"]


def test_different_sizes_have_different_names() -> None:
    names, a, b = SizeNames(), Dim.symbol("a"), Dim.symbol("b")
    spelled = Dim.symbol("a+b")
    assert [names.of(size) for size in (spelled, a + b, spelled, 2, names.fresh())] == [
        "a+b",
        "a+b'",
        "a+b",
        2,
        "unknown_1",
    ]
    doubled = product([as_factor(2), as_factor("a+b")])
    assert doubled is not None
    assert doubled.size == "2*(a+b)"


@pytest.mark.parametrize("kind", ["argument", "result"])
def test_an_empty_name_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=f"{kind} names: expected text, found none for {kind} 1"):
        stablehlo_to_onnx(module(), **{f"{kind}_names": ["a", "", "c", "d"][: 4 if kind == "argument" else 3]})


def test_two_values_of_one_name_do_not_leave_the_passes() -> None:
    model = stablehlo_to_onnx(module())
    check_names(model.graph)
    nodes = list(model.graph)
    nodes[1].outputs[0].name = nodes[0].outputs[0].name
    with pytest.raises(AssertionError, match="names of several values"):
        check_names(model.graph)
