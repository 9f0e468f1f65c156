"""Groups of ops take the layout of the convolutions around them: one transpose at each end, and the same numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest
from jax import lax

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, op_types, transformed

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare

DRAW = np.random.default_rng(0)


def weight(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(shape).standard_normal(shape) / 4, jnp.float32)


def conv(x: jax.Array, outside: int, size: int = 3, **settings: object) -> jax.Array:
    rank = x.ndim - 2
    names = ("NHWC"[: rank + 1] + "C", "HWIO"[:rank] + "IO", "NHWC"[: rank + 1] + "C") if rank < 3 else (
        "NHWDC", "HWDIO", "NHWDC")  # fmt: skip
    kernel = weight(*[size] * rank, x.shape[-1] // int(settings.get("feature_group_count", 1)), outside)  # type: ignore[call-overload]
    settings = {"window_strides": [1] * rank, "padding": "SAME", "dimension_numbers": names, **settings}
    return lax.conv_general_dilated(x, kernel, **settings)  # type: ignore[arg-type]


def pool(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def residual(x: jax.Array) -> jax.Array:
    y = jax.nn.relu(conv(x, 4) + weight(4))
    z = jax.nn.relu(conv(conv(y, 4) * weight(4), 4, feature_group_count=4) - weight(4) + y)
    return conv(pool(z), 3).mean((1, 2))


def joined(x: jax.Array) -> jax.Array:
    y = jnp.pad(jax.nn.relu(conv(x, 4)), [(0, 0), (1, 2), (0, 0), (0, 0)])
    z = jnp.concatenate([y[:, :-3], conv(x, 2), jnp.ones((*x.shape[:3], 1))], axis=-1)
    a, b = jnp.split(z[:, ::2], [3], axis=3)
    return conv(a, 4) * jnp.tanh(conv(b, 1)).max(3, keepdims=True)


def gated(x: jax.Array) -> jax.Array:
    y = jnp.tanh(conv(x, 4))
    gate = jnp.tanh(conv(y.mean((1, 2), keepdims=True), 4, 1))
    return conv(jnp.where(y > 0.1, y * gate, weight(1, 6, 1, 1)), 2)


NETWORKS: dict[str, tuple[Callable[[jax.Array], jax.Array], tuple[int, ...], int]] = {
    "residual": (residual, (2, 6, 6, 3), 1),
    "joined": (joined, (2, 6, 6, 3), 2),
    "gated": (gated, (2, 6, 6, 3), 2),
    "one axis": (lambda x: conv(jnp.tanh(conv(x, 4) + weight(5, 4)) * weight(4), 2), (2, 5, 3), 2),
    "three axes": (lambda x: conv(jnp.tanh(conv(x, 4, 2)) + weight(4), 2, 2), (2, 3, 4, 5, 3), 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_transposes_are_at_the_ends(name: str) -> None:
    network, shape, most = NETWORKS[name]
    model = run_and_compare(network, DRAW.standard_normal(shape).astype(np.float32), rtol=3e-6)
    assert op_types(model).get("Transpose", 0) == most


def test_what_other_layouts_read_costs_no_more_than_before() -> None:
    """Between products over the channels, as in ConvNeXt, a group stays as it is."""

    def block(x: jax.Array) -> jax.Array:
        return x + jnp.tanh(conv(x, 4, feature_group_count=4) @ weight(4, 6)) @ weight(6, 4)

    x = DRAW.standard_normal((2, 6, 6, 4)).astype(np.float32)
    assert op_types(run_and_compare(lambda x: block(block(x)), x, rtol=3e-6))["Transpose"] == 4


def test_what_follows_a_product_per_column_stays_with_it() -> None:
    """Biases and scales of layers, at the end of a ConvNeXt: the products' weights take them in."""

    def block(x: jax.Array, units: int) -> jax.Array:
        y = jnp.tanh(conv(x, 4, feature_group_count=4) @ weight(4, units) + weight(units))
        return x + (y @ weight(units, 4) + weight(4)) * weight(1, 4)

    x = DRAW.standard_normal((2, 6, 6, 3)).astype(np.float32)
    model = run_and_compare(lambda x: block(block(conv(x, 4, 2) + weight(4), 5), 6).mean((1, 2)), x, rtol=3e-6)
    assert not {"BatchNormalization", "Mul"} & set(op_types(model))


