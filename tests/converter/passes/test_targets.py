"""The operators allowed in each target."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
import pytest

from swift_export.converter import stablehlo_to_onnx
from swift_export.converter.opsets import TARGETS
from swift_export.converter.passes import run_passes
from swift_export.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[1]))
from compare import run_and_compare


def attention(x: jax.Array) -> jax.Array:
    return jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", x, x)) @ x


X = np.random.default_rng(0).standard_normal((2, 5, 3), np.float32)


def test_portable_is_the_default_and_the_standard_alone() -> None:
    model = run_and_compare(attention, X, rtol=1e-5)
    assert {node.domain for node in model.graph} == {""}
    assert model.graph.opset_imports == {"": 20}


def test_onnxruntimes_ops_are_imported_where_they_are_used() -> None:
    model = run_and_compare(attention, X, rtol=1e-5, target="onnxruntime")
    assert "com.microsoft" in {node.domain for node in model.graph}
    assert model.graph.opset_imports == {"": 20, "com.microsoft": 1}
    plain = run_and_compare(jnp.tanh, X, target="onnxruntime")
    assert plain.graph.opset_imports == {"": 20}


def test_without_fusions_both_targets_are_the_standard() -> None:
    for target in TARGETS:
        model = run_and_compare(attention, X, rtol=1e-5, target=target, fuse=False)
        assert model.graph.opset_imports == {"": 20}


def test_other_targets_are_refused_in_one_line() -> None:
    message = "target openvino: expected portable or onnxruntime"
    with pytest.raises(UsageError, match=message):
        stablehlo_to_onnx("", target="openvino")
    graph = oir.Graph([], [], nodes=[], opset_imports={"": 20})
    with pytest.raises(UsageError, match=message):
        run_passes(oir.Model(graph, ir_version=10), target="openvino")
