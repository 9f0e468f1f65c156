"""Sort and top-k against JAX: every type, several keys, ties, NaN and both zeros."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run, run_and_compare
from edges import FLOATS, INTEGERS, agree, compare

rng = np.random.default_rng(0)
X = rng.integers(-3, 4, (3, 4, 6)).astype(np.float32)


def values(dtype: str, *shape: int) -> np.ndarray:
    """Values with many ties: the ends and the middle of a type's range, all special floats."""
    if dtype == "bool":
        choices = np.array([False, True])
    elif dtype in INTEGERS:
        ends = np.iinfo(dtype)
        choices = np.array(
            [ends.min, ends.min + 1, ends.max // 2, ends.max // 2 + 1, ends.max - 1, ends.max, 0, 1], dtype
        )
    else:
        kind = "float32" if dtype == "bfloat16" else dtype
        largest = np.finfo("float16" if dtype == "float16" else kind).max if dtype != "bfloat16" else 3.3895314e38
        choices = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, largest, -largest], kind)
    return rng.choice(choices, shape)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, *FLOATS])
def test_every_type(dtype: str) -> None:
    places = np.arange(5 * 40, dtype=np.int32).reshape(5, 40)

    def function(x: jax.Array, places: jax.Array) -> list[object]:
        by_rows = lax.sort((x, places), dimension=0, num_keys=1)
        by_both = lax.sort((x, places % 3, places), dimension=1, num_keys=2)
        others = [jnp.argsort(x, axis=1, descending=True), jnp.sort(x, axis=0, descending=True)]
        return [by_rows, by_both, lax.sort((places % 2, x, places), num_keys=2), others, lax.top_k(x, 7)]

    compare(function, values(dtype, 5, 40), places, dtype=dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_top_k_where_no_sign_of_nan_can_be_told(dtype: str) -> None:
    x = values(dtype, 5, 40)
    compare(lambda x: lax.top_k(x, 9), np.where(np.isnan(x), np.nan, x).astype(x.dtype), dtype=dtype, opset=20)


def test_short_and_empty_axes() -> None:
    def function(x: jax.Array) -> list[object]:
        return [lax.sort(x, dimension=d) for d in (0, 1)] + [lax.top_k(x, k) for k in range(x.shape[1] + 1)]

    for shape in ((0, 2), (1, 3), (3, 0), (2, 1)):
        compare(function, values("float32", *shape))


def test_a_long_axis_is_sorted_stably() -> None:
    x = rng.integers(0, 7, 100_000).astype(np.int32)
    compare(lambda x: (jnp.argsort(x), lax.top_k(x, 50_000)), x)


UNKNOWN: dict[str, Callable[[jax.Array], object]] = {
    "along another axis": lambda x: (jnp.sort(x, axis=1), jnp.argsort(x, axis=2)),
    "along the batch": lambda x: lax.sort((x, -x), dimension=0),
    "several keys": lambda x: lax.sort((x, -x[:, ::-1], x * 2), dimension=2, num_keys=2),
    "top-k": lambda x: lax.top_k(x, 2),
    "as many as the batch": lambda x: lax.top_k(jnp.concatenate([x, x * 2])[:, 0].T, x.shape[0]),
    "routing": lambda x: [
        jax.nn.one_hot(lax.top_k(x[:, 0], 2)[1], 6),
        jax.vmap(lambda r: r[lax.top_k(r[0], 3)[1] % 4])(x),
    ],
    "median": lambda x: (jnp.median(x, axis=1), jnp.quantile(x, 0.25, axis=2, method="lower")),
    "in a loop": lambda x: lax.fori_loop(0, 3, lambda k, x: jnp.sort(x * -1, axis=1), x),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_batch(name: str) -> None:
    run_and_compare(UNKNOWN[name], X, rtol=0)


def test_sorting_places_gathers_them_not() -> None:
    model = run_and_compare(lambda x: jnp.argsort(x, axis=1), X.astype(np.int32), symbolic=None)
    assert op_types(model) == {"Cast": 1, "TopK": 1}


def test_approximate_top_k_is_exact() -> None:
    x = rng.permutation(400).astype(np.float32).reshape(2, 200)
    run_and_compare(lambda x: (lax.approx_max_k(x, 5), lax.approx_min_k(x, 5)), x, rtol=0)
    with pytest.raises(LoweringError, match=r"custom_call at .*aggregate_to_topk = false"):
        run_and_compare(lambda x: lax.approx_max_k(x, 5, aggregate_to_topk=False), x)


@pytest.mark.parametrize("largest", ["", ", largest = true", ", largest = false"])
def test_top_k_of_older_modules(largest: str) -> None:
    text = f"""
    func.func @main(%x: tensor<9xi32>) -> (tensor<3xi32>, tensor<3xi32>) {{
      %0:2 = stablehlo.custom_call @mhlo.topk(%x) {{mhlo.attributes = {{k = 3 : i64{largest}}}, mhlo.version = 1 : i64}}
        : (tensor<9xi32>) -> (tensor<3xi32>, tensor<3xi32>)
      return %0#0, %0#1 : tensor<3xi32>, tensor<3xi32>
    }}"""
    if "false" in largest:
        with pytest.raises(LoweringError, match=r"custom_call at .*largest = false"):
            stablehlo_to_onnx(text)
        return
    found = run(stablehlo_to_onnx(text), Y)
    np.testing.assert_array_equal(found, [[3, 3, 3], [0, 3, 6]])


SORT = """
func.func @main(%x: tensor<9xf32>, %y: tensor<9xi32>) -> (tensor<9xf32>, tensor<9xi32>) {{
  %0:2 = "stablehlo.sort"(%x, %y) ({{
  ^bb0(%a: tensor<f32>, %b: tensor<f32>, %c: tensor<i32>, %d: tensor<i32>):
    {body}
    stablehlo.return %r : tensor<i1>
  }}) {{dimension = 0 : i64, is_stable = true}} : (tensor<9xf32>, tensor<9xi32>) -> (tensor<9xf32>, tensor<9xi32>)
  return %0#0, %0#1 : tensor<9xf32>, tensor<9xi32>
}}
"""
FLOAT = "(tensor<f32>, tensor<f32>) -> tensor<i1>"
INTEGER = "(tensor<i32>, tensor<i32>) -> tensor<i1>"
Y = np.array([3, 1, 2, 3, 1, 2, 3, 1, 2], np.int32)
SPECIAL = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, -0.0, 0.0, 2], np.float32)

