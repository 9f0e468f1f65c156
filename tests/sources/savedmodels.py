"""SavedModels as jax2tf's users write them: TensorFlow before, between and behind what JAX computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
from jax.experimental import jax2tf

__all__ = ["classifier", "loop", "plain", "save", "two_calls"]

rng = np.random.default_rng(0)
WEIGHTS = {"w": rng.standard_normal((12, 5), np.float32), "b": rng.standard_normal(5, np.float32)}


def converted(function: Any, *shapes: str | None, **options: Any) -> Any:
    return jax2tf.convert(function, polymorphic_shapes=list(shapes), with_gradient=False, **options)


def save(folder: Path, function: Any, variables: Any = (), **signatures: Any) -> Path:
    """A SavedModel of a ``tf.function`` as serving_default, or of several by name."""
    module = tf.Module()
    module.variables_ = variables
    module.function = function
    module.others = signatures
    tf.saved_model.save(module, folder, signatures=signatures or function)
    return folder


def classifier(folder: Path) -> Path:
    """Pixels are scaled by TensorFlow, the network is JAX's with tf.Variables, class and probabilities TensorFlow's."""
    network = converted(
        lambda p, x: jnp.tanh(x) @ p["w"] + p["b"], None, "(b, 12)", native_serialization_platforms=None
    )
    variables = {name: tf.Variable(value, name=name) for name, value in WEIGHTS.items()}

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 4, 3], tf.uint8, name="image")])
    def serve(image: Any) -> dict[str, Any]:
        pixels = tf.reshape(tf.cast(image, tf.float32) / 255.0 - 0.5, [-1, 12])
        probabilities = tf.nn.softmax(network(variables, pixels))
        return {"probabilities": probabilities, "label": tf.argmax(probabilities, -1, output_type=tf.int32)}

    return save(folder, serve, list(variables.values()))


def two_calls(folder: Path, platforms: tuple[str, ...] | None = None) -> Path:
    """Two modules in one graph, the second with two inputs of one unknown size; two signatures and none the default."""
    first = converted(lambda x: x * 2 + 1, "(b, 3)", native_serialization_platforms=platforms)
    second = converted(lambda x, y: x * 2 - y, "(b, 3)", "(b, 3)", native_serialization_platforms=platforms)
    spec = tf.TensorSpec([None, 3], tf.float32, name="x")

    @tf.function(autograph=False, input_signature=[spec])
    def both(x: Any) -> dict[str, Any]:
        y = first(x)
        return {"sum": second(y, tf.nn.relu(x)) + y}

    @tf.function(autograph=False, input_signature=[spec])
    def one(x: Any) -> dict[str, Any]:
        return {"one": first(x)}

    return save(folder, both, both=both, one=one)


def loop(folder: Path) -> Path:
    """A loop inside JAX's part, whose body sees a value from outside; TensorFlow uses what it gives."""

    def function(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 5, lambda i, y: y * 0.5 + x, x)

    inner = converted(function, "(b, 3)")

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": tf.exp(inner(x))}

    return save(folder, serve)


def plain(folder: Path, operator: Any) -> Path:
    """JAX's part, and then a TensorFlow operator of the caller's choice."""
    inner = converted(lambda x: x + 1, "(b, 3)")

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": operator(inner(x))}

    return save(folder, serve)
