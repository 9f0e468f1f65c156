"""ONNX files keep a model's names of weights, inputs, outputs, sizes and layers."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as oir
import pytest
from flax import linen
from jax import export

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))
from compare import run

#: The order in which jax hands over a dictionary is that of its keys.
WEIGHTS = {
    "constant_0": np.linspace(-1, 1, 6, dtype=np.float16).reshape(2, 3),
    "constant_1": np.ones(3, ml_dtypes.bfloat16),
    "head.bias": np.asarray([1, 2, 3], np.int8),
    "head/mask": np.asarray([True, False, True]),
    "offsets": np.asarray([3, 0, 4], np.int32),
    "scale": np.asarray(3, np.int64),
    "table": np.arange(4, dtype=np.uint8),
}


def two(weights, tokens, x):
    rows = weights["offsets"] + 1
    y = (x @ weights["constant_0"].astype(jnp.float32) + weights["constant_1"].astype(jnp.float32)) * rows
    y = jnp.where(weights["head/mask"], y, weights["head.bias"].astype(jnp.float32)) * weights["scale"]
    return {"a.b/c-d": y, "élan vital": tokens + weights["table"].astype(jnp.int32)}


def module(function, *arguments, **options) -> bytes:
    with jax.enable_x64(True):
        exported = export.export(jax.jit(function, keep_unused=True), platforms=["cpu"], **options)(*arguments)
    return exported.mlir_module_serialized


def converted(**options) -> oir.Model:
    batch, length = export.symbolic_shape("batch, length")
    tokens, x = jax.ShapeDtypeStruct((length, 4), jnp.int32), jax.ShapeDtypeStruct((batch, 2), jnp.float32)
    names = [*WEIGHTS, "token ids", "x.0"]
    dims = {"token ids": ["length", None], "x.0": ["batch", None]}
    return stablehlo_to_onnx(
        module(two, WEIGHTS, tokens, x),
        **{"constants": WEIGHTS, "argument_names": names, "dim_names": dims, **options},
    )


@pytest.mark.parametrize("target", ["portable", "onnxruntime"])
def test_weights_of_every_type_keep_their_names(target: str) -> None:
    model = converted(target=target)
    onnx.checker.check_model(oir.to_proto(model), full_check=True)
    initializers = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    for name, array in WEIGHTS.items():
        assert initializers[name].dtype == array.dtype, name
        assert initializers[name].tobytes() == array.tobytes(), name
    assert not {"constant_0", "constant_1"} & {str(v.name) for node in model.graph for v in node.outputs}


def test_inputs_outputs_and_their_sizes_have_the_names_that_are_given() -> None:
    model = converted()
    ends = [(v.name, [d if isinstance(d, int) else d.value for d in v.shape]) for v in model.graph.inputs]
    ends += [(v.name, [d if isinstance(d, int) else d.value for d in v.shape]) for v in model.graph.outputs]
    assert ends == [
        ("token ids", ["length", 4]),
        ("x.0", ["batch", 2]),
        ("a.b/c-d", ["batch", 3]),
        ("élan vital", ["length", 4]),
    ]
    rng = np.random.default_rng(0)
    tokens, x = rng.integers(0, 9, (5, 4), dtype=np.int32), rng.standard_normal((3, 2), np.float32)
    with jax.enable_x64(True):
        expected = two(WEIGHTS, tokens, x)
    for found, right in zip(run(model, tokens, x), expected.values(), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"result_names": ["scale", "y"]}, "result names: scale are names of constants too"),
        ({"result_names": ["x.0", "y"]}, r"result names: x\.0 are names of inputs too"),
        ({"dim_names": {"z": ["batch"]}}, "dimension names: the module has no argument z"),
        ({"dim_names": {"x.0": ["batch"]}}, r"dimension names: x\.0 has 2 axes, found names for 1"),
    ],
)
def test_names_that_cannot_be_are_refused(options, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        converted(**options)


class Block(linen.Module):
    @linen.compact
    def __call__(self, x):
        return x + linen.gelu(linen.Dense(4)(linen.LayerNorm()(x)))


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = Block(name="first")(x)
        x = Block(name="second")(x)
        return linen.Dense(2, name="head")(x.mean(axis=1)), jnp.argmax(x, axis=-1)


def test_the_modules_of_flax_name_the_values_that_they_give() -> None:
    """A scope's last floating-point tensor, of whatever rank: attention to those of three alone would lose the head."""
    x = np.random.default_rng(1).standard_normal((3, 5, 4)).astype(np.float32)
    net = Net()
    variables = net.init(jax.random.key(0), x)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    names = [".".join(key.key for key in path) for path, _ in leaves]
    model = stablehlo_to_onnx(
        module(net.apply, variables, jax.ShapeDtypeStruct(x.shape, x.dtype)),
        constants={name: np.asarray(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)},
        argument_names=[*names, "x"],
        result_names=["logits", "best"],
    )
    assert {str(name) for name in names} <= set(model.graph.initializers)
    values = {str(v.name): v for node in model.graph for v in node.outputs}
    for place in ("Net/first", "Net/first/Dense_0", "Net/first/LayerNorm_0", "Net/second/Dense_0"):
        assert values[place].dtype == oir.DataType.FLOAT, place
        assert list(values[place].shape) == [3, 5, 4], place
    _, state = net.apply(variables, x, capture_intermediates=True)
    for place, right in (("Net/first", state["intermediates"]["first"]["__call__"][0]),):
        seen = values[place]
        model.graph.outputs.append(seen)
        np.testing.assert_allclose(run(model, x)[-1], right, rtol=1e-5, atol=1e-6)
