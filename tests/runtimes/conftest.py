"""One small function, saved in every format by its own framework: what an adapter has to cope with, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

SHAPE = (2, 4, 6, 4, 3)


@dataclass(frozen=True)
class Toys:
    """Artifacts by the name of their runtime; ``fixed`` is portable bytecode for a batch of one."""

    paths: dict[str, Path]
    fixed: Path

    def clips(self, batch: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal((batch, *SHAPE), dtype=np.float32)

    def expected(self, bold: np.ndarray) -> dict[str, np.ndarray]:
        """What every artifact computes, in float64."""
        wide = bold.astype(np.float64)
        return {"features": np.einsum("bchwdt,bchwdu->btu", wide, wide), "stage0": np.tanh(wide)}


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    folder = tmp_path_factory.mktemp("toys")
    paths = {
        "jax_export": _stablehlo(folder / "model.jax", "batch", ("cpu", "cuda")),
        "portable": _stablehlo(folder / "model.mlir.bc", "batch", ("cpu",)),
        "tensorflow": _savedmodel(folder / "1"),
        "onnxruntime": _onnx(folder / "model.onnx"),
    }
    return Toys(paths, _stablehlo(folder / "model.b1.mlir.bc", "1", ("cpu",)))


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
