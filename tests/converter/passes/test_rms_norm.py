"""Quotients by the root mean square become RMSNormalization, from opset 23 on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import op_types, transformed
from norm_graphs import Norm

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare

#: A mean of at most 36 squares, summed in another order.
RTOL = 1e-6
#: ONNX Runtime's own op.
FUSED = "SimplifiedLayerNormalization"


@pytest.mark.parametrize("scaled", ["", "result", "root"])
@pytest.mark.parametrize("seed", range(12))
def test_the_root_mean_square(seed: int, scaled: str) -> None:
    sketch = Norm(seed, opset=23)
    x, root = sketch.source, sketch.root(sketch.source)
    if scaled == "root":
        inverse = sketch.same_type("Reciprocal", root)
        y = sketch.mixed("Mul", x, sketch.mixed("Mul", inverse, sketch.weight(*sketch.trailing)))
    else:
        y = sketch.over_root(x, root)
        y = sketch.mixed("Mul", y, sketch.weight(*sketch.trailing)) if scaled else y
    model = transformed(sketch, y, rtol=RTOL)
    assert op_types(model) == {"RMSNormalization": 1}
    (node,) = model.graph
    assert node.attributes["axis"].as_int() == sketch.axis - sketch.rank
    np.testing.assert_allclose(node.attributes["epsilon"].as_float(), sketch.epsilon, rtol=1e-6)


def epsilon_outside_the_root(s: Norm) -> oir.Value:
    root = s.same_type("Sqrt", s.mean(s.squared(s.source)))
    return s.over_root(s.source, s.mixed("Add", root, s.number(s.epsilon)))


def epsilon_inside_the_mean(s: Norm) -> oir.Value:
    square = s.mixed("Add", s.squared(s.source), s.weight(*s.trailing))
    return s.over_root(s.source, s.same_type("Sqrt", s.mean(square)))


def no_epsilon(s: Norm) -> oir.Value:
    return s.over_root(s.source, s.same_type("Sqrt", s.mean(s.squared(s.source))))


def root_of_another(s: Norm) -> oir.Value:
    return s.over_root(s.source, s.root(s.same_type("Tanh", s.source)))


def cubes(s: Norm) -> oir.Value:
    power = s.same_type("Abs", s.same_type("Pow", s.source, s.number(3)))
    return s.over_root(s.source, s.same_type("Sqrt", s.mixed("Add", s.mean(power), s.number(s.epsilon))))


def sums(s: Norm) -> oir.Value:
    total = s.reduced("ReduceSum", s.squared(s.source), range(s.axis, s.rank))
    return s.over_root(s.source, s.same_type("Sqrt", s.mixed("Add", total, s.number(s.epsilon))))


def doubles(s: Norm) -> oir.Value:
    x = s.cast(s.source, oir.DataType.DOUBLE)
    mean, small = s.mean(s.same_type("Mul", x, x)), s.constant(np.asarray(s.epsilon))
    return s.over_root(x, s.same_type("Sqrt", s.mixed("Add", mean, small)))


def root_over_x(s: Norm) -> oir.Value:
    return s.same_type("Div", s.root(s.source), s.source)


OTHERS: tuple[Callable[[Norm], oir.Value], ...] = (
    epsilon_outside_the_root,
    epsilon_inside_the_mean,
    no_epsilon,
    root_of_another,
    cubes,
    sums,
    doubles,
    root_over_x,
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("near_miss", OTHERS, ids=lambda f: f.__name__)
def test_other_quotients_stay(near_miss: Callable[[Norm], oir.Value], seed: int) -> None:
    sketch = Norm(seed, opset=23)
    assert "RMSNormalization" not in op_types(transformed(sketch, near_miss(sketch), rtol=RTOL))


def test_a_mean_over_another_axis_stays() -> None:
    sketch = Norm(2, opset=23)
    sketch.source, sketch.rank, sketch.axis = sketch.x(4, 5), 2, 1
    y = sketch.over_root(sketch.source, sketch.root(sketch.source))
    assert "RMSNormalization" not in op_types(transformed(sketch, y, rtol=RTOL))


def test_a_scale_of_another_shape_stays_outside() -> None:
    sketch = Norm(0, opset=23)
    sketch.source, sketch.rank, sketch.axis = sketch.x(4, 5), 3, 2
    y = sketch.over_root(sketch.source, sketch.root(sketch.source))
    counts = op_types(transformed(sketch, sketch.mixed("Mul", y, sketch.weight(4, 5)), rtol=RTOL))
    assert counts == {"RMSNormalization": 1, "Mul": 1}


def test_a_quotient_that_is_used_twice_keeps_its_scale_outside() -> None:
    sketch = Norm(0, opset=23)
    y = sketch.over_root(sketch.source, sketch.root(sketch.source))
    counts = op_types(transformed(sketch, sketch.mixed("Mul", y, sketch.weight(*sketch.trailing)), y, rtol=RTOL))
    assert counts == {"RMSNormalization": 1, "Mul": 1}


@pytest.mark.parametrize("opset", [18, 20, 22])
def test_it_needs_its_opset(opset: int) -> None:
    sketch = Norm(0, opset=opset)
    model = transformed(sketch, sketch.over_root(sketch.source, sketch.root(sketch.source)), rtol=RTOL)
    assert "RMSNormalization" not in op_types(model)


def test_before_its_opset_it_is_written_as_runtimes_fuse_it(tmp_path: Path) -> None:
    sketch = Norm(0, opset=20)
    sketch.source, sketch.rank, sketch.axis = sketch.x(3, 5), 3, 2
    inverse = sketch.same_type("Reciprocal", sketch.root(sketch.source))
    y = sketch.mixed("Mul", sketch.source, sketch.mixed("Mul", inverse, sketch.weight(5)))
    model = transformed(sketch, y, rtol=RTOL)
    assert [node.op_type for node in model.graph] == ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    onnxruntime.InferenceSession(oir.to_proto(model).SerializeToString(), options)
    assert [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node] == [FUSED]


def test_as_equinox_and_flax_write_it() -> None:
    scale = np.random.default_rng(0).standard_normal(6, np.float32)
    x = np.random.default_rng(1).standard_normal((3, 5, 6), np.float32)

    def equinox(x: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5) * scale

    def flax(x: jax.Array) -> jax.Array:
        return x * (jax.lax.rsqrt(jax.lax.square(x).mean(-1)[..., None] + 1e-6) * scale)

    for function in (equinox, flax):
        model = run_and_compare(function, x, rtol=RTOL, opset=23)
        assert op_types(model) == {"RMSNormalization": 1}
        assert model.ir_version == 11
