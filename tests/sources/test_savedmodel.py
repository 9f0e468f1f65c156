"""SavedModels with TensorFlow around StableHLO: converted, checked in TensorFlow, and tf2onnx left as it was."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import swift_export
from swift_export.converter import tf2onnx_handlers
from swift_export.errors import CheckFailed, LoweringError, UsageError
from swift_export.sources import SourceError

pytestmark = [
    pytest.mark.requires("savedmodel"),
    # tf2onnx and TensorFlow use what NumPy and Python have announced to drop.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def models() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).parent))
    import savedmodels

    return savedmodels


@pytest.fixture(scope="module")
def classifier(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def two_calls(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.two_calls(tmp_path_factory.mktemp("two"))


def state() -> tuple[Any, ...]:
    """tf2onnx's globals that a conversion touches."""
    # Everything that registers handlers when it is imported.
    import tf2onnx.convert  # noqa: F401
    from tf2onnx import handler, tf_loader, tf_utils, utils

    registry = handler.tf_op
    return copy.copy(
        (
            set(tf_utils.TF_IGNORED_NODE_ATTRS),
            {domain: [dict(handlers) for handlers in versions] for domain, versions in registry._OPSETS.items()},
            registry._MAPPING,
            registry._DOMAIN_MAPPING,
            dict(tf_loader._FUNCTIONS),
            utils.INTERNAL_NAME,
            logging.getLogger("tf2onnx").level,
        )
    )


def test_tensorflow_before_and_behind(classifier: Path, models: ModuleType, tmp_path: Path) -> None:
    """Compared with TensorFlow unasked; held here against the formula itself."""
    before = state()
    done = swift_export.convert(classifier, tmp_path / "out.onnx", dim_names={"image": ["batch", None, None]})
    assert state() == before
    assert done.source == "SavedModel"
    assert done.inputs == ("image uint8 (batch, 4, 3)",)
    assert [spec.split(" (")[0] for spec in done.outputs] == ["label int32", "probabilities float32"]
    assert done.report
    assert {tuple(c.sizes.items()) for c in done.report.compared} == {(("batch", 2),), (("batch", 3),)}
    image = np.random.default_rng(1).integers(0, 256, (7, 4, 3), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    label, probabilities = session.run(["label", "probabilities"], {"image": image})
    scores = np.tanh(image.reshape(7, 12) / 255.0 - 0.5) @ models.WEIGHTS["w"] + models.WEIGHTS["b"]
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(label, expected.argmax(-1))
    model = onnx.load(tmp_path / "out.onnx")
    assert model.producer_name == "swift-export"
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 20}
    assert str(classifier).encode() not in model.SerializeToString()


def test_two_modules_in_one_graph(two_calls: Path, tmp_path: Path) -> None:
    done = swift_export.convert(two_calls, tmp_path / "both.onnx", signature="both", opset=18)
    assert done.opset == 18
    x = np.arange(-6, 6, dtype=np.float32).reshape(4, 3)
    (found,) = onnxruntime.InferenceSession(tmp_path / "both.onnx").run(["sum"], {"x": x})
    y = x * 2 + 1
    np.testing.assert_allclose(found, y * 2 - np.maximum(x, 0) + y)
    assert (
        swift_export.convert(two_calls, tmp_path / "one.onnx", signature="one", check=False)
        .outputs[0]
        .startswith("one ")
    )


def test_a_loop_is_carried_over_with_its_body(models: ModuleType, tmp_path: Path) -> None:
    swift_export.convert(models.loop(tmp_path / "saved"), tmp_path / "out.onnx")
    assert "Loop" in {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}


def test_tf2onnxs_own_functions_take_the_handlers(models: ModuleType, tmp_path: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    inner = models.converted(lambda x, y: x @ y, "(b, 3)", None)
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)

    @tf.function(autograph=False)
    def serve(x: Any) -> Any:
        return tf.nn.relu(inner(x - 1.0, tf.constant(weights)))

    before = state()
    with tf2onnx_handlers() as handlers:
        signature = [tf.TensorSpec([None, 3], tf.float32, name="x")]
        model, _ = tf2onnx.convert.from_function(serve, signature, opset=18, custom_op_handlers=handlers)
        assert state() != before
    assert state() == before
    x = np.random.default_rng(0).standard_normal((5, 3), np.float32)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(found, np.maximum((x - 1) @ weights, 0), atol=1e-6)


