"""Eight-bit floats and integers of a few bits, carried in wider types, against JAX and ml_dtypes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as oir
import pytest
from jax import export, lax

import swift_export
from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError
from swift_export.runtimes.onnxruntime import load

sys.path.insert(0, str(Path(__file__).parent))
from compare import lower, op_types, run, run_and_compare
from edges import agree, compare, floats

FLOATS_8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
#: Without a rounding op in ONNX Runtime: constants only.
OTHERS = ["float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e8m0fnu", "float4_e2m1fn"]
INTEGERS_4 = ["int4", "uint4", "int2", "uint2"]


def every(name: str) -> np.ndarray:
    """All values of a type."""
    dtype = np.dtype(name)
    if name in INTEGERS_4:
        ends = ml_dtypes.iinfo(dtype)
        return np.arange(ends.min, ends.max + 1).astype(dtype)
    return np.arange(16 if name.startswith("float4") else 256, dtype=np.uint8).view(dtype)


def around(name: str) -> np.ndarray:
    """Float32 numbers at, between and beside all values of a type, and far beyond."""
    with np.errstate(all="ignore"):
        values = np.unique(every(name).astype(np.float32))
        values = values[np.isfinite(values)]
        between = (values[1:] + values[:-1]) / 2
        top = values[-1] * np.array([1, 1 + 1 / 32, 1 + 1 / 16, 1 + 1 / 8, 1.25, 2, 1e9], np.float32)
        numbers = np.concatenate([values, between, top, -top, [np.nan, np.inf, -np.inf, -0.0, 1e-30]]).astype(
            np.float32
        )
        beside = [np.nextafter(numbers, np.float32(side)) for side in (np.inf, -np.inf)]
    return np.concatenate([numbers, *beside])


@pytest.mark.parametrize("name", FLOATS_8)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rounding_to_eight_bits(name: str, dtype: str) -> None:
    x = around(name) if dtype == "float32" else floats(dtype)
    model = compare(lambda x: x.astype(name).astype(jnp.float32), x, dtype=dtype if dtype == "bfloat16" else None)
    if dtype == "float32":
        with np.errstate(all="ignore"):
            agree(run(model, x)[0], x.astype(name).astype(np.float32), 0)


@pytest.mark.parametrize("name", FLOATS_8)
def test_integers_to_eight_bits(name: str) -> None:
    x = np.arange(-(2**17), 2**17, 7, dtype=np.int32)
    compare(lambda x: x.astype(name).astype(jnp.float32), x)


@pytest.mark.parametrize("name", [*FLOATS_8, *OTHERS, *INTEGERS_4])
def test_constants_of_all_values(name: str) -> None:
    values = every(name)
    model = stablehlo_to_onnx(constant(np.tile(values, 300), name))
    agree(run(model)[0], np.tile(values, 300).astype(np.float32), 0)
    for few in (values[-6:], values[:6], np.full(3, values[1])):
        agree(run(stablehlo_to_onnx(constant(few, name)))[0], few.astype(np.float32), 0)


def constant(values: np.ndarray, name: str) -> str:
    """A module that converts a constant of a narrow type to float32."""
    from swift_export.formats.element_types import ELEMENT_TYPES

    kind = next(row.mlir for row in ELEMENT_TYPES if row.numpy == name)
    narrow, wide = f"tensor<{len(values)}x{kind}>", f"tensor<{len(values)}xf32>"
    if name in INTEGERS_4:
        text = str(values.astype(int).tolist())
    elif name.startswith("float4"):
        text = str(values.astype(float).tolist())
    elif len(values) > 100:
        text = f'"0x{values.tobytes().hex().upper()}"'
    else:
        text = f"[{', '.join(f'0x{bits:02X}' for bits in values.view(np.uint8))}]"
    return (
        f"func.func @main() -> {wide} {{\n%0 = stablehlo.constant dense<{text}> : {narrow}\n"
        f"%1 = stablehlo.convert %0 : ({narrow}) -> {wide}\nreturn %1 : {wide}\n}}"
    )


@pytest.mark.parametrize("name", INTEGERS_4)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool", "float32", "float16"])
def test_conversion_to_a_few_bits(name: str, dtype: str) -> None:
    x = np.array([-300, -9, -8, -7, -2, -1, 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 300]).astype(dtype)
    if x.dtype.kind == "f":
        x = np.concatenate([x, x + np.asarray(0.6, dtype), [np.nan, np.inf, -np.inf]]).astype(dtype)

    def function(x: jax.Array) -> list[jax.Array]:
        few = x.astype(name)
        return [few.astype(jnp.int32), few.astype(jnp.float32), few.astype("int4").astype(jnp.int16)]

    compare(function, x)


def test_weights_of_few_bits_cost_one_cast() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 8)).astype(np.float32), rng.standard_normal((8, 5)).astype(np.float32)
    few, eight = np.round(w * 3).astype(ml_dtypes.int4), w.astype(ml_dtypes.float8_e4m3fn)
    assert op_types(run_and_compare(lambda x: x @ jnp.asarray(few).astype(jnp.float32), x)) == {"MatMul": 1, "Cast": 1}
    assert op_types(run_and_compare(lambda x: x @ jnp.asarray(eight).astype(jnp.float32), x)) == {"MatMul": 1}


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_ops_that_only_move_elements(name: str) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        few = x.astype(name)
        moved = jnp.concatenate([few.T, few[::-1].T], axis=1)
        kept = jnp.where(few > few[0], few, jnp.zeros((), name))
        taken = jnp.take(few, jnp.array([2, 0]), axis=1, mode="clip")
        padded = lax.pad(few, jnp.ones((), name), [(0, 0, 0), (1, 2, 0)])
        put = lax.dynamic_update_slice(few, few[:1, :2], (1, 0))
        return [v.astype(jnp.float32) for v in (moved, kept, taken, padded, put, jnp.broadcast_to(few, (2, *x.shape)))]

    x = np.array([[3.3, -1.7, 0.4, 6.5], [-0.2, 7.4, 2.5, -5.1], [0, 1, 2, 3]], np.float32)
    run_and_compare(function, x, symbolic=None)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_products_into_a_wider_type(name: str) -> None:
    w = np.random.default_rng(0).standard_normal((8, 5)) * 3

    def function(x: jax.Array) -> jax.Array:
        return lax.dot(x.astype(name), jnp.asarray(w.astype(name)), preferred_element_type=jnp.float32)

    run_and_compare(function, np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32) * 3)


def test_products_of_a_few_bits() -> None:
    """XLA's CPU backend does not compile these."""
    x, w = (np.random.default_rng(i).integers(-8, 8, shape) for i, shape in enumerate([(3, 8), (8, 5)]))

    def function(x: jax.Array) -> jax.Array:
        return lax.dot(x.astype("int4"), jnp.asarray(w.astype("int4")), preferred_element_type=jnp.int32)

    np.testing.assert_array_equal(run(lower(function, x.astype(np.int8)), x.astype(np.int8))[0], x @ w)


