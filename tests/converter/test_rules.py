"""Each rule against JAX, with a batch that is known and one that is not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError, UsageError
from swift_export.models.trace import scopes

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4, 6), np.float32)
Y = rng.standard_normal((3, 4, 6), np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)
EDGES = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, 2.5, -2.5]], np.float32)

part = lax.slice_in_dim

FUNCTIONS = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "maximum": lax.max,
    "minimum": lax.min,
    "power": lambda x, y: jnp.abs(x) ** y,
    "select": lambda x, y: lax.select(x > y, x, y),
    "clamp": lambda x, y: lax.clamp(jnp.float32(-0.5), x, jnp.float32(0.3)) + y,
    "compare": lambda x, y: (x == y, x != y, x < y, x <= y, x > y, x >= y),
    "logic": lambda x, y: ((x > 0) & (y > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), ~(x > 0)),
    "broadcast row": lambda x, y: x + y + jnp.arange(6, dtype=jnp.float32),
    "broadcast column": lambda x, y: x * jnp.arange(4, dtype=jnp.float32)[:, None] + y,
    "convert": lambda x, y: ((x > 0).astype(jnp.float32), (y > 0).astype(jnp.int32), x.astype(jnp.float16)),
    "convert to truth": lambda x, y: (jnp.round(x).astype(bool), y),
    "concatenate": lambda x, y: lax.concatenate([x, y, x], 2),
    "transpose": lambda x, y: x.transpose(2, 0, 1) + y.transpose(2, 0, 1),
    "reshape": lambda x, y: x.reshape(x.shape[0], 24) - y.reshape(-1, 24),
    "reshape merging the batch": lambda x, y: (x + y).reshape(-1, 6),
    "slice": lambda x, y: part(part(x, 1, 6, 2, axis=2), 1, 3, axis=1) + part(part(y, 0, 2, axis=1), 3, 6, axis=2),
    "roll": lambda x, y: jnp.concatenate([part(x, 1, 4, axis=1), part(x, 0, 1, axis=1)], 1) + y,
    "pad": lambda x, y: lax.pad(x, jnp.float32(2), [(0, 0, 0), (1, 2, 0), (0, 3, 0)]),
    "reverse": lambda x, y: lax.rev(x, (1, 2)) + y,
    "split": lambda x, y: lax.split(x, (1, 2, 3), axis=2),
    "iota": lambda x, y: (
        x + lax.broadcasted_iota(jnp.float32, x.shape, 0) + lax.broadcasted_iota(jnp.float32, x.shape, 2)
    ),
    "sum": lambda x, y: x.sum(2) + y.sum((1, 2))[:, None],
    "mean": lambda x, y: (x.mean(-1, keepdims=True), y.mean()),
    "extremes": lambda x, y: (x.max(1), y.min((0, 2)), jnp.prod(x, 2)),
    "reduce from a start": lambda x, y: lax.reduce(x, jnp.float32(0.5), lax.add, (1,)),
    "size as data": lambda x, y: x * x.shape[0] + y.size,
    "barrier": lambda x, y: lax.optimization_barrier(x) + y,
    "inner function": lambda x, y: jax.jit(lambda a: a * 2)(x) + jnp.where(y > 0, y, 0),
    "same result twice": lambda x, y: (x + y, x + y, x),
}


@pytest.mark.parametrize("symbolic", ["b", None], ids=["unknown batch", "known batch"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_binary_and_layout_rules(name: str, symbolic: str | None) -> None:
    run_and_compare(FUNCTIONS[name], X, Y, symbolic=symbolic)


UNARY = {
    "abs": (jnp.abs, X),
    "ceil": (jnp.ceil, X),
    "cos": (jnp.cos, X),
    "erf": (lax.erf, X),
    "exp": (jnp.exp, X),
    "floor": (jnp.floor, X),
    "log": (jnp.log, POSITIVE),
    "sigmoid": (jax.nn.sigmoid, X),
    "negate": (lambda x: -x, X),
    "round half to even": (lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), np.round(4 * X) / 2),
    "rsqrt": (lax.rsqrt, POSITIVE),
    "sin": (jnp.sin, X),
    "sqrt": (jnp.sqrt, POSITIVE),
    "tan": (jnp.tan, X / 3),
    "tanh": (jnp.tanh, X),
    "erfc is decomposed": (lax.erfc, X),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary_rules(name: str) -> None:
    function, array = UNARY[name]
    run_and_compare(function, array, rtol=2e-6)


@pytest.mark.parametrize("function", [lax.max, lax.min], ids=["max", "min"])
def test_nan_survives_extremes(function: object) -> None:
    others = np.full_like(EDGES, 0.25)
    run_and_compare(function, EDGES, others)  # type: ignore[arg-type] - a jax function
    run_and_compare(function, others, EDGES)  # type: ignore[arg-type]


CONTRACTIONS = {
    "matrix on the right": ("bij,jk->bik", (3, 4, 6), (6, 5)),
    "matrix on the right, transposed": ("bij,kj->bik", (3, 4, 6), (5, 6)),
    "matrix on the left": ("oj,bijt->obit", (5, 6), (3, 4, 6, 2)),
    "batch": ("bij,bjk->bik", (3, 4, 6), (3, 6, 5)),
    "batch, both contracted at the end": ("bhij,bhkj->bhik", (3, 2, 4, 6), (3, 2, 5, 6)),
    "batch in the middle": ("ibj,kjb->bik", (4, 3, 6), (5, 6, 3)),
    "two contracted axes": ("bijk,jkl->bil", (3, 4, 6, 2), (6, 2, 5)),
    "two free axes each": ("bijk,bklm->bijlm", (3, 4, 2, 6), (3, 6, 5, 2)),
    "outer product": ("bi,bj->bij", (3, 4), (3, 5)),
    "dot": ("bi,bi->b", (3, 4), (3, 4)),
    "vector": ("bij,j->bi", (3, 4, 6), (6,)),
}


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_contractions(name: str) -> None:
    equation, left, right = CONTRACTIONS[name]
    a, b = rng.standard_normal(left, np.float32), rng.standard_normal(right, np.float32)
    run_and_compare(lambda x, y: jnp.einsum(equation, x, y), a, b, rtol=1e-5, symbolic=None)
    operands = equation.split("->")[0].split(",")
    if operands[0][0] == "b" and operands[1][0] != "b":
        run_and_compare(lambda x: jnp.einsum(equation, x, b), a, rtol=1e-5)
    elif operands[0][0] == operands[1][0] == "b":
        run_and_compare(lambda x, y: jnp.einsum(equation, x, y), a, b, rtol=1e-5)


def test_sizes_that_are_sums_and_products_of_unknown_ones() -> None:
    def function(x: jax.Array) -> jax.Array:
        twice = jnp.concatenate([x, x * 2], 0)
        return (twice.reshape(-1, 3, 8) + 1).reshape(twice.shape[0] * 4, 6)

    model = run_and_compare(function, X)
    assert [str(d) for d in model.graph.outputs[0].shape.dims] == ["8*b", "6"]


def test_two_unknown_sizes_are_told_apart() -> None:
    from jax import export

    a, b = export.symbolic_shape("a, b")
    exported = export.export(jax.jit(lambda x, y: jnp.einsum("ik,jk->ij", x, y).reshape(-1)), platforms=["cpu"])(
        jax.ShapeDtypeStruct((a, 2), jnp.float32), jax.ShapeDtypeStruct((b, 2), jnp.float32)
    )
    model = stablehlo_to_onnx(
        exported.mlir_module_serialized, argument_names=["x", "y"], dim_names={"x": ["a", None], "y": ["c", None]}
    )
    x, y = rng.standard_normal((3, 2), np.float32), rng.standard_normal((4, 2), np.float32)
    np.testing.assert_allclose(run(model, x, y)[0], (x @ y.T).reshape(-1), rtol=1e-5)


def test_splat_constants_stay_small() -> None:
    model = lower(lambda x: x + jnp.full((64, 512, 512), 3.0), np.zeros((1, 64, 512, 512), np.float32))
    assert all(v.const_value.nbytes <= 64 for v in model.graph.initializers.values())


def test_constants_that_arguments_become_keep_name_and_bits() -> None:
    weight = rng.standard_normal((5, 6), np.float32)
    model = lower(lambda w, x: x @ w.T, weight, X[0], symbolic=None, constants={"x0": weight})
    assert [v.name for v in model.graph.inputs] == ["x1"]
    np.testing.assert_array_equal(model.graph.initializers["x0"].const_value.numpy(), weight)
    np.testing.assert_allclose(run(model, X[0])[0], X[0] @ weight.T, rtol=1e-5)


MODULE = """
func.func public @main(%x: tensor<4xf32> loc("x")) -> tensor<4xf32> {{
  {line}
  return %y : tensor<4xf32>
}}
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%y = stablehlo.custom_call @mystery(%x) : (tensor<4xf32>) -> tensor<4xf32>", "custom call mystery"),
        (
            '%y = "stablehlo.exponential"(%x) {result_accuracy = #stablehlo.result_accuracy<mode = '
            "#stablehlo.result_accuracy_mode<HIGHEST>>} : (tensor<4xf32>) -> tensor<4xf32>",
            "result_accuracy",
        ),
        ("%y = stablehlo.negate %x {made.up = 1 : i32} : tensor<4xf32>", "attribute made.up"),
        (
            '%y = "stablehlo.collective_broadcast"(%x) {replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>} : '
            "(tensor<4xf32>) -> tensor<4xf32>",
            "stablehlo.collective_broadcast at .*2",
        ),
    ],
)
def test_unknown_ops_and_attributes_of_text_modules_are_refused(line: str, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        stablehlo_to_onnx(MODULE.format(line=line))


def test_text_modules_are_read() -> None:
    model = stablehlo_to_onnx(MODULE.format(line="%y = stablehlo.negate %x : tensor<4xf32>"))
    assert [v.name for v in model.graph.inputs] == ["x"]
    np.testing.assert_array_equal(run(model, np.arange(4, dtype=np.float32))[0], -np.arange(4, dtype=np.float32))


@pytest.mark.parametrize("source", [b"", b"ML\xefR broken", "func.func @main(", "module {}"])
def test_what_is_no_module_is_one_line(source: bytes | str) -> None:
    with pytest.raises(LoweringError) as caught:
        stablehlo_to_onnx(source)
    assert "\n" not in str(caught.value)


def test_names_that_do_not_fit_are_refused() -> None:
    text = MODULE.format(line="%y = stablehlo.negate %x : tensor<4xf32>")
    with pytest.raises(UsageError, match="expected 1 different ones"):
        stablehlo_to_onnx(text, argument_names=["a", "b"])
    with pytest.raises(UsageError, match="no argument w"):
        stablehlo_to_onnx(text, constants={"w": np.zeros(4, np.float32)})
    with pytest.raises(LoweringError, match=r"argument x: expected tensor<4xf32>, found float32 \(5,\)"):
        stablehlo_to_onnx(text, constants={"x": np.zeros(5, np.float32)})
    with pytest.raises(UsageError, match="opset 99"):
        stablehlo_to_onnx(text, opset=99)
    with pytest.raises(UsageError, match="are names of inputs too"):
        stablehlo_to_onnx(text, result_names=["x"])


@pytest.mark.parametrize("called", [jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(f)), jax.checkpoint])
def test_values_are_named_after_scopes_inside_calls_and_transformations(called) -> None:
    def inside(x: jax.Array) -> jax.Array:
        with jax.named_scope("layers/0"):
            return jnp.exp(x)

    def function(weights: Mapping[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
        with jax.named_scope("net/block"):
            return {"y": jnp.sin(called(inside)(x))}

    model = lower(lambda x: function({}, x), X)
    values = [str(o.name) for node in model.graph for o in node.outputs if not o.is_graph_output()]
    assert values == [place for place in scopes(function, {}, [X]) if place != "net/block"]
    assert "net/block/Sin" in {node.name for node in model.graph}


def test_values_are_named_after_their_scopes() -> None:
    def function(x: jax.Array) -> jax.Array:
        with jax.named_scope("a/b"):
            y = jnp.exp(x) * 3
        with jax.named_scope("a/output"):
            y = y + x
        return jnp.tanh(y)

    model = lower(function, X)
    values = {o.name for node in model.graph for o in node.outputs}
    assert {"a/b", "a/b/Exp", "a/output", "output"} == values
    assert "a/output/Add" in {node.name for node in model.graph}
    assert op_types(model) == {"Exp": 1, "Mul": 1, "Add": 1, "Tanh": 1}
