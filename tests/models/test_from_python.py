"""Python objects as models: what they compute, what their parts are called, and what is refused."""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from swift_export.errors import UsageError, WeightsError
from swift_export.formats.signature import TensorSpec
from swift_export.models.from_python import as_model
from swift_export.models.model import Model
from swift_export.models.outputs import symbolic
from swift_export.models.trace import scopes

sys.path.insert(0, str(Path(__file__).parent))
import nets
from nets import noise, tokens


def run(model: Model, *inputs: Any) -> dict[str, np.ndarray]:
    """What the model gives, after it was traced with unknown sizes as an export does."""
    export.export(jax.jit(model.forward))(dict(model.weights), *symbolic(model.inputs))
    given = jax.jit(model.forward)(dict(model.weights), *inputs)
    return {name: np.asarray(given[name]) for name in model.outputs}


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, 1e-5, 1e-6)


def test_an_equinox_module_over_a_batch() -> None:
    net = nets.transformer()
    model = as_model(eqx.filter_vmap(net), {"x": ("batch", "tokens", 3)})
    assert (model.name, model.provenance.kind, model.provenance.name) == ("Transformer", "python", "nets.Transformer")
    assert model.inputs == (TensorSpec("x", "float32", ("batch", "tokens", 3)),)
    assert {"embedding.weight", "blocks.1.mlp.layers.0.bias", "head.weight"} <= set(model.weights)
    assert all(isinstance(array, np.ndarray) for array in model.weights.values())
    x = noise(2, 5, 3)
    close(run(model, x)["output"], eqx.filter_jit(eqx.filter_vmap(eqx.nn.inference_mode(net)))(x))
    assert not net.dropout.inference


def test_an_equinox_module_with_state() -> None:
    net, state = nets.conv_net()
    batched = eqx.filter_vmap(net, in_axes=(0, None), out_axes=(0, None))
    model = as_model((batched, state), {"x": ("batch", 3, 6, 6)})
    assert model.outputs == ("output",)
    assert {"conv.weight", "norm.batch_state_index.0", "norm.batch_state_index.1"} <= set(model.weights)
    x = noise(2, 3, 6, 6)
    tested = eqx.nn.inference_mode(net)
    close(run(model, x)["output"], jax.jit(jax.vmap(lambda one: tested(one, state)[0]))(x))


def test_a_stateful_equinox_module_without_its_state_is_refused(refused) -> None:
    with refused("ConvNet", "norm", "(module, state)", error=UsageError):
        as_model(nets.conv_net()[0], {"x": (3, 6, 6)})


def test_an_nnx_decoder_stays_in_training_and_is_exported_in_evaluation() -> None:
    net = nets.decoder()
    before = [np.array(leaf) for leaf in jax.tree.leaves(nnx.state(net, nnx.Param, nnx.BatchStat))]
    model = as_model(net, {"tokens": (("batch", "length"), "int32")})
    assert {"embed.embedding", "layers.1.project.kernel", "norm.mean"} <= set(model.weights)
    assert not any("rngs" in name for name in model.weights)
    x = tokens(3, 5)
    found = run(model, x)["output"]
    after = jax.tree.leaves(nnx.state(net, nnx.Param, nnx.BatchStat))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert not net.dropout.deterministic
    tested = nnx.merge(*nnx.split(net))
    tested.eval()
    close(found, nnx.jit(tested)(x))


def test_a_linen_module_with_its_variables() -> None:
    net, variables = nets.linen_net()
    for model in (
        as_model((net, variables), {"x": ("batch", 6, 6, 3)}, call={"train": False}),
        as_model(net, {"x": ("batch", 6, 6, 3)}, weights=variables, call={"train": False}),
    ):
        assert {"params.Conv_0.kernel", "batch_stats.BatchNorm_0.mean"} <= set(model.weights)
        x = noise(2, 6, 6, 3)
        close(run(model, x)["logits"], jax.jit(lambda x: net.apply(variables, x, train=False))(x)["logits"])


def test_a_linen_module_without_variables_is_refused(refused) -> None:
    with refused("LinenNet", "weights=variables", error=UsageError):
        as_model(nets.LinenNet(), {"x": (1, 6, 6, 3)})


