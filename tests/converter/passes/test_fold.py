"""Constants are computed at export: to the bit, and never so that the file swells."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx_ir as oir
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

from swift_export.converter.passes.fold import FREE_BYTES, fold_constants

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare

#: ONNX Runtime's CPU rounds to float16 only once a whole chain is computed, so it cannot be compared with there.
TYPES = (np.float32, np.float64, np.int64, np.int32)


class Constants(Sketch):
    """Drawn chains of ops on drawn constants."""

    def array(self, *shape: int) -> oir.Value:
        values = self.draw.standard_normal(shape) * 100
        return self.constant(values.astype(self.dtype))

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.dtype = TYPES[seed % len(TYPES)]

    def step(self, x: oir.Value) -> oir.Value:
        """One more op that can be folded."""
        shape = tuple(map(int, self.shape(x)))
        rank = len(shape)
        axis = int(self.draw.integers(rank))
        floating = np.dtype(self.dtype).kind == "f"

        def moved() -> oir.Value:
            return self.transpose(x, [int(a) for a in self.draw.permutation(rank)])

        def flattened() -> oir.Value:
            return self.reshape(x, (int(np.prod(shape)),))

        def longer() -> oir.Value:
            other = self.array(*shape)
            joined = (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
            return self.typed("Concat", [x, other], joined, axis=axis)

        def shorter() -> oir.Value:
            return self.sliced(x, 0, max(1, shape[axis] - 1), axis)

        def piece() -> oir.Value:
            return self.split(x, [1, shape[axis] - 1], axis)[1] if shape[axis] > 1 else x

        def arithmetic() -> oir.Value:
            op_type = self.draw.choice(["Add", "Sub", "Mul", *(["Div"] if floating else [])])
            return self.same_type(str(op_type), x, self.array(*shape[axis:]))

        def alone() -> oir.Value:
            return self.same_type(str(self.draw.choice(["Neg", "Abs", *(["Floor", "Ceil"] if floating else [])])), x)

        def chosen() -> oir.Value:
            other = self.array(*shape)
            less = self.node("Less", [x, other], oir.DataType.BOOL, shape)
            return self.node("Where", [less, x, other], x.dtype, shape)

        steps = (moved, flattened, longer, shorter, piece, arithmetic, alone, chosen)
        return steps[int(self.draw.integers(len(steps)))]()


@pytest.mark.parametrize("seed", range(40))
def test_chains_of_constants_are_computed_to_the_bit(seed: int) -> None:
    sketch = Constants(seed)
    value = sketch.array(*(sketch.size() for _ in range(sketch.size(1, 4))))
    for _ in range(sketch.size(3, 9)):
        value = sketch.step(value)
    x = sketch.cast(sketch.x(1), value.dtype)
    flat = sketch.reshape(value, (1, int(np.prod(sketch.shape(value)))))
    model = transformed(sketch, sketch.same_type("Mul", x, flat), rtol=0)
    assert set(op_types(model)) <= {"Cast", "Mul"}


def swelling(s: Sketch) -> oir.Value:
    """Larger than both its operands and than what is free."""
    column = s.constant(s.draw.standard_normal((200, 1), np.float32))
    return s.same_type("Add", column, s.constant(s.draw.standard_normal((1, 200), np.float32)))


def repeated(s: Sketch) -> oir.Value:
    return s.expand(s.number(3.0), (2, 3))


def named(s: Sketch) -> oir.Value:
    return s.transpose(s.weight(3, 2), [1, 0])


def drawn_by_the_runtime(s: Sketch) -> oir.Value:
    value = s.expand(s.number(0), (2, 3))
    return s.typed("RandomUniformLike", [value], (2, 3), seed=1.0)


def rounded_as_the_runtime_likes(s: Sketch) -> oir.Value:
    return s.same_type("Exp", s.constant(s.draw.standard_normal((2, 3), np.float32)))


def summed_in_any_order(s: Sketch) -> oir.Value:
    return s.reduced("ReduceSum", s.constant(s.draw.standard_normal((2, 3), np.float32)), [1])


OTHERS = (swelling, repeated, named, drawn_by_the_runtime, rounded_as_the_runtime_likes, summed_in_any_order)


@pytest.mark.parametrize("near_miss", OTHERS, ids=lambda f: f.__name__)
def test_what_must_be_computed_when_the_graph_runs_is(near_miss: Callable[[Sketch], oir.Value]) -> None:
    sketch = Sketch(0)
    value = near_miss(sketch)
    op_type = value.producer().op_type
    model = transformed(sketch, sketch.same_type("Max", value, sketch.number(0.5)), rtol=0)
    assert op_type in op_types(model)


def test_a_larger_result_may_take_the_place_of_constants_that_go() -> None:
    large = np.arange(FREE_BYTES // 2, dtype=np.float32)

    def folded(*, shared: bool) -> bool:
        sketch = Sketch(0)
        x, constant = sketch.x(1), sketch.constant(large)
        outputs = [sketch.same_type("Mul", x, sketch.same_type("Neg", constant))]
        if shared:
            outputs.append(sketch.same_type("Add", x, constant))
        return "Neg" not in op_types(transformed(sketch, *outputs, rtol=0))

    assert folded(shared=False)
    assert not folded(shared=True)


def test_stored_matrices_wait_for_gemm() -> None:
    sketch = Sketch(0)
    matrix = sketch.constant(sketch.draw.standard_normal((4, 3), np.float32))
    y = sketch.matmul(sketch.x(3), sketch.transpose(matrix, [1, 0]))
    assert op_types(transformed(sketch, sketch.typed("Tanh", [y], sketch.shape(y)), rtol=1e-6)) == {
        "Gemm": 1,
        "Tanh": 1,
    }


def test_an_output_that_is_constant_keeps_its_node() -> None:
    sketch = Sketch(0)
    model = transformed(sketch, sketch.same_type("Neg", sketch.constant(np.ones(3, np.float32))), rtol=0)
    assert op_types(model) == {"Neg": 1}


def test_the_pass_says_how_many_nodes_it_folded() -> None:
    sketch = Sketch(0)
    constant = sketch.constant(np.ones((2, 3), np.float32))
    y = sketch.same_type("Mul", sketch.x(2, known=True), sketch.transpose(constant, [1, 0]))
    graph = sketch.graph(sketch.inputs, {"y": y})
    assert fold_constants(graph) == 1
    assert fold_constants(graph) == 0


def test_moves_and_widening_of_short_floats() -> None:
    """Variances of a batch normalisation, with axes of size 1 beside the channels."""
    for dtype in (ml_dtypes.bfloat16, np.float16):
        variance = np.array([0.5, 2.0, 4.0]).astype(dtype)
        counts = op_types(
            run_and_compare(
                lambda x, v=variance: x * lax.rsqrt(jnp.asarray(v)[None, :, None].astype(jnp.float32)),
                np.ones((2, 3, 4), np.float32),
            )
        )
        assert counts == {"Mul": 1}


def test_maxima_and_conversions_on_which_runtimes_agree() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    special = np.array([np.nan, -0.0, 1e10, 3.7], np.float32)
    counts = op_types(
        run_and_compare(
            lambda x: x + (jnp.maximum(lax.iota(jnp.float32, 4) - 1.5, 0).astype(jnp.int32) // 2).astype(jnp.float32), x
        )
    )
    assert counts == {"Add": 1}
    run_and_compare(
        lambda x: (x + jnp.maximum(special, 0.0), x.astype(jnp.int32) + jnp.asarray(special).astype(jnp.int32)), x
    )
