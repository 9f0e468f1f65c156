"""Values are reduced before they are moved, along all axes at once; moves that reductions cut across stay."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import op_types, transformed
from test_moves import Moved

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare


@pytest.mark.parametrize("seed", range(30))
def test_drawn_moves(seed: int) -> None:
    sketch = Moved(seed)
    x = y = sketch.start(known=sketch.coin())
    for _ in range(sketch.size(1, 4)):
        y = sketch.moved(y)
    shape = sketch.shape(y)
    axes = [axis for axis in range(len(shape)) if sketch.coin() and axis > 0]
    kind = str(sketch.draw.choice(["ReduceMean", "ReduceSum"]))
    left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    if axes and isinstance(shape[0], int) == isinstance(sketch.shape(x)[0], int):
        y = sketch.typed(kind, [y, sketch.integers(axes)], left, keepdims=0)
    transformed(sketch, sketch.same_type("Tanh", y), rtol=2e-6)


def test_means_of_means_and_of_moved_axes() -> None:
    def adaptive(x: jax.Array) -> jax.Array:
        """One axis after the other, moved to the end."""
        for axis in (1, 2):
            x = jnp.moveaxis(jnp.moveaxis(x, axis + 1, 3)[..., None, :].mean(-1), 3, axis + 1)
        return x.reshape(x.shape[0], -1)

    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32)
    assert op_types(run_and_compare(adaptive, x, rtol=2e-6)) == {"ReduceMean": 1}


def test_what_is_cut_across_stays() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 4), np.float32)
    counts = op_types(run_and_compare(lambda x: x.transpose(0, 2, 1).reshape(-1, 8, 3).sum(1), x, rtol=2e-6))
    assert counts == {"Transpose": 1, "Reshape": 1, "ReduceSum": 1}