def test_a_plain_function_with_two_inputs_and_its_outputs() -> None:
    model = as_model(nets.three_outputs, {"x": ("batch", 4), "y": (4, "n")})
    assert (model.name, model.weights, model.unknown) == ("three_outputs", {}, ("batch", "n"))
    assert model.outputs == ("output_0", "output_1", "output_2.positive", "output_2.sum")
    x, y = noise(3, 4), noise(4, 2)
    found = run(model, x, y)
    close(found["output_0"], x @ y)
    assert np.array_equal(found["output_1"], x.argmax(1))
    assert np.array_equal(found["output_2.positive"], x > 0)


def test_a_function_with_weights() -> None:
    weights = nets.linear_weights()
    model = as_model(nets.linear, {"x": ("batch", 3)}, weights=weights, name="my-net", licence="MIT", citation="Me")
    assert (model.name, model.card.licence, model.card.citation) == ("my-net", "MIT", "Me")
    assert set(model.weights) == {"layer.w", "layer.b"}
    x = noise(2, 3)
    close(run(model, x)["output"], x @ weights["layer"]["w"] + weights["layer"]["b"])
    pair = as_model((nets.linear, weights), [("batch", 3)])
    assert pair.inputs[0].name == "x"
    assert pair.digest == model.digest


def test_haiku_s_convention_gives_no_random_key() -> None:
    def apply(params: Any, rng: Any, x: Any) -> Any:
        assert rng is None
        return x @ params["linear/~/inner"]["w"]

    weights = {"linear/~/inner": {"w": noise(3, 2)}}
    transformed = collections.namedtuple("Transformed", ["init", "apply"])(None, apply)
    for model in (
        as_model(apply, [("batch", 3)], weights=weights),
        as_model((apply, weights), [("batch", 3)]),
        as_model(transformed, [("batch", 3)], weights=weights),
        as_model((transformed, weights), [("batch", 3)]),
    ):
        assert set(model.weights) == {"linear.inner.w"}
        assert model.inputs[0].name == "x"
        close(run(model, noise(2, 3))["output"], noise(2, 3) @ weights["linear/~/inner"]["w"])


def test_a_model_is_given_back_as_it_is() -> None:
    model = as_model(jnp.sin, {"x": (3,)})
    assert as_model(model) is model


def test_a_swift_backbone_with_a_head_is_a_module(weights) -> None:
    from swift_export.models.swift.backbone.swift import SwiFT
    from swift_export.models.swift.places import place_names

    class Classifier(eqx.Module):
        backbone: SwiFT
        head: eqx.nn.Linear

        def __call__(self, bold: Any) -> Any:
            return jax.vmap(self.head)(self.backbone(bold).mean((2, 3, 4, 5)))

    backbone = SwiFT.from_weights(weights)
    shape = weights.config.input_shape()
    channels = jax.eval_shape(backbone, jax.ShapeDtypeStruct((1, *shape), jnp.float32)).shape[1]
    net = Classifier(backbone, eqx.nn.Linear(channels, 2, key=nets.KEY))
    model = as_model(net, {"bold": ("batch", *shape)})
    assert "backbone.stages.0.blocks.0.attention.qkv.weight" in model.weights
    places = scopes(model.forward, dict(model.weights), symbolic(model.inputs))
    expected = [f"backbone/{place}" for place in place_names(weights.config)]
    assert [place for place in places if place in expected] == expected
    assert places[-1] == "head"


@pytest.mark.parametrize(
    ("spec", "dtype", "dims"),
    [
        (("batch", 3), "float32", ("batch", 3)),
        (["batch", 3], "float32", ("batch", 3)),
        ((), "float32", ()),
        ((("batch", 3), jnp.bfloat16), "bfloat16", ("batch", 3)),
        ((("batch",), "int32"), "int32", ("batch",)),
        (" float16 [ batch , 3 ] ", "float16", ("batch", 3)),
        ("bool[]", "bool", ()),
        (jax.ShapeDtypeStruct((2, 3), np.int8), "int8", (2, 3)),
        (jax.ShapeDtypeStruct(export.symbolic_shape("b, 3"), np.float32), "float32", ("b", 3)),
        (np.zeros((2, 3)), "float32", (2, 3)),
        (np.zeros((2, 3), np.int64), "int32", (2, 3)),
        (jnp.zeros((2,), bool), "bool", (2,)),
    ],
)
def test_ways_to_say_what_an_input_is(spec, dtype, dims) -> None:
    model = as_model(lambda x: x + x, {"x": spec})
    assert model.inputs == (TensorSpec("x", dtype, dims),)
    found = model.check_inputs[-1].draw({"batch": 2, "b": 2})["x"]
    assert (str(found.dtype), found.shape) == (dtype, tuple(2 if isinstance(d, str) else d for d in dims))


