"""Any JAX model through the public functions: every kind of network, every format and runtime, faults located."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest

import swift_export
from swift_export.exporting import identified
from swift_export.models.drawing import RandomInputs
from swift_export.models.from_python import as_model
from swift_export.runtimes.reference import session_of
from swift_export.runtimes.registry import readers

sys.path.insert(0, str(Path(__file__).parent / "models"))
import door_faults
import door_nets
from door_nets import NETS, SMALL

MAKERS = {"onnxruntime": "onnx_probe", "jax_export": "stablehlo_probe", "tensorflow": "savedmodel_probe"}


def score(weights, tokens, x):
    """Integer tokens and floats to a tuple."""
    with jax.named_scope("mean"):
        mean = weights["embedding"][tokens].mean(1)
    return weights["scale"] * (mean @ weights["mix"]) * x, mean.argmax(1)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A model and its artifact in all formats."""
    weights = {"embedding": door_nets.noise(8, 5), "mix": door_nets.noise(5, 3), "scale": np.float32(1.5)}
    inputs = {"tokens": (("batch", "length"), "int32"), "x": ("batch", 3)}
    model = identified(as_model(score, inputs, weights=weights, outputs=("score", "best")))
    folder = tmp_path_factory.mktemp("scored")
    swift_export.export(model, output=folder, check=False)
    return model, folder


@pytest.mark.requires("savedmodel")
def test_all_formats_in_all_runtimes(scored) -> None:
    model, folder = scored
    report = swift_export.check(folder, weights=model, blocks=False)

    report.raise_for_failures()
    assert report.notes == ()
    kinds = ("onnx", "savedmodel", "jax", "stablehlo")
    installed = {runtime.name for kind in kinds for runtime in readers(kind) if runtime.installed}
    assert len({found.info.name for found in report.artifacts}) == len(installed)
    assert {c.output for found in report.artifacts for c in found.comparisons} == {"score", "best"}


@pytest.mark.requires("savedmodel")
@pytest.mark.parametrize(
    ("runtime", "file"),
    [("onnxruntime", "onnx/model.onnx"), ("jax_export", "stablehlo/model.jax"), ("tensorflow", "savedmodel/1")],
)
def test_values_inside_are_those_of_the_reference(runtime, file, scored, tmp_path) -> None:
    """Several inputs, integers among them, and two unknown dimensions."""
    model, folder = scored
    sizes = {"batch": 3, "length": 4}
    arrays = RandomInputs(model.inputs).draw(sizes)
    probe = tmp_path / Path(file).name
    maker = import_module(f"swift_export.parity.locate.probes.{MAKERS[runtime]}")
    assert maker.places_in(folder / file, ["mean", "nowhere"]) == ["mean"]
    maker.write_probe(folder / file, ["mean"], [array.shape for array in arrays.values()], probe)
    found = import_module(f"swift_export.runtimes.{runtime}").load(probe, "cpu")(arrays)
    expected = session_of(model, (), ("mean",))(arrays)
    np.testing.assert_allclose(found["value000"], expected["value000"], rtol=1e-5, atol=1e-6)


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
