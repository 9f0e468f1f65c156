"""Products with erf or tanh become Gelu, whatever their spelling; nothing else does."""

from __future__ import annotations

import math
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
from graphs import Sketch, op_types, run, transformed

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import lower, run_and_compare

#: ONNX Runtime approximates erf and tanh in its Gelu as in its Erf and Tanh, to some roundings of numbers near 1.
RTOL = 1e-6

SPELLINGS = ("erf", "tanh, x * x * x", "tanh, power", "tanh, square times x", "tanh, factored")


class Activation(Sketch):
    """Activations of a drawn input; what they hold can be bent for near misses."""

    def __init__(self, seed: int, opset: int = 20) -> None:
        super().__init__(seed, opset)
        self.source = self.x(*(self.size() for _ in range(self.size(1, 4))))
        if self.coin():
            # A product itself: the factors of the argument are not those of the activation.
            self.source = self.mixed("Mul", self.source, self.weight(*map(int, self.shape(self.source)[1:])))
        self.half, self.one, self.root, self.cubic = 0.5, 1.0, math.sqrt(0.5), 0.044715

    def times(self, a: oir.Value, b: oir.Value | float) -> oir.Value:
        return self.mixed("Mul", a, b if isinstance(b, oir.Value) else self.number(b))

    def plus(self, a: oir.Value, b: oir.Value | float) -> oir.Value:
        return self.mixed("Add", a, b if isinstance(b, oir.Value) else self.number(b))

    def function(self, spelling: str, x: oir.Value) -> oir.Value:
        """erf(x / sqrt(2)), or the tanh in its place."""
        if spelling == "erf":
            over = self.coin()
            scaled = self.same_type("Div", x, self.number(1 / self.root)) if over else self.times(x, self.root)
            return self.same_type("Erf", scaled)
        slope = self.root * 2 / math.sqrt(math.pi)
        if spelling == "tanh, factored":
            inner = self.plus(self.times(self.times(x, x), self.cubic), 1.0)
            return self.same_type("Tanh", self.times(self.times(x, slope), inner))
        if spelling == "tanh, power":
            cube = self.times(self.same_type("Pow", x, self.number(3)), self.cubic)
        elif spelling == "tanh, square times x":
            cube = self.times(self.times(self.same_type("Pow", x, self.number(2)), x), self.cubic)
        else:
            cube = self.times(self.times(self.times(x, self.cubic), x), x)
        return self.same_type("Tanh", self.times(self.plus(x, cube), slope))

    def gelu(self, spelling: str, argument: oir.Value | None = None) -> oir.Value:
        x = self.source
        factors = [self.number(self.half), x, self.plus(self.function(spelling, argument or x), self.one)]
        first, second, third = (factors[i] for i in self.draw.permutation(3))
        return self.times(self.times(first, second), third)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_gelu(spelling: str, seed: int) -> None:
    sketch = Activation(seed)
    model = transformed(sketch, sketch.gelu(spelling), rtol=RTOL)
    assert op_types(model)["Gelu"] == 1
    assert set(op_types(model)) <= {"Gelu", "Mul"}
    (node,) = (node for node in model.graph if node.op_type == "Gelu")
    assert node.attributes["approximate"].as_string() == ("none" if spelling == "erf" else "tanh")