class Images(Sketch):
    """A drawn graph of ops of any layout between transposes and convolutions of one pixel."""

    def image(self) -> oir.Value:
        x = self.x(3, 4, 2) if self.coin() else self.transpose(self.x(2, 3, 4), [0, 2, 3, 1])
        return self.convolved(x) if self.coin() else x

    def convolved(self, x: oir.Value) -> oir.Value:
        before = self.transpose(x, [0, 3, 1, 2])
        return self.transpose(self.typed("Conv", [before, self.weight(2, 2, 1, 1)], self.shape(before)), [0, 2, 3, 1])

    def layered(self, values: list[oir.Value]) -> oir.Value:
        x, y = (values[int(self.draw.integers(len(values)))] for _ in range(2))
        kind = int(self.draw.integers(8))
        if kind == 0:
            return self.convolved(x)
        if kind <= 2:
            return self.mixed("Add", x, y)
        if kind == 3:
            return self.mixed("Mul", x, self.weight(*((2,), (4, 1), (1, 3, 4, 2), ())[int(self.draw.integers(4))]))
        if kind == 4:
            return self.same_type("Sub", x, self.reduced("ReduceMean", y, [(1, 2), (3,), (1,)][self.draw.integers(3)]))
        if kind == 5:
            cut = self.sliced(x, 1, 3, 2)
            return self.typed("Concat", [cut, self.sliced(y, 0, 2, 2)], self.shape(x), axis=2)
        if kind == 6:
            return self.mixed("Add", x, self.reshape(self.x(2), (self.shape(x)[0], 1, 1, 2)))
        return self.same_type("Tanh", x)


@pytest.mark.parametrize("seed", range(25))
def test_drawn_graphs_keep_their_numbers(seed: int) -> None:
    sketch = Images(seed)
    values = [sketch.image(), sketch.image()]
    for _ in range(9):
        values.append(sketch.layered(values))
    before = sum(node.op_type == "Transpose" for node in sketch.nodes)
    outputs = [sketch.same_type("Tanh", values[-1]), sketch.convolved(values[-2])]
    counts = op_types(transformed(sketch, *outputs, rtol=3e-6))
    assert counts.get("Transpose", 0) <= before + 2


def test_gates_and_rotations_take_the_order_of_the_rows() -> None:
    """As Equinox writes them: layers of single rows under vmap, heads in front for the rotation and behind it."""
    up, gate, down = weight(6, 8).T, weight(8, 6), weight(6, 8)
    angles = np.outer(np.arange(5), [1, 0.5]).astype(np.float32)
    cos, sin = (jnp.concatenate([f(angles), f(angles)], axis=-1) for f in (jnp.cos, jnp.sin))

    def rotated(head: jax.Array) -> jax.Array:
        return head * cos + jnp.concatenate([-head[:, 2:], head[:, :2]], axis=-1) * sin

    def block(x: jax.Array) -> jax.Array:
        y = jax.vmap(lambda row: down @ (jax.nn.silu(gate @ row) * (up @ row)))(x)
        heads = (x @ weight(6, 12)).reshape(5, 3, 4)
        turned = jax.vmap(rotated, in_axes=1, out_axes=1)(heads).reshape(5, 12)
        return jnp.concatenate([y, turned], axis=-1)

    x = DRAW.standard_normal((2, 5, 6)).astype(np.float32)
    counts = op_types(run_and_compare(jax.vmap(block), x, rtol=3e-6, symbolic=None))
    assert "Transpose" not in counts
    assert counts["Gemm"] == 3
