"""Complex numbers are pairs of real ones in the file: against JAX, over functions, moves, bodies and the signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError
from tests.converter.compare import lower, run, run_and_compare

PARTS = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-3, 30.0, -30.0, 1e18]
#: All pairs of these parts, and every number against every other.
EDGES = np.array([complex(a, b) for a in PARTS for b in PARTS], np.complex64)
LEFT, RIGHT = np.repeat(EDGES, len(EDGES)), np.tile(EDGES, len(EDGES))

rng = np.random.default_rng(0)


def drawn(*shape: int, dtype: str = "complex64") -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


Z, W = drawn(2, 3, 4), drawn(4, 5)
Function = Callable[..., Any]

UNARY: dict[str, Function] = {
    "abs": jnp.abs,
    "angle": jnp.angle,
    "conj": jnp.conj,
    "cos": jnp.cos,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "isfinite": jnp.isfinite,
    "log": jnp.log,
    "log1p": jnp.log1p,
    "logistic": jax.nn.sigmoid,
    "over a number": lambda z: z / (2 - 1j),
    "rsqrt": lax.rsqrt,
    "sign": jnp.sign,
    "sin": jnp.sin,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "to a real power": lambda z: z**0.5,
}
BINARY: dict[str, Function] = {
    "add": jnp.add,
    "divide": jnp.divide,
    "equal": jnp.equal,
    "multiply": jnp.multiply,
    "not equal": jnp.not_equal,
    "subtract": jnp.subtract,
}


def differ(function: Function, *arrays: np.ndarray) -> np.ndarray:
    """Which numbers are further from JAX's than a few last digits of their magnitude."""
    (found,) = run(lower(function, *arrays), *arrays)
    right = np.asarray(jax.jit(function)(*arrays))
    if right.dtype.kind != "c":
        assert found.dtype == right.dtype
        return ~np.isclose(found, right, rtol=1e-6, atol=0, equal_nan=True)
    assert (found.dtype, found.shape) == (right.real.dtype, (*right.shape, 2))
    parts = np.stack([right.real, right.imag], -1)
    # XLA takes numbers below the normal ones for 0.
    with np.errstate(invalid="ignore"):
        near = np.abs(found - parts) <= 1e-6 * np.abs(parts).max(-1, keepdims=True) + np.finfo(found.dtype).tiny
    same = (found == parts) | (np.isnan(found) & np.isnan(parts))
    return ~(near | same).all(-1)


@pytest.mark.parametrize("name", UNARY)
def test_functions_at_zeros_of_both_signs_and_far_apart_magnitudes(name: str) -> None:
    wrong = EDGES[differ(UNARY[name], EDGES)]
    assert not wrong.size, wrong[:9]


@pytest.mark.parametrize("name", BINARY)
def test_arithmetic_of_every_pair_of_edges(name: str) -> None:
    wrong = differ(BINARY[name], LEFT, RIGHT)
    assert not wrong.any(), list(zip(LEFT[wrong], RIGHT[wrong], strict=True))[:9]


def test_powers_of_numbers_of_usual_size() -> None:
    base, exponent = (np.concatenate([z, np.zeros(1, z.dtype)]) for z in (drawn(60), drawn(60)))
    assert not differ(jnp.power, base, exponent).any()
    assert not differ(jnp.power, np.zeros(3, np.complex64), np.array([0, 1, 2.5], np.complex64)).any()


def test_both_precisions() -> None:
    with jax.enable_x64(True):
        run_and_compare(
            lambda z: [jnp.exp(z) / z, jnp.tanh(z), jnp.abs(z), z.astype("complex64")],
            drawn(3, 4, dtype="complex128"),
            rtol=1e-15,
        )


MOVES: dict[str, Function] = {
    "broadcast": lambda z: z[:, None] + jnp.ones((7, 1, 1)),
    "concatenate": lambda z: jnp.concatenate([z, z * 1j], 1),
    "convert": lambda z: z.real.astype("complex64") * jnp.arange(4),
    "dynamic slice": lambda z: lax.dynamic_slice_in_dim(z, 1, 2, 1),
    "dynamic update": lambda z: lax.dynamic_update_slice_in_dim(z, z[:, :1] * 2, 1, 1),
    "flip": lambda z: z[:, ::-1],
    "gather": lambda z: jnp.take(z, jnp.array([2, 0]), axis=1),
    "iota": lambda z: z * lax.iota("complex64", 4),
    "pad": lambda z: jnp.pad(z, ((0, 0), (1, 2), (0, 0)), constant_values=2j),
    "parts": lambda z: [z.real, z.imag, z.conj(), lax.complex(z.imag, z.real)],
    "reshape": lambda z: z.reshape(-1, 12),
    "scatter": lambda z: [z.at[:, 1].set(2 + 1j), z.at[:, jnp.array([1, 1])].add(1j), z.at[:, 1].multiply(1j)],
    "scatter twice": lambda z: [getattr(z.at[:, jnp.array([1, 1])], way)(0.5 + 1j) for way in ("multiply", "max")],
    "select": lambda z: jnp.where(z.real > 0, z, 0),
    "transpose": lambda z: jnp.swapaxes(z, 1, 2),
}
SUMS: dict[str, Function] = {
    "associative scan": lambda z: lax.associative_scan(jnp.multiply, z, axis=1),
    "convolution": lambda z: lax.conv_general_dilated(z, jnp.asarray(W[None, :3].T) * 1j, (1,), "SAME"),
    "cumulative products": lambda z: [
        jnp.cumprod(z, 1),
        lax.reduce_window(z, 2j, lax.mul, (1, 2, 2), (1, 1, 1), "VALID"),
        lax.reduce_window(z, 1 + 0j, lax.mul, (1, 2, 2), (1, 1, 1), "SAME"),
    ],
    "cumulative sum": lambda z: jnp.cumsum(z, 1),
    "largest": lambda z: [z.max(1), lax.cummin(z, 1)],
    "mean": lambda z: z.mean((1, 2)),
    "product": lambda z: z.prod(-1),
    "products of matrices": lambda z: [z @ W, jnp.einsum("bij,bkj->bik", z, z.conj())],
    "variance": lambda z: jnp.var(z, 1),
}
BODIES: dict[str, Function] = {
    "branches": lambda z: lax.cond(z.real.sum() > 0, lambda v: v * 1j, lambda v: v - 1, z),
    "call": lambda z: jax.jit(lambda v, n: (v * v, n + 1))(z, 1)[0],
    "fori": lambda z: lax.fori_loop(0, 5, lambda i, c: c * (0.5 + 0.5j) + i, z),
    "scan": lambda z: lax.scan(lambda c, t: (c * 0.9j + t, c), z[:, 0], jnp.swapaxes(z, 0, 1)),
    "while": lambda z: lax.while_loop(lambda c: jnp.abs(c).sum() < 100, lambda c: c * 1.5, z),
}


