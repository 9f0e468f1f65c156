"""TensorFlow: TF32 where the SavedModel leaves it open, and nowhere else."""

from __future__ import annotations

import pytest

from swift_export.errors import UsageError
from swift_export.runtimes.registry import RUNTIMES

pytestmark = pytest.mark.requires("savedmodel")


@pytest.fixture
def adapter():
    import tensorflow as tf

    yield RUNTIMES["tensorflow"].adapter()
    tf.config.experimental.enable_tensor_float_32_execution(False)


def save(path):
    """A product of TensorFlow's own, as another exporter would write it."""
    import tensorflow as tf

    module = tf.Module()
    module.forward = tf.function(
        lambda bold: {"features": tf.matmul(bold, bold, transpose_b=True)},
        input_signature=[tf.TensorSpec((None, 3), tf.float32, name="bold")],
        autograph=False,
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.forward})
    return path


def test_stablehlo_in_a_savedmodel_is_not_computed_in_tf32(adapter, toys):
    # Said, for TensorFlow would take the switch and XLA would not look at it.
    with pytest.raises(UsageError, match=r"^--precision tf32: savedmodel/1 contains StableHLO, which states"):
        adapter.load(toys.artifact("savedmodel"), "cpu", "tf32")


@pytest.mark.parametrize(("precision", "switch"), [("tf32", "on"), ("float32", "off")])
def test_tf32_is_switched_as_asked(adapter, tmp_path, precision, switch):
    info = adapter.load(save(tmp_path / "1"), "cpu", precision).info

    assert (info.arithmetic, info.settings["TF32"]) == (precision, switch)
