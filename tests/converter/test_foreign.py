"""Modules that JAX did not write: what another framework computed, ONNX Runtime has to compute from its StableHLO.

The folder ``golden`` holds each module, inputs and outputs as its framework recorded them, and how it was made.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import swift_export

GOLDEN = Path(__file__).parent / "golden"


def arrays(file: np.lib.npyio.NpzFile, kind: str) -> list[np.ndarray]:
    return [file[f"{kind}{i}"] for i in range(sum(name.startswith(kind) for name in file.files))]


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_onnxruntime_computes_what_the_framework_did(framework: str, tmp_path: Path) -> None:
    done = swift_export.convert(GOLDEN / f"{framework}.mlir", tmp_path / "out.onnx", check=True)
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    with np.load(GOLDEN / f"{framework}.npz") as recorded:
        inputs, outputs = arrays(recorded, "input"), arrays(recorded, "output")
    assert len(done.inputs) == len(inputs)
    found = session.run(None, {f"arg{i}": array for i, array in enumerate(inputs)})
    assert len(found) == len(outputs)
    for ours, theirs in zip(found, outputs, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if theirs.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_a_batch_that_torch_left_open_stays_open(tmp_path: Path) -> None:
    """Recorded with a batch of three; the rows do not depend on each other."""
    swift_export.convert(GOLDEN / "torch.mlir", tmp_path / "out.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    with np.load(GOLDEN / "torch.npz") as recorded:
        *weights, tokens, bias = arrays(recorded, "input")
        probabilities = recorded["output0"]
    shared = {f"arg{i}": array for i, array in enumerate(weights)}
    n = len(weights)
    for rows in ([1], [2, 0, 1, 1, 2]):
        fed = {**shared, f"arg{n}": tokens[rows], f"arg{n + 1}": bias[rows]}
        np.testing.assert_allclose(session.run(["output_0"], fed)[0], probabilities[rows], rtol=1e-5, atol=1e-6)


def test_the_modules_are_small_and_hold_no_path() -> None:
    for path in GOLDEN.glob("*.mlir"):
        text = path.read_text()
        assert len(text) < 20_000
        assert "loc(" not in text
        assert "/" not in text.replace("//", "")
