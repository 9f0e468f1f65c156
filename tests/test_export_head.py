"""Backbone and head in one file: a checkpoint's own, and a probe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from swift_export.cli import entry
from swift_export.errors import UsageError, WeightsError
from swift_export.exporting_swift import export_onnx
from swift_export.formats.probe_file import Probe, write_probe
from swift_export.models.swift.check_inputs import phantom
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.probe_head import with_probe
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import Weights, load_weights, synthetic_weights
from swift_export.parity.checking import check_paths
from swift_export.parity.golden.quick import check_quick
from swift_export.parity.targets import find_subject


def probe_of(weights: Weights, classes: tuple[str, ...] = ("a", "b", "c")) -> Probe:
    rng = np.random.default_rng(5)
    channels = weights.config.out_dim
    outputs = 1 if len(classes) < 3 else len(classes)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    return Probe(
        weight=draw(outputs, channels),
        bias=draw(outputs),
        mean=draw(channels),
        scale=np.exp(draw(channels)),
        kind="classification" if classes else "regression",
        target="group",
        classes=classes,
        fitted_to={"weights_sha256": weights.digest},
    )


@pytest.fixture(scope="module")
def weights() -> Weights:
    config = SwiFTConfig((4, 4, 4, 2), 1, 2, (4, 4, 4, 4), (2, 2, 2, 2), (2, 2, 2, 1), (1, 1), (1, 1), 2, False)
    return synthetic_weights(config, seed=3)


@pytest.fixture(scope="module")
def exported(weights: Weights, tmp_path_factory) -> Path:
    """ONNX and the embedding beside the logits; not to be changed."""
    folder = tmp_path_factory.mktemp("head")
    write_probe(probe_of(weights), folder / "probe.safetensors")
    export_onnx(weights, output=folder / "artifact", head=folder / "probe.safetensors", outputs=["logits", "features"])
    return folder


def outputs_of(file: Path, weights: Weights) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"bold": phantom(weights.config, 2)}), strict=True))


def test_the_file_computes_backbone_and_probe(exported: Path, weights: Weights) -> None:
    found = outputs_of(exported / "artifact/onnx/model.onnx", weights)
    probe = probe_of(weights)
    standardised = (found["features"].astype(np.float64) - probe.mean) / probe.scale
    expected = standardised @ probe.weight.T.astype(np.float64) + probe.bias
    assert found["logits"].shape == (2, 3)
    assert found["features"].shape == (2, weights.config.out_dim)
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_the_artifact_says_what_its_outputs_are(exported: Path, weights: Weights) -> None:
    entry = json.loads((exported / "artifact/manifest.json").read_text())
    onnx_facts = entry["artifacts"]["onnx"]
    metadata = {p.key: p.value for p in onnx.load(exported / "artifact/onnx/model.onnx").metadata_props}
    head = json.loads(metadata["swift_export.head"])
    assert onnx_facts["details"]["head"] == head
    assert (head["name"], head["kind"], head["classes"]) == ("probe", "classification", ["a", "b", "c"])
    assert (head["file"], head["fitted_to"]["weights_sha256"]) == ("probe.safetensors", weights.digest)
    assert sorted(onnx_facts["golden"]["files"]) == [
        f"golden/onnx/{name}.npy" for name in ("features", "logits-terms", "logits")
    ]
    assert entry["weights"]["digest"] == metadata["swift_export.weights_sha256"] != weights.digest


def test_it_is_checked_again_with_its_probe_alone(exported: Path, weights: Weights, capsys) -> None:
    folder = exported / "artifact"
    assert check_quick(folder).report.passed
    # The command finds the weights by the artifact's record.
    given = ["--runtime", "onnxruntime", "--batch", "1", "-q"]
    assert entry.main(["check", str(folder), "--head", str(exported / "probe.safetensors"), *given]) == 0
    assert entry.main(["check", str(folder), *given]) == 2
    assert "expected the probe that is its head, probe.safetensors; give it with --head" in capsys.readouterr().err
    with pytest.raises(
        UsageError, match=r"expected the probe that is its head, probe\.safetensors; give it with --head"
    ):
        check_paths([folder], weights=weights)


def test_a_fault_in_the_head_is_located(exported: Path, weights: Weights, tmp_path: Path) -> None:
    model = onnx.load(exported / "artifact/onnx/model.onnx")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "probe.head.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    report = check_paths([tmp_path / "model.onnx"], weights=with_probe(weights, exported / "probe.safetensors"))
    assert not report.passed
    assert {checked.fault.place for checked in report.artifacts if checked.fault} == {"head"}


def test_a_logit_of_zero_is_held_to_the_size_of_its_terms(weights: Weights, tmp_path: Path) -> None:
    channels = weights.config.out_dim
    embedding = jax.jit(swift_model(weights, SwiFTSettings(output_kind="embedding")).forward)
    x = np.asarray(embedding(weights.tensors, phantom(weights.config, 1))["features"], np.float64)[0]
    rows = np.random.default_rng(6).standard_normal((1, channels)).astype(np.float32)
    plain = replace(
        probe_of(weights, ()), weight=rows, mean=np.zeros(channels, np.float32), scale=np.ones(channels, np.float32)
    )
    write_probe(replace(plain, bias=np.float32(-rows @ x)), tmp_path / "zero.safetensors")
    folder = tmp_path / "artifact"
    export_onnx(weights, output=folder, head=tmp_path / "zero.safetensors")  # checks the file
    quick = check_quick(folder).report
    assert quick.passed
    (logit,) = np.load(folder / "golden/onnx/logits.npy").ravel()
    (size,) = np.load(folder / "golden/onnx/logits-terms.npy").ravel()
    assert abs(logit) < 1e-5 * size
    assert size == pytest.approx(np.hypot(np.sqrt((x**2).mean()) * np.linalg.norm(rows), rows @ x), rel=1e-5)
    golden = json.loads((folder / "manifest.json").read_text())["artifacts"]["onnx"]["golden"]
    assert golden["reason"].count("relative to the size of its terms") == 1
    # An error that the terms do not explain.
    model = onnx.load(folder / "onnx/model.onnx")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "probe.head.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(3e-5 * size), bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    probed = with_probe(weights, tmp_path / "zero.safetensors")
    report = check_paths([tmp_path / "model.onnx"], weights=probed, runtimes="own", batches=1, blocks=False)
    assert {c.input for c in report.artifacts[0].failed_comparisons} >= {"phantom"}


def test_a_checkpoints_own_head(lightning: Path, tmp_path: Path) -> None:
    weights = load_weights(lightning / "lightning-1.ckpt")
    export_onnx(weights, output=tmp_path / "out", output_kind="logits", check=False)
    features = swift_model(weights, SwiFTSettings(output_kind="embedding"))
    embedding = jax.jit(features.forward)(weights.tensors, phantom(weights.config, 2))["features"]
    weight, bias = (weights.head().tensors[f"output_head.head.{part}"] for part in ("weight", "bias"))
    expected = np.asarray(embedding, np.float64) @ weight.T + bias
    found = outputs_of(tmp_path / "out/onnx/model.onnx", weights)
    assert list(found) == ["logits"]
    np.testing.assert_allclose(found["logits"], expected, atol=3e-6 * np.abs(weight).sum())
    # It is found again by its record, and not by weights that lack the head.
    assert find_subject(tmp_path / "out", weights).digest == weights.digest
    with pytest.raises(WeightsError, match="expected weights with a head"):
        find_subject(tmp_path / "out", replace(weights, find_head=None))
    # The head belongs to this function alone: without it, weights and settings are what they were.
    assert features.digest == weights.digest
    assert "output_head.head.bias" in features.provenance.dropped
    entry = json.loads((tmp_path / "out/manifest.json").read_text())
    assert entry["weights"]["dropped"] == []


def test_heads_that_do_not_fit_are_refused(weights: Weights, tmp_path: Path, refused) -> None:
    def given(**changes: object) -> Path:
        write_probe(Probe(**(vars(probe_of(weights)) | changes)), tmp_path / "p.safetensors")
        return tmp_path / "p.safetensors"

    with refused("expected a probe of weights", weights.digest[:16], "found one of 00000"):
        with_probe(weights, given(fitted_to={"weights_sha256": "0" * 64}))
    more = {name: np.ones(7, np.float32) for name in ("mean", "scale")}
    with refused("channels of synthetic:3, found 7"):
        with_probe(weights, given(weight=np.ones((3, 7), np.float32), **more))
    with refused("a scale that float32 can divide by"):
        with_probe(weights, given(scale=np.full(weights.config.out_dim, 1e-44, np.float32)))
    with refused("--output-kind embedding: cannot be combined with --head", error=UsageError):
        export_onnx(weights, output=tmp_path / "x", head=given(), output_kind="embedding")
    with refused("synthetic:3: expected weights with a head, found none", error=WeightsError):
        export_onnx(weights, output=tmp_path / "x", output_kind="logits")
    with refused("--outputs stage0: expected logits among them", error=UsageError):
        export_onnx(weights, output=tmp_path / "x", head=given(), outputs=["stage0"])
    assert not (tmp_path / "x").exists()
