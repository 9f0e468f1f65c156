"""How ``tensorflow.mlir`` and ``tensorflow.npz`` were made, with tensorflow-cpu 2.21.0:

    python make_tensorflow.py

TensorFlow computes the outputs by its own kernels; its bridge to XLA lowers the same function to StableHLO. Locations
are left out: they hold paths of the machine.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).parent
rng = np.random.default_rng(0)
W, V = rng.standard_normal((4, 6), np.float32), rng.standard_normal((6, 3), np.float32)


def network(x: tf.Tensor, ids: tf.Tensor) -> dict[str, tf.Tensor]:
    """Rows (2, 4) and places (5,) of them to probabilities, classes, an integer sum and picked rows."""
    y = tf.nn.gelu(x @ tf.constant(W))
    probabilities = tf.nn.softmax((y - tf.reduce_mean(y, -1, keepdims=True)) @ tf.constant(V))
    return {
        "label": tf.argmax(probabilities, -1, output_type=tf.int32),
        "picked": tf.gather(x, ids % 2),
        "probabilities": probabilities,
        "running": tf.cumsum(ids) // 3,
    }


def main() -> None:
    """Write both files."""
    x, ids = rng.standard_normal((2, 4), np.float32), np.array([3, -7, 2, 0, 9], np.int32)
    compiled = tf.function(network, jit_compile=True, autograph=False)
    text = compiled.experimental_get_compiler_ir(tf.constant(x), tf.constant(ids))(stage="stablehlo")
    text = re.sub(r" loc\((?:#loc\d*|unknown|fused\[[^\]]*\]|\"[^\"]*\")\)", "", text)
    (FOLDER / "tensorflow.mlir").write_text(re.sub(r"^#loc.*\n", "", text, flags=re.MULTILINE))
    outputs = network(tf.constant(x), tf.constant(ids))
    np.savez_compressed(
        FOLDER / "tensorflow.npz",
        input0=x,
        input1=ids,
        **{f"output{i}": outputs[name].numpy() for i, name in enumerate(sorted(outputs))},
    )


if __name__ == "__main__":
    main()