#: Comparators as others write them, and the order that they mean.
COMPARATORS = {
    "descending": (f"%r = stablehlo.compare GT, %a, %b : {FLOAT}", np.argsort(-SPECIAL, kind="stable")),
    "operands turned round": (f"%r = stablehlo.compare GT, %b, %a : {FLOAT}", np.argsort(SPECIAL, kind="stable")),
    "by the second operand": (f"%r = stablehlo.compare LT, %c, %d : {INTEGER}", np.argsort(Y, kind="stable")),
    "total order": (
        f"%r = stablehlo.compare LT, %a, %b, TOTALORDER : {FLOAT}",
        np.lexsort((~np.signbit(SPECIAL), SPECIAL)),
    ),
    "lexicographic, both ways": (
        f"""%0 = stablehlo.compare GT, %c, %d : {INTEGER}
        %1 = stablehlo.compare EQ, %d, %c : {INTEGER}
        %2 = stablehlo.compare LT, %a, %b : {FLOAT}
        %3 = stablehlo.and %2, %1 : tensor<i1>
        %r = stablehlo.or %3, %0 : tensor<i1>""",
        np.lexsort((SPECIAL, -Y)),
    ),
}


@pytest.mark.parametrize("name", COMPARATORS)
def test_comparators(name: str) -> None:
    body, order = COMPARATORS[name]
    found = run(stablehlo_to_onnx(SORT.format(body=body)), SPECIAL, Y)
    agree(found[0], SPECIAL[order], 0)
    agree(found[1], Y[order], 0)


@pytest.mark.parametrize(
    "body",
    [
        f"%r = stablehlo.compare LE, %a, %b : {FLOAT}",
        f"%r = stablehlo.compare LT, %a, %a : {FLOAT}",
        f"%0 = stablehlo.abs %a : tensor<f32>\n %r = stablehlo.compare LT, %0, %b : {FLOAT}",
        f"""%0 = stablehlo.compare LT, %a, %b : {FLOAT}
        %1 = stablehlo.compare EQ, %a, %b, TOTALORDER : {FLOAT}
        %2 = stablehlo.compare LT, %c, %d : {INTEGER}
        %3 = stablehlo.and %1, %2 : tensor<i1>
        %r = stablehlo.or %0, %3 : tensor<i1>""",
        f"""%0 = stablehlo.compare LT, %a, %b : {FLOAT}
        %1 = stablehlo.compare LT, %c, %d : {INTEGER}
        %r = stablehlo.or %0, %1 : tensor<i1>""",
    ],
    ids=["not strict", "with itself", "of something else", "two kinds of equal", "no order"],
)
def test_other_comparators_are_one_clear_error(body: str) -> None:
    with pytest.raises(
        LoweringError, match=r"stablehlo.sort at .*comparator stablehlo\.\w+, .*expected strict"
    ) as caught:
        stablehlo_to_onnx(SORT.format(body=body))
    assert "\n" not in str(caught.value)
