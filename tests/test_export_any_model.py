"""Any JAX model through the public functions: every kind of network, every format and runtime, faults located."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest

import swift_export
from swift_export.exporting import identified
from swift_export.models.drawing import RandomInputs
from swift_export.models.from_python import as_model
from swift_export.runtimes.registry import readers

sys.path.insert(0, str(Path(__file__).parent / "models"))
import door_faults
import door_nets
from door_nets import NETS, SMALL


def score(weights, tokens, x):
    """Integer tokens and floats to a tuple."""
    with jax.named_scope("mean"):
        mean = weights["embedding"][tokens].mean(1)
    return mean @ weights["mix"] * x, mean.argmax(1)


@pytest.mark.requires("savedmodel")
def test_all_formats_in_all_runtimes(tmp_path) -> None:
    weights = {"embedding": door_nets.noise(8, 5), "mix": door_nets.noise(5, 3)}
    inputs = {"tokens": (("batch", "length"), "int32"), "x": ("batch", 3)}
    model = identified(as_model(score, inputs, weights=weights, outputs=("score", "best")))

    swift_export.export(model, output=tmp_path, check=False)
    report = swift_export.check(tmp_path, weights=model)

    report.raise_for_failures()
    assert report.notes == ()
    kinds = ("onnx", "savedmodel", "jax", "stablehlo")
    installed = {runtime.name for kind in kinds for runtime in readers(kind) if runtime.installed}
    assert len({found.info.name for found in report.artifacts}) == len(installed)
    assert {c.output for found in report.artifacts for c in found.comparisons} == {"score", "best"}
    # Every file tells the value of the scope, whatever its unknown dimensions.
    assert {found.file for found in report.artifacts if [b.block for b in found.blocks] == ["mean"]} == {
        found.file for found in report.artifacts
    }


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_network_computes_in_onnx_what_it_does_in_jax(name) -> None:
    net = NETS[name](SMALL)
    model = identified(as_model(net.thing, net.inputs, **net.options))
    proto = swift_export.to_onnx(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in net.unseen:
        arrays = RandomInputs(model.inputs).draw(sizes)
        with jax.default_matmul_precision("highest"):
            expected = jax.jit(model.forward)(model.weights, *(arrays[spec.name] for spec in model.inputs))
        for output, found in zip(model.outputs, session.run(None, arrays), strict=True):
            right = np.asarray(expected[output])
            assert (found.dtype, found.shape) == (right.dtype, right.shape)
            assert np.linalg.norm(np.float64(found) - right) <= 1e-5 * np.linalg.norm(np.float64(right))


@pytest.mark.parametrize("number", [0, 4, 5, 8])
def test_a_planted_fault_is_traced_to_its_layer(number, tmp_path) -> None:
    # A weight inside, one of the layer that gives the output, an epsilon and an activation; scripts/measure plants all.
    fault = door_faults.planted(SMALL.layers)[number]
    found = door_faults.find(fault, SMALL, tmp_path)
    assert found is not None
    assert found.place == fault.place