@pytest.mark.parametrize("name", MOVES | SUMS | BODIES)
def test_tensors_of_complex_numbers_move_sum_and_pass_through_bodies(name: str) -> None:
    run_and_compare((MOVES | SUMS | BODIES)[name], Z)


def test_sorts_are_by_the_real_part_and_then_by_the_imaginary_one() -> None:
    """Zeros of either sign are equal, NaNs too, and last; other operands follow."""
    z = np.concatenate([EDGES, np.array([complex(np.nan, 1), complex(1, np.nan), complex(-np.inf, 0)], np.complex64)])
    z = np.stack([z, z[::-1]])

    def results(z: Any) -> Any:
        places = lax.broadcasted_iota(np.int32, z.shape, 1)
        return jnp.sort(z, 1), jnp.argsort(z, 1, descending=True), lax.sort((places % 3, z, places), num_keys=2)

    run_and_compare(results, z)


@pytest.mark.parametrize("name", ["exponential", "log", "log_plus_one", "sqrt"])
def test_functions_that_jax_expands_itself(name: str) -> None:
    kind = "tensor<?x4xcomplex<f32>>"
    model = stablehlo_to_onnx(
        f"func.func public @main(%x: {kind}) -> {kind} {{ %0 = stablehlo.{name} %x : {kind}\n return %0 : {kind} }}"
    )
    function = {"exponential": np.exp, "log": np.log, "log_plus_one": np.log1p, "sqrt": np.sqrt}[name]
    z = drawn(5, 4)
    (found,) = run(model, z)
    np.testing.assert_allclose(found[..., 0] + 1j * found[..., 1], function(z), rtol=1e-6)


def test_constants_keep_their_bits() -> None:
    numbers = np.array([1 + 2j, complex(np.nan, -0.0), complex(-np.inf, 1e-30)], np.complex64)
    # More than MLIR prints one by one, few, and one for all.
    constants = [drawn(150), numbers, numbers[:2].reshape(1, 2), *(np.full((2, 3), n) for n in numbers), drawn(0, 3)]
    found = run(lower(lambda x: [jnp.asarray(c) for c in constants] + [x], np.zeros(2, np.float32)), np.zeros(2, "f4"))
    for pairs, constant in zip(found, constants, strict=False):
        np.testing.assert_array_equal(pairs, np.stack([constant.real, constant.imag], -1))
        assert (np.signbit(pairs[..., 1]) == np.signbit(constant.imag)).all()


def test_the_file_says_which_inputs_and_outputs_are_pairs() -> None:
    x, z = np.ones((2, 4), np.float32), drawn(2, 4)
    model = lower(lambda x, z, w: [x * z, jnp.abs(z @ w)], x, z, W, symbolic=None, constants={"x2": W})
    values = (*model.graph.inputs, *model.graph.outputs)
    shapes = [(value.name, list(value.shape.numpy()), value.doc_string) for value in values]
    said = "complex64: real and imaginary parts along the last axis"
    assert shapes == [
        ("x0", [2, 4], None),
        ("x1", [2, 4, 2], said),
        ("output_0", [2, 4, 2], said),
        ("output_1", [2, 5], None),
    ]
    np.testing.assert_array_equal(model.graph.initializers["x2"].const_value.numpy()[..., 1], W.imag)


def test_a_weight_of_another_type_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"argument x0: expected complex numbers of parts .*f32.*, found float32"):
        lower(lambda w, z: z @ w, W, drawn(2, 4), symbolic=None, constants={"x0": W.real})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: lax.reduce_window(z, 2j, lax.mul, (1, 2, 2), (1, 1, 1), "SAME"), "expected the initial value 1"),
        (lambda z: lax.exp(z, accuracy=lax.AccuracyMode.HIGHEST), "attribute result_accuracy"),
    ],
)
def test_other_ops_are_refused_with_op_and_place(function: Function, message: str) -> None:
    with pytest.raises(LoweringError, match=message) as caught:
        lower(function, Z, symbolic=None)
    assert "\n" not in str(caught.value)
