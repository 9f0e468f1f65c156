"""Whole networks against JAX, at batch sizes that the export never saw."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime
import pytest
from jax import export

from swift_export.converter import stablehlo_to_onnx

sys.path.insert(0, str(Path(__file__).parent))
import equinox_networks
import flax_networks

NETWORKS = {
    f"{framework} {name}": make
    for framework, networks in (("equinox", equinox_networks.NETWORKS), ("flax", flax_networks.NETWORKS))
    for name, make in networks.items()
}

TOLERANCE = 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_in_onnx_what_it_computes_in_jax(name: str) -> None:
    assert max(errors(name)) <= TOLERANCE


def errors(name: str) -> list[float]:
    """Relative L2 of every result at every batch size; integers are equal, or it is infinite."""
    network, example = NETWORKS[name]()
    session = _session(network, example)
    rng = np.random.default_rng(7)
    given = np.stack([_other(example, rng) for _ in range(5)])
    # No example of a batch knows of the others: JAX's answers for five serve smaller batches too.
    expected = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(network)(given))]
    return [
        _error(ours, theirs[:batch])
        for batch in (1, 2, 5)
        for ours, theirs in zip(session.run(None, {"x": given[:batch]}), expected, strict=True)
    ]


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape or not np.isfinite(ours).all():
        return np.inf
    if theirs.dtype.kind != "f":
        return 0.0 if np.array_equal(ours, theirs) else np.inf
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def _session(network: Callable[..., Any], example: np.ndarray) -> onnxruntime.InferenceSession:
    shape = export.symbolic_shape(f"batch, {', '.join(map(str, example.shape))}")
    with jax.default_matmul_precision("highest"):
        exported = export.export(jax.jit(network), platforms=["cpu"])(jax.ShapeDtypeStruct(shape, example.dtype))
    model = stablehlo_to_onnx(
        exported.mlir_module_serialized, argument_names=["x"], dim_names={"x": ["batch", *[None] * example.ndim]}
    )
    proto = oir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def _other(example: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if example.dtype.kind == "f":
        return rng.standard_normal(example.shape, np.float32)
    return rng.permutation(example)