def test_pytrees_of_inputs_have_path_names() -> None:
    def function(batch: Any, pair: Any) -> Any:
        return batch["image"].sum() + pair[0] + pair[1]["deep"]

    spec = {"batch": {"image": ("n", 3)}, "pair": ["float32[]", {"deep": "float32[]"}]}
    model = as_model(function, spec)
    assert [i.name for i in model.inputs] == ["batch.image", "pair.0", "pair.1.deep"]
    close(run(model, noise(2, 3), np.float32(1), np.float32(2))["output"], noise(2, 3).sum() + 3)


def test_inputs_by_name_reach_their_parameters_in_any_order() -> None:
    def function(x: Any, scale: Any = 1, *, shift: Any = 0) -> Any:
        return x * scale + shift

    model = as_model(function, {"shift": (), "x": ("n",)})
    close(run(model, np.float32(2), noise(3))["output"], noise(3) + 2)
    renamed = as_model(function, {"image": ("n",), "factor": ()})
    close(run(renamed, noise(3), np.float32(2))["output"], noise(3) * 2)


def test_outputs_are_named_by_fields_and_can_be_renamed() -> None:
    @dataclasses.dataclass
    class Result:
        logits: Any
        extra: Any

    Pair = collections.namedtuple("Pair", ["a", "b"])
    assert as_model(lambda x: Result(x, (x, x)), {"x": (3,)}).outputs == ("logits", "extra.0", "extra.1")
    assert as_model(lambda x: Pair(x, x), {"x": (3,)}).outputs == ("a", "b")
    assert as_model(lambda x: {"k": x, 0: x}["k"], {"x": (3,)}, outputs="y").outputs == ("y",)
    assert as_model(lambda x: (x, x), {"x": (3,)}, outputs=["p", "q"]).outputs == ("p", "q")
    assert as_model(lambda x: (x, x), {"x": (3,)}, outputs={"output_1": "q"}).outputs == ("output_0", "q")
    assert run(as_model(lambda x: (x, 2.5), {"x": (3,)}), noise(3))["output_1"] == 2.5


def test_examples_are_a_check_s_first_input_and_give_integers_their_range() -> None:
    ids = np.array([[3, 9, 4]], np.int32)
    model = as_model(
        lambda ids, x: ids + x, {"ids": ids, "x": noise(1, 3)}, dims={"ids": ("batch", None), "x": ("batch", None)}
    )
    example, random = model.check_inputs
    assert (example.name, random.name) == ("example", "random")
    assert model.unknown == ("batch",)
    assert np.array_equal(example.draw({"batch": 1})["ids"], ids)
    assert example.draw({"batch": 2})["x"].shape == (2, 3)
    drawn = random.draw({"batch": 50})["ids"]
    assert (drawn.min(), drawn.max()) == (3, 9)


def test_jit_around_a_module_changes_nothing() -> None:
    net = eqx.filter_vmap(nets.transformer())
    plain = as_model(net, {"x": ("batch", 5, 3)})
    model = as_model(jax.jit(net), {"x": ("batch", 5, 3)})
    assert (model.name, model.digest) == (plain.name, plain.digest)
    decoder = nets.decoder()
    assert as_model(nnx.jit(decoder), [((2, 5), jnp.int32)]).digest == as_model(decoder, {"t": tokens(2, 5)}).digest


