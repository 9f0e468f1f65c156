"""Served without this project's adapters, each runtime itself refuses what the file does not take.

One thing no file can make jax refuse: it turns float64 into float32, as for any function, before the export sees it.
"""

from __future__ import annotations

import numpy as np
import pytest

from swift_export.models.swift.check_inputs import noise

WRONG = {
    "unbatched": lambda bold: bold[0],
    "channels last": lambda bold: np.moveaxis(bold, 1, -1),
    "time first": lambda bold: np.moveaxis(bold, -1, 2),
    "frames": lambda bold: bold[..., :-1],
    "volume": lambda bold: bold[:, :, 1:],
    "int16": lambda bold: bold.astype(np.int16),
    "float64": lambda bold: bold.astype(np.float64),
}


@pytest.fixture(scope="module")
def bold(weights):
    return noise(weights.config, 1)


@pytest.mark.parametrize("wrong", WRONG)
def test_onnx_runtime_refuses(staged, bold, wrong):
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

    session = onnxruntime.InferenceSession(staged / "onnx/model.onnx", providers=["CPUExecutionProvider"])

    with pytest.raises(InvalidArgument, match=r"bold|Unexpected input data type"):
        session.run(None, {"bold": WRONG[wrong](bold)})


@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "float64"])
def test_jax_refuses(staged, bold, wrong):
    from jax import export

    exported = export.deserialize(bytearray((staged / "stablehlo/model.jax").read_bytes()))

    with pytest.raises((ValueError, TypeError), match=r"\.shape|Rank mismatch|aval|expected"):
        exported.call(WRONG[wrong](bold))


@pytest.mark.requires("savedmodel")
def test_tensorflow_refuses(weights, write, bold, tmp_path):
    import tensorflow as tf

    write(weights, tmp_path, "savedmodel")
    serve = tf.saved_model.load(str(tmp_path / "savedmodel/1")).signatures["serving_default"]

    assert serve(bold=tf.constant(bold))["features"].shape[0] == 1
    for wrong in WRONG.values():
        with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
            serve(bold=tf.constant(wrong(bold)))
