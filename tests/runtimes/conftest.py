"""One small function, saved in every format by its own framework: what an adapter has to cope with, and no more."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from swift_export.runtimes._blocked import block_imports

SHAPE = (2, 4, 6, 4, 3)

#: The adapters that compute on a CPU, but for the reference's, where what they need is here.
DYNAMIC = (
    "jax_export",
    "portable",
    pytest.param("iree", marks=pytest.mark.requires("iree")),
    pytest.param("tensorflow", marks=pytest.mark.requires("savedmodel")),
    pytest.param("tensorflow_c", marks=pytest.mark.requires("savedmodel", "cc")),
    "onnxruntime",
    pytest.param("openvino", marks=pytest.mark.requires("openvino")),
)


if "openvino_telemetry" not in sys.modules:
    # As in a worker's process: importing openvino would report its use.
    block_imports(["openvino_telemetry"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" in metafunc.fixturenames:
        metafunc.parametrize("runtime", DYNAMIC)


class Toys:
    """Artifacts by the kind that a runtime reads, written when first asked for; ``fixed`` takes a batch of one only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.artifact = cache(self._write)
        self.session = cache(self._load)

    def path(self, name: str) -> Path:
        """The artifact that the runtime of that name reads."""
        from swift_export.runtimes.registry import RUNTIMES

        return self.artifact(*RUNTIMES[name].reads)

    def _write(self, kind: str) -> Path:
        return {
            "jax": lambda: _stablehlo(self._folder / "model.jax", "batch", ("cpu", "cuda")),
            "stablehlo": lambda: _stablehlo(self._folder / "model.mlir.bc", "batch", ("cpu",)),
            "fixed": lambda: _stablehlo(self._folder / "model.b1.mlir.bc", "1", ("cpu",)),
            "savedmodel": lambda: _savedmodel(self._folder / "savedmodel" / "1"),
            "onnx": lambda: _onnx(self._folder / "model.onnx"),
        }[kind]()

    def _load(self, name: str):
        from swift_export.runtimes.registry import RUNTIMES

        return RUNTIMES[name].adapter().load(self.path(name), "cpu")

    def clips(self, batch: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal((batch, *SHAPE), dtype=np.float32)

    def expected(self, bold: np.ndarray) -> dict[str, np.ndarray]:
        """What every artifact computes, in float64."""
        wide = bold.astype(np.float64)
        return {"features": np.einsum("bchwdt,bchwdu->btu", wide, wide), "stage0": np.tanh(wide)}


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    return Toys(tmp_path_factory.mktemp("toys"))


def _forward(bold):
    import jax.numpy as jnp
    from jax import lax

    features = jnp.einsum("bchwdt,bchwdu->btu", bold, bold, precision=lax.Precision.HIGHEST)
    return {"features": features, "stage0": jnp.tanh(bold)}


def _stablehlo(path: Path, batch: str, platforms: tuple[str, ...]) -> Path:
    import jax
    from jax import export

    shape = export.symbolic_shape(f"{batch}, {', '.join(map(str, SHAPE))}")
    exported = export.export(jax.jit(_forward), platforms=platforms)(jax.ShapeDtypeStruct(shape, "float32"))
    path.write_bytes(exported.serialize() if path.suffix == ".jax" else exported.mlir_module_serialized)
    return path


def _savedmodel(path: Path) -> Path:
    import tensorflow as tf
    from jax.experimental import jax2tf

    module = tf.Module()
    module.forward = tf.function(
        jax2tf.convert(_forward, polymorphic_shapes=["(batch, ...)"], with_gradient=False),
        input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32, name="bold")],
        autograph=False,
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.forward})
    return path


def _onnx(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, *shape: int | str):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("Einsum", ["bold", "bold"], ["features"], equation="bchwdt,bchwdu->btu"),
            helper.make_node("Tanh", ["bold"], ["stage0"]),
        ],
        "toy",
        [value("bold", "batch", *SHAPE)],
        [value("features", "batch", SHAPE[-1], SHAPE[-1]), value("stage0", "batch", *SHAPE)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path
