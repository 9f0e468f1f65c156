"""Exports SwiFT, as usually written in Equinox, with jax2onnx at its best settings."""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
from _plain_swift import PlainSwiFT
from jax2onnx import to_onnx

from swift_export.models.swift.weights import load_weights


def main() -> None:
    """``--weights BUNDLE --output FOLDER``; writes ``onnx/model.onnx``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    weights = load_weights(options.weights)
    # The batch is fixed: a symbolic one gives the tiny model 788 nodes instead of 223, mostly shape arithmetic.
    model = to_onnx(
        PlainSwiFT(weights.config, weights.tensors),
        [(1, *weights.config.input_shape())],
        normalization_mode="prefer_native",
        input_names=["bold"],
        output_names=["features"],
    )
    path = options.output / "onnx" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


if __name__ == "__main__":
    main()