def test_names_of_functions_methods_and_their_parameters() -> None:
    class Encoder(eqx.Module):
        layer: eqx.nn.Linear

        def encode(self, image: Any) -> Any:
            return self.layer(image)

    method = as_model(Encoder(nets.filled(lambda: eqx.nn.Linear(3, 2, key=nets.KEY))).encode, [(3,)])
    assert (method.name, method.inputs[0].name) == ("Encoder", "image")
    assert set(method.weights) == {"layer.weight", "layer.bias"}
    partial = as_model(functools.partial(nets.linear, nets.linear_weights()), [(3,)])
    assert (partial.name, partial.inputs[0].name) == ("linear", "x")
    for decorate in (eqx.filter_jit, eqx.filter_vmap, jax.jit):
        decorated = as_model(decorate(lambda w, x: w["w"] * x), [(3,)], weights={"w": noise(3)})
        assert (set(decorated.weights), decorated.inputs[0].name) == ({"w"}, "x")
    assert as_model(lambda x: x, [(3,)]).name == "model"
    assert set(as_model(lambda w, x: x @ w, [(3,)], weights=noise(3, 2)).weights) == {"weights"}


def test_weights_of_a_module_can_be_exchanged() -> None:
    net = nets.transformer()
    model = as_model(eqx.filter_vmap(net), {"x": ("batch", 5, 3)})
    other = {name: array + 1 for name, array in model.weights.items()}
    moved = as_model(eqx.filter_vmap(net), {"x": ("batch", 5, 3)}, weights=other)
    assert np.array_equal(moved.weights["head.bias"], model.weights["head.bias"] + 1)
    assert moved.weights.keys() == model.weights.keys()


def test_an_array_in_two_places_is_one_weight() -> None:
    class Tied(eqx.Module):
        embedding: eqx.nn.Linear
        head: eqx.nn.Linear

        def __call__(self, x: Any) -> Any:
            return self.head(self.embedding(x))

    layer = eqx.nn.Linear(3, 3, key=nets.KEY)
    model = as_model(Tied(layer, layer), {"x": (3,)})
    assert set(model.weights) == {"embedding.weight", "embedding.bias"}
    close(run(model, noise(3))["output"], layer(layer(noise(3))))


