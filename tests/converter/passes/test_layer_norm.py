"""Means, roots and products become LayerNormalization, whatever their spelling; nothing else does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import onnx_ir as oir
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from graphs import op_types, transformed
from norm_graphs import Norm

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, run, run_and_compare

#: Means of at most 36 numbers, summed in another order, and a difference of two of them.
RTOL = 2e-6


def normalised(s: Norm) -> oir.Value:
    centred = s.less_mean(s.source)
    return s.over_root(centred, s.root(centred))


@pytest.mark.parametrize("following", ["", "Mul", "Mul Add"])
@pytest.mark.parametrize("seed", range(12))
def test_layer_normalization(seed: int, following: str) -> None:
    sketch = Norm(seed)
    y = normalised(sketch)
    for op_type in following.split():
        y = sketch.mixed(op_type, y, sketch.weight(*sketch.trailing))
    model = transformed(sketch, y, rtol=RTOL)
    assert op_types(model) == {"LayerNormalization": 1}
    (node,) = model.graph
    assert node.attributes["axis"].as_int() == sketch.axis - sketch.rank
    np.testing.assert_allclose(node.attributes["epsilon"].as_float(), sketch.epsilon, rtol=1e-6)


def less_another_mean(s: Norm) -> oir.Value:
    centred = s.same_type("Sub", s.source, s.mean(s.same_type("Tanh", s.source)))
    return s.over_root(centred, s.root(centred))


def mean_less_x(s: Norm) -> oir.Value:
    centred = s.same_type("Sub", s.mean(s.source), s.source)
    return s.over_root(centred, s.root(centred))


def mean_square_of_x(s: Norm) -> oir.Value:
    return s.over_root(s.less_mean(s.source), s.root(s.source))


def root_mean_square(s: Norm) -> oir.Value:
    return s.over_root(s.source, s.root(s.source))


def unbiased(s: Norm) -> oir.Value:
    centred = s.less_mean(s.source)
    n = float(np.prod(s.trailing))
    variance = s.same_type("Mul", s.mean(s.squared(centred)), s.number(n / (n - 1)))
    return s.over_root(centred, s.same_type("Sqrt", s.mixed("Add", variance, s.number(s.epsilon))))


def epsilon_outside_the_root(s: Norm) -> oir.Value:
    centred = s.less_mean(s.source)
    root = s.same_type("Sqrt", s.mean(s.squared(centred)))
    return s.over_root(centred, s.mixed("Add", root, s.number(s.epsilon)))


def epsilon_by_channel(s: Norm) -> oir.Value:
    centred = s.less_mean(s.source)
    epsilon = s.same_type("Abs", s.weight(*s.trailing))
    return s.over_root(centred, s.same_type("Sqrt", s.mixed("Add", s.mean(s.squared(centred)), epsilon)))


def doubles(s: Norm) -> oir.Value:
    x = s.cast(s.source, oir.DataType.DOUBLE)
    centred = s.less_mean(x)
    mean, small = s.mean(s.same_type("Mul", centred, centred)), s.constant(np.asarray(s.epsilon))
    return s.over_root(centred, s.same_type("Sqrt", s.mixed("Add", mean, small)))


OTHERS: tuple[Callable[[Norm], oir.Value], ...] = (
    less_another_mean,
    mean_less_x,
    mean_square_of_x,
    root_mean_square,
    unbiased,
    epsilon_outside_the_root,
    epsilon_by_channel,
    doubles,
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("near_miss", OTHERS, ids=lambda f: f.__name__)
def test_what_is_no_layer_normalization_stays(near_miss: Callable[[Norm], oir.Value], seed: int) -> None:
    sketch = Norm(seed)
    assert "LayerNormalization" not in op_types(transformed(sketch, near_miss(sketch), rtol=RTOL))


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_over_other_axes_than_the_variance_stays(seed: int) -> None:
    sketch = Norm(seed)
    sketch.source, sketch.rank, sketch.axis = sketch.x(4, 5), 3, 2
    centred = sketch.less_mean(sketch.source)
    sketch.axis = 1
    y = sketch.over_root(centred, sketch.root(centred))
    assert "LayerNormalization" not in op_types(transformed(sketch, y, rtol=RTOL))


def test_a_scale_of_another_shape_is_not_taken_in() -> None:
    sketch = Norm(0)
    sketch.source, sketch.rank, sketch.axis = sketch.x(4, 5), 3, 2
    model = transformed(sketch, sketch.mixed("Mul", normalised(sketch), sketch.weight(4, 5)), rtol=RTOL)
    assert op_types(model) == {"LayerNormalization": 1, "Mul": 1}


def test_a_normalised_value_that_is_used_twice_is_kept() -> None:
    sketch = Norm(0)
    y = normalised(sketch)
    scaled = sketch.mixed("Mul", y, sketch.weight(*sketch.trailing))
    counts = op_types(transformed(sketch, scaled, sketch.same_type("Tanh", y), rtol=RTOL))
    assert counts == {"LayerNormalization": 1, "Mul": 1, "Tanh": 1}


def flax(s: Norm, scale: oir.Value, bias: oir.Value) -> oir.Value:
    """The fast variance, and the scale beside the root."""
    difference = s.same_type("Sub", s.mean(s.squared(s.source)), s.same_type("Mul", mean := s.mean(s.source), mean))
    variance = s.mixed("Max", difference, s.number(0))
    inverse = s.same_type("Reciprocal", s.same_type("Sqrt", s.mixed("Add", variance, s.number(s.epsilon))))
    return s.mixed("Add", s.mixed("Mul", s.less_mean(s.source), s.mixed("Mul", inverse, scale)), bias)


def keras(s: Norm, scale: oir.Value, bias: oir.Value) -> oir.Value:
    """Multiplied out."""
    inverse = s.mixed("Mul", s.same_type("Reciprocal", s.root(s.less_mean(s.source))), scale)
    less = s.mixed("Mul", s.same_type("Neg", s.mean(s.source)), inverse)
    return s.mixed("Add", s.mixed("Mul", s.source, inverse), s.mixed("Add", less, bias))


@pytest.mark.parametrize("written", [flax, keras], ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(6))
def test_as_frameworks_write_it(seed: int, written: Callable[[Norm, oir.Value, oir.Value], oir.Value]) -> None:
    sketch = Norm(seed)
    front = [1] * sketch.size(0, 2)
    scale = sketch.reshape(sketch.weight(*sketch.trailing), (*front, *sketch.trailing))
    bias = sketch.number(0.5) if sketch.coin() else sketch.weight(*front, *sketch.trailing)
    model = transformed(sketch, written(sketch, scale, bias), rtol=5 * RTOL)
    counts = op_types(model)
    assert counts.pop("LayerNormalization") == 1
    # The row of a named bias.
    assert set(counts) <= {"Reshape"}


def test_a_large_mean_costs_the_fast_variance_its_digits_but_not_the_op() -> None:
    x = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32) + 100
    exact = (x - x.mean(-1, keepdims=True, dtype=np.float64)) / np.sqrt(x.var(-1, keepdims=True, dtype=np.float64))

    def fast(x: jax.Array) -> jax.Array:
        mean = x.mean(-1)
        variance = jax.numpy.maximum(0.0, (x * x).mean(-1) - mean * mean)
        return (x - mean[:, None]) * lax.rsqrt(variance[:, None] + 1e-6)

    model = lower(fast, x)
    assert op_types(model) == {"LayerNormalization": 1}
    for optimized in (False, True):
        (found,) = run(model, x, optimized=optimized)
        assert np.abs(found - exact).max() <= 2 * np.abs(np.asarray(fast(x)) - exact).max()


def negative_variance(s: Norm) -> oir.Value:
    """Without the maximum, rounding gives NaN."""
    mean = s.mean(s.source)
    difference = s.same_type("Sub", s.mean(s.squared(s.source)), s.same_type("Mul", mean, mean))
    return s.over_root(s.less_mean(s.source), s.same_type("Sqrt", s.mixed("Add", difference, s.number(s.epsilon))))


def scale_by_row(s: Norm) -> oir.Value:
    root = s.same_type("Reciprocal", s.root(s.less_mean(s.source)))
    return s.mixed("Mul", s.less_mean(s.source), s.mixed("Mul", root, s.same_type("Tanh", s.source)))


def another_factor(s: Norm) -> oir.Value:
    inverse = s.same_type("Reciprocal", s.root(s.less_mean(s.source)))
    other = s.mixed("Mul", inverse, s.weight(*s.trailing))
    less = s.mixed("Mul", s.same_type("Neg", s.mean(s.source)), other)
    return s.mixed("Add", s.mixed("Mul", s.source, inverse), less)


@pytest.mark.parametrize("near_miss", [negative_variance, scale_by_row, another_factor], ids=lambda f: f.__name__)
def test_what_frameworks_do_not_write_stays(near_miss: Callable[[Norm], oir.Value]) -> None:
    for seed in range(3):
        sketch = Norm(seed)
        assert "LayerNormalization" not in op_types(transformed(sketch, near_miss(sketch), rtol=1e-4))


def test_as_jax_writes_it() -> None:
    rng = np.random.default_rng(0)
    x, scale, bias = rng.standard_normal((3, 4, 6), np.float32), *rng.standard_normal((2, 6), np.float32)

    def function(x: jax.Array) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * scale + bias

    def by_variance(x: jax.Array) -> jax.Array:
        return (x - x.mean(-1)[..., None]) / jax.numpy.sqrt(x.var(-1)[..., None] + 1e-5) * scale + bias

    for spelling in (function, by_variance):
        assert op_types(run_and_compare(spelling, x, rtol=RTOL)) == {"LayerNormalization": 1}


@pytest.mark.parametrize("dtype", [jax.numpy.float16, jax.numpy.bfloat16])
def test_short_floats_whose_means_jax_rounds(dtype: type) -> None:
    """Means of 16 bits are computed in float32 and rounded, each of them."""
    rng = np.random.default_rng(0)
    x, scale, bias = rng.standard_normal((3, 4, 6), np.float32), *rng.standard_normal((2, 6), np.float32)

    def function(x: jax.Array) -> jax.Array:
        x = x.astype(dtype)
        centred = x - x.mean(-1, keepdims=True)
        y = centred * lax.rsqrt(x.var(-1, keepdims=True) + dtype(1e-5)) * scale.astype(dtype) + bias.astype(dtype)
        return y.astype(np.float32)

    model = lower(function, x)
    assert set(op_types(model)) == {"Cast", "LayerNormalization"}
    for optimized in (False, True):
        (found,) = run(model, x, optimized=optimized)
        room = 4 * float(jax.numpy.finfo(dtype).eps)
        np.testing.assert_allclose(found, jax.jit(function)(x), rtol=room, atol=room)