def test_what_cannot_be_converted_is_refused_and_leaves_no_trace(models: ModuleType, tmp_path: Path) -> None:
    """A TensorFlow operator without a rule; a StableHLO op without one; and tf2onnx is as it was after both."""
    import jax
    import tensorflow as tf

    from_tensorflow = models.plain(tmp_path / "a", tf.math.lgamma)
    unknown = models.converted(lambda x: jax.lax.linalg.schur(x[:, :, None] * x[:, None])[0], "(b, 3)")
    from_jax = models.plain(tmp_path / "b", unknown)
    turned = models.converted(lambda x: x * 1j, "(b, 3)")
    of_pairs = models.plain(tmp_path / "c", lambda x: tf.math.real(turned(x)))
    before = state()
    for source, words in (
        (from_tensorflow, "TensorFlow's operator Lgamma"),
        (from_jax, "stablehlo.custom_call at"),
        (of_pairs, "expected real tensors around the module, found complex ones"),
    ):
        with pytest.raises(LoweringError, match=words) as refused:
            swift_export.convert(source, tmp_path / "out.onnx")
        assert str(refused.value).startswith(str(source))
        assert "\n" not in str(refused.value)
        assert state() == before
    assert not (tmp_path / "out.onnx").exists()


def test_what_tf2onnx_gets_wrong_is_not_written(models: ModuleType, tmp_path: Path) -> None:
    """It makes ``c * y + (1 - c) * nan`` of ``where(c, y, nan)``: found because SavedModels are checked by default."""
    import tensorflow as tf

    source = models.plain(tmp_path / "saved", lambda x: tf.where(x > 0, x, float("nan") * tf.ones_like(x)))
    with pytest.raises(CheckFailed, match=r"differs from TensorFlow .*: output y at x_dim0=2: .* elements differ"):
        swift_export.convert(source, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--signature: expected one of both, one; the SavedModel has no serving_default"),
        ({"signature": "three"}, "--signature three: expected one of both, one"),
        ({"signature": "one", "platform": "cpu"}, "--platform: expected a module or a jax.export file"),
    ],
)
def test_options_that_do_not_fit(two_calls: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        swift_export.convert(two_calls, tmp_path / "out.onnx", **options)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "expected a SavedModel, found a damaged saved_model.pb"),
        (lambda data: data.replace(b"ML\xefR", b"ML\xef\x00"), "found a damaged or truncated one"),
    ],
)
def test_damaged_savedmodels(
    two_calls: Path, tmp_path: Path, damage: Callable[[bytes], bytes], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(damage((two_calls / "saved_model.pb").read_bytes()))
    capfd.readouterr()
    with pytest.raises(SourceError, match=words):
        swift_export.convert(tmp_path / "saved", tmp_path / "out.onnx", signature="one")
    assert capfd.readouterr().out == ""
    assert not (tmp_path / "out.onnx").exists()


#: Operators for which tf2onnx leaves out optional operands, computes axes from constants, or gives no shape.
AROUND: dict[str, Callable[[Any, Any], Any]] = {
    "a slice": lambda tf, y: tf.slice(y, [0, 1], [-1, 1]) + y[:, :1] * y[:, 2:],
    "one of the batch": lambda tf, y: y[1:] + y[..., :1][:1],
    "a computed slice": lambda tf, y: tf.slice(y, [0, tf.argmax(y[0], output_type=tf.int32) * 0], [-1, 2]),
    "axes of constants": lambda tf, y: (
        tf.reduce_max(tf.expand_dims(y[:, 1:], 1), 1) + tf.reduce_mean(y[:, 1:], 1)[:, None]
    ),
    "a convolution": lambda tf, y: tf.nn.conv1d(y[:, :, None], tf.ones([2, 1, 4]), 1, "SAME"),
    "a branch": lambda tf, y: tf.cond(tf.reduce_sum(y) > 0, lambda: y[:, :2], lambda: -y[:, :2]),
    "a loop": lambda tf, y: tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 2 + v[:, :1]), (0, y))[1],
}


@pytest.mark.parametrize("name", AROUND)
def test_operators_that_tf2onnx_writes_in_short(name: str, models: ModuleType, tmp_path: Path) -> None:
    """Compared with TensorFlow by the conversion itself."""
    import tensorflow as tf

    folder = models.plain(tmp_path / "saved", lambda y: AROUND[name](tf, y))
    done = swift_export.convert(folder, tmp_path / "out.onnx")
    assert done.report is not None
    assert not done.report.failures


def test_any_number_of_axes_is_one_clear_error(models: ModuleType, tmp_path: Path) -> None:
    import tensorflow as tf

    folder = models.plain(tmp_path / "saved", lambda y: tf.squeeze(y[:1, :1]) + y)
    with pytest.raises(LoweringError, match=r"tf2onnx's operator Squeeze \(node .*\): expected a result with a known"):
        swift_export.convert(folder, tmp_path / "out.onnx")