BENT: dict[str, Callable[[Activation], None]] = {
    "half": lambda s: setattr(s, "half", 0.4),
    "one": lambda s: setattr(s, "one", 1.1),
    "root": lambda s: setattr(s, "root", 0.7071),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("bent", BENT)
def test_other_constants_stay(bent: str, spelling: str, seed: int) -> None:
    sketch = Activation(seed)
    BENT[bent](sketch)
    assert "Gelu" not in op_types(transformed(sketch, sketch.gelu(spelling), rtol=RTOL))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spelling", SPELLINGS[1:])
def test_other_cubes_stay(spelling: str, seed: int) -> None:
    sketch = Activation(seed)
    sketch.cubic = 0.0447
    assert "Gelu" not in op_types(transformed(sketch, sketch.gelu(spelling), rtol=RTOL))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_argument_stays(spelling: str, seed: int) -> None:
    sketch = Activation(seed)
    shifted = sketch.plus(sketch.source, 0.5)
    assert "Gelu" not in op_types(transformed(sketch, sketch.gelu(spelling, shifted), rtol=RTOL))


def test_a_difference_stays() -> None:
    sketch = Activation(0)
    difference = sketch.same_type("Sub", sketch.number(1), sketch.function("erf", sketch.source))
    y = sketch.times(sketch.times(difference, sketch.source), 0.5)
    assert "Gelu" not in op_types(transformed(sketch, y, rtol=RTOL))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_gelu_needs_its_opset(spelling: str) -> None:
    sketch = Activation(0, opset=19)
    assert "Gelu" not in op_types(transformed(sketch, sketch.gelu(spelling), rtol=RTOL))


def test_as_jax_flax_and_equinox_write_it() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5), np.float32) * 3

    def by_hand(x: jax.Array) -> jax.Array:
        return x * (1 + lax.erf(x / jnp.sqrt(2.0))) / 2

    def exact(x: jax.Array) -> jax.Array:
        return x * (0.5 * (lax.erf(np.float32(0.5**0.5) * x) + 1))

    for function in (jax.nn.gelu, by_hand, exact):
        assert op_types(run_and_compare(function, x, rtol=2e-6)) == {"Gelu": 1}


ROOT = np.float32(0.5**0.5)


def test_the_complement_of_erf_in_any_order() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5), np.float32) * 3
    # Where 1 + erf has no digits left, and beyond.
    x[0] = [-4, -6, -9, -40, -300]
    spellings: tuple[Callable[[jax.Array], jax.Array], ...] = (
        lambda x: jax.nn.gelu(x, approximate=False),
        lambda x: x * (lax.erfc(-x / jnp.sqrt(2.0)) / 2),
        lambda x: 0.5 * (lax.erfc(-(ROOT * x)) * x),
    )
    for function in spellings:
        assert op_types(run_and_compare(function, x, rtol=2e-6)) == {"Gelu": 1}
    older = op_types(run_and_compare(spellings[0], x, rtol=2e-6, opset=19))
    assert older == {"Add": 1, "Erf": 1, "Mul": 3}


def test_other_complements_keep_their_digits() -> None:
    x = np.linspace(-9, 9, 60, dtype=np.float32)[None]
    others: tuple[Callable[[jax.Array], jax.Array], ...] = (
        lambda x: 0.5 * x * lax.erfc(x * ROOT),
        lambda x: 0.4 * x * lax.erfc(-x * ROOT),
        lambda x: 0.5 * x * lax.erfc(-x * np.float32(0.7)),
        lambda x: 0.5 * (x + 1) * lax.erfc(-x * ROOT),
        lambda x: 0.5 * lax.erfc(-x * ROOT),
    )
    model = lower(lambda x: [f(x) for f in others], x)
    assert "Gelu" not in op_types(model)
    for optimized in (False, True):
        for found, wanted in zip(run(model, x, optimized=optimized), (jax.jit(f)(x) for f in others), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_complement_of_erf_between_conversions(dtype: type) -> None:
    """JAX writes out erfc of 16 bits in float32."""
    x = np.random.default_rng(0).standard_normal((3, 5), np.float32) * 3

    def gelu(x: jax.Array) -> jax.Array:
        return jax.nn.gelu(x.astype(dtype), approximate=False).astype(jnp.float32)

    assert op_types(lower(gelu, x)).keys() == {"Cast", "Gelu"}
    for opset in (19, 20):
        model = lower(gelu, x, opset=opset)
        for optimized in (False, True):
            (found,) = run(model, x, optimized=optimized)
            np.testing.assert_allclose(found, jax.jit(gelu)(x), rtol=4 * float(jnp.finfo(dtype).eps), atol=1e-2)