def test_bytes_read_as_narrow_types() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(8, 32)

    def function(x: jax.Array) -> list[jax.Array]:
        kinds = ("float8_e4m3fn", "float8_e5m2", "int4", "uint4")
        read = [lax.bitcast_convert_type(x, jnp.dtype(kind)).astype(jnp.float32) for kind in kinds]
        return [*read, lax.bitcast_convert_type(x.astype(jnp.int8), jnp.int4).astype(jnp.int32)]

    compare(function, x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: (x.astype("float8_e4m3fn") + 1).astype(jnp.float32), r"stablehlo.add at .*f8E4M3FN"),
        (lambda x: x.astype("float8_e3m4").astype(jnp.float32), r"convert at .*: from f32 to float8_e3m4: "),
        (lambda x: x.astype("int4"), r"result output\S*: type tensor<3xi4>: ONNX has no equivalent"),
        (
            lambda x: lax.dot(x.astype("float8_e5m2"), x.astype("float8_e5m2")).astype(jnp.float32),
            r"dot_general at .*: products of type tensor<f8E5M2>",
        ),
    ],
)
def test_what_would_need_rounding_after_each_op_is_refused(function: Any, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        lower(function, np.zeros(3, np.float32), symbolic=None)


@pytest.mark.parametrize("name", FLOATS_8)
def test_inputs_and_outputs_of_eight_bits_and_a_check_of_them(name: str, tmp_path: Path) -> None:
    """Every value goes in and out as it is; two outputs are one value."""
    x = every(name).reshape(16, 16)
    exported = export.export(jax.jit(lambda x: (x.T, x.astype(jnp.float32), x.T)))(
        jax.ShapeDtypeStruct(export.symbolic_shape("b, 16"), x.dtype)
    )
    (tmp_path / "source").write_bytes(exported.mlir_module_serialized)
    done = swift_export.convert(tmp_path / "source", tmp_path / "model.onnx", check=True)
    assert (done.inputs, done.outputs[0]) == ((f"x {name} (b, 16)",), f"output_0 {name} (16, b)")
    turned, wide, again = load(tmp_path / "model.onnx", "cpu")({"x": x}).values()
    agree(wide, x.astype(np.float32), 0)
    for found in (turned, again):
        assert found.dtype == x.dtype
        agree(found.astype(np.float32), x.T.astype(np.float32), 0)


def test_constants_of_eight_bits_keep_their_type() -> None:
    x = every("float8_e4m3fn").reshape(16, 16)

    def function(x: jax.Array, y: jax.Array) -> jax.Array:
        return x.astype(jnp.float32) * y

    model = lower(function, x, np.ones(16, np.float32), symbolic=None, constants={"x0": x})
    assert model.graph.initializers["x0"].dtype == oir.DataType.FLOAT8E4M3FN
    for optimized in (False, True):
        agree(run(model, np.ones(16, np.float32), optimized=optimized)[0], x.astype(np.float32), 0)
    with pytest.raises(LoweringError, match=r"argument x0: expected tensor<16x16xf8E4M3FN>, found float32"):
        lower(function, x, np.ones(16, np.float32), symbolic=None, constants={"x0": x.astype(np.float32)})


def test_an_older_opset_is_refused_by_number() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(LoweringError, match=r"convert at .*: needs float8_e5m2, of opset 19: found --opset 18"):
        lower(lambda x: x.astype("float8_e5m2").astype(jnp.float32), x, opset=18)
    with pytest.raises(LoweringError, match=r"argument x0: needs float8_e5m2, of opset 19: found --opset 18"):
        lower(lambda x: x.astype(jnp.float32), x.astype("float8_e5m2"), opset=18)


def test_float64_is_not_rounded_twice() -> None:
    """Not even a constant: ml_dtypes rounds to float32 first."""
    x = np.array([1.0625 + 1e-12])
    with jax.enable_x64(True):
        for function in (lambda x: x.astype("float8_e4m3fn"), lambda y: jnp.asarray(x).astype("float8_e4m3fn")):
            with pytest.raises(LoweringError, match=r"convert at .*: from f64 to float8_e4m3fn: .*rounds to it once"):
                lower(lambda x, f=function: f(x).astype(jnp.float32), x, symbolic=None)