# One line each: what is wrong, what it is about, what the message tells.
FAULTS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...], type[Exception]]] = {
    "no model": (3, {"inputs": {"x": (3,)}}, ("model", "3"), UsageError),
    "a class": (nets.Transformer, {"inputs": {"x": (3,)}}, ("the class Transformer",), UsageError),
    "vmap around a module": (
        jax.vmap(nets.transformer()),
        {"inputs": {"x": ("b", 5, 3)}},
        ("around Transformer", "eqx.filter_vmap"),
        UsageError,
    ),
    "filter_jit around a module": (
        eqx.filter_jit(nets.transformer()),
        {"inputs": {"x": (5, 3)}},
        ("eqx.filter_jit", "the module itself"),
        UsageError,
    ),
    "no inputs": (jnp.sin, {}, ("inputs",), UsageError),
    "empty inputs": (jnp.sin, {"inputs": {}}, ("found none",), UsageError),
    "one shape": (jnp.sin, {"inputs": ("batch", 3)}, ("a dictionary by name or a list",), UsageError),
    "too many": (lambda x: x, {"inputs": [(3,), (3,)]}, ("found 2", "takes 1 (x)"), UsageError),
    "a number": (jnp.sin, {"inputs": {"x": 3}}, ("x", "shape"), UsageError),
    "a word": (jnp.sin, {"inputs": {"x": "batch"}}, ("x", "float32[batch,3,224,224]"), UsageError),
    "a type": (jnp.sin, {"inputs": {"x": "float33[3]"}}, ("x", "float33"), UsageError),
    "complex": (jnp.sin, {"inputs": {"x": "complex64[3]"}}, ("x", "complex64"), UsageError),
    "64 bits": (jnp.sin, {"inputs": {"x": "float64[3]"}}, ("x", "float64", "jax_enable_x64"), UsageError),
    "a dimension": (jnp.sin, {"inputs": {"x": ("2*b", 3)}}, ("x", "'2*b'"), UsageError),
    "a dimension of JAX": (jnp.sin, {"inputs": {"x": ("max", 3)}}, ("x", "'max'"), UsageError),
    "no dimension": (jnp.sin, {"inputs": {"x": (None, 3)}}, ("x", "without a name"), UsageError),
    "zero": (jnp.sin, {"inputs": {"x": (0, 3)}}, ("x", "dimension of 0"), UsageError),
    "dims of none": (jnp.sin, {"inputs": {"x": (3,)}, "dims": {"y": ("b",)}}, ("dims", "y"), UsageError),
    "too few dims": (jnp.sin, {"inputs": {"x": (3, 4)}, "dims": {"x": ("b",)}}, ("dims of x", "2 names"), UsageError),
    "other dims": (jnp.sin, {"inputs": {"x": (3, 4)}, "dims": {"x": ("b", 5)}}, ("dims of x", "5", "4"), UsageError),
    "an empty name": (jnp.sin, {"inputs": {"": (3,)}}, ("inputs", "''"), UsageError),
    "a name": (jnp.sin, {"inputs": {"an input": (3,)}}, ("inputs", "'an input'"), UsageError),
    "a keyword": (jnp.sin, {"inputs": {"class": (3,)}}, ("inputs", "class"), UsageError),
    "case": (lambda x, y: x + y, {"inputs": {"x": (3,), "X": (3,)}}, ("x from X",), UsageError),
    "input twice": (lambda x, y: x, {"inputs": {"x.0": (3,), "x": [(3,)]}}, ("x.0", "twice"), UsageError),
    "an output as input": (lambda x: {"x": x}, {"inputs": {"x": (3,)}}, ("x (inputs and outputs)",), UsageError),
    "a weight as input": (
        lambda w, x: x,
        {"inputs": {"w": (3,)}, "weights": {"w": noise(3)}},
        ("w", "weights"),
        UsageError,
    ),
    "an output's name": (lambda x: {"a b": x}, {"inputs": {"x": (3,)}}, ("outputs", "'a b'"), UsageError),
    "outputs twice": (
        lambda x: (x, x),
        {"inputs": {"x": (3,)}, "outputs": "yy"[:1]},
        ("expected 2 names (output_0, output_1), found 1",),
        UsageError,
    ),
    "equal outputs": (lambda x: (x, x), {"inputs": {"x": (3,)}, "outputs": ["y", "y"]}, ("y", "twice"), UsageError),
    "unknown output": (jnp.sin, {"inputs": {"x": (3,)}, "outputs": {"z": "y"}}, ("z", "some of output"), UsageError),
    "a model's name": (jnp.sin, {"inputs": {"x": (3,)}, "name": "a/b"}, ("name", "'a/b'"), UsageError),
    "a text returned": (lambda x: {"y": "text"}, {"inputs": {"x": (3,)}}, ("y", "str"), UsageError),
    "nothing returned": (lambda x: None, {"inputs": {"x": (3,)}}, ("returned nothing",), UsageError),
    "shapes": (nets.three_outputs, {"inputs": {"x": (3, 4), "y": (5, 2)}}, ("TypeError", "nets.py, line"), UsageError),
    "truth": (lambda x: x if x.sum() > 0 else -x, {"inputs": {"x": (3,)}}, ("TracerBoolConversionError",), UsageError),
    "a size": (lambda x: x.reshape(2, -1), {"inputs": {"x": ("n",)}}, ("x float32[n]",), UsageError),
    "weights of text": (nets.linear, {"inputs": {"x": (3,)}, "weights": {"w": "text"}}, ("w", "str"), WeightsError),
    "weights missing": (
        nets.linear,
        {"inputs": {"x": (3,)}, "weights": {"layer": {"w": noise(3, 2)}}},
        ("KeyError", "'b'", "nets.py, line"),
        UsageError,
    ),
    "weights of other shapes": (
        nets.linear,
        {"inputs": {"x": (3,)}, "weights": {"layer": {"w": noise(4, 2), "b": noise(2)}}},
        ("TypeError", "nets.py, line"),
        UsageError,
    ),
    "weights of another module": (
        eqx.nn.Linear(3, 2, key=nets.KEY),
        {"inputs": {"x": (3,)}, "weights": {"weight": noise(2, 4), "other": noise(2)}},
        ("missing bias", "unexpected other", "weight (2, 4) for (2, 3)"),
        WeightsError,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused(fault, refused) -> None:
    thing, options, told, error = FAULTS[fault]
    with refused(*told, error=error):
        as_model(thing, **options)
