"""Networks in Keras on JAX."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

from _bench_converter.networks.case import Case, filled, noise, tokens

__all__ = ["keras_mobilenet", "keras_transformer"]


def _case(model: keras.Model, *arguments: np.ndarray) -> Case:
    weights = {weight.path: weight for weight in model.weights}
    for path, value in filled({path: weight.value for path, weight in weights.items()}).items():
        weights[path].assign(value)
    return Case(lambda *given: model(given[0] if len(given) == 1 else list(given), training=False), arguments)


def keras_mobilenet() -> Case:
    """Keras's own MobileNetV2."""
    keras.utils.set_random_seed(0)
    return _case(keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=100), noise(1, 96, 96, 3))


def keras_transformer() -> Case:
    """A classifier of text by four blocks."""
    keras.utils.set_random_seed(0)
    length, width = 96, 256
    words = keras.Input((length,), dtype="int32")
    places = keras.ops.arange(length)[None]
    x = keras.layers.Embedding(4096, width)(words) + keras.layers.Embedding(length, width)(places)
    for _ in range(4):
        y = keras.layers.MultiHeadAttention(4, width // 4)(x, x)
        x = keras.layers.LayerNormalization(epsilon=1e-6)(x + keras.layers.Dropout(0.1)(y))
        y = keras.layers.Dense(width)(keras.layers.Dense(4 * width, activation="gelu")(x))
        x = keras.layers.LayerNormalization(epsilon=1e-6)(x + keras.layers.Dropout(0.1)(y))
    x = keras.layers.GlobalAveragePooling1D()(x)
    return _case(keras.Model(words, keras.layers.Dense(5, activation="softmax")(x)), tokens(4096, 1, length))
