"""The manifest's file: what it says, and what it refuses to read."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from swift_export.artifacts import Artifact, File, Measurement, read_manifest
from swift_export.artifacts.manifest import Golden, GoldenInput, Manifest, new_manifest, parse_manifest
from swift_export.errors import ArtifactError
from swift_export.formats.signature import Signature, TensorSpec
from swift_export.models.swift.backbone import parameter_shapes
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.variants import CITATION, VARIANTS
from swift_export.models.swift.weights import Provenance, Weights, synthetic_weights
from swift_export.models.swift.weights.weights import Training
from swift_export.system.plain_data import MAX_BYTES

SHA = "0123456789abcdef" * 4
ONNX = Artifact(
    files={"onnx/model.onnx": File(SHA, 17)},
    settings={"opset": 20, "frames": None, "outputs": ["features"]},
    signature=Signature((TensorSpec("bold", "float32", ("batch", 1, 8, 8, 8, 2)),), ()),
    details={"via": "stablehlo", "opset": {"ai.onnx": 20}},
    versions={"python": "3.11.7"},
    parity=(Measurement("onnx/model.onnx", "ONNX Runtime 1.31", "cpu", "noise", 2, "features", 7e-7, 1e-6, 1e-5),),
    golden=Golden(
        GoldenInput("phantom", 0, 2, SHA), {"golden/onnx/features.npy": File(SHA, 9)}, "Equinox 1", 1e-5, 1e-5, "room"
    ),
)


@pytest.fixture
def manifest(exporting: ModuleType) -> Manifest:
    return new_manifest(exporting.model(), {"onnx": ONNX})


def test_it_reads_back_equal(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_manifests_of_older_schemas_are_read(manifest: Manifest, schema: int) -> None:
    """2 added golden outputs, 3 the input contract as data, 4 sizes of all unknown dimensions."""
    raw = json.loads(manifest.to_json())
    raw["schema"] = schema
    del raw["artifacts"]["onnx"]["parity"][0]["sizes"]
    for name in ("sizes", "ranges"):
        del raw["artifacts"]["onnx"]["golden"]["input"][name]
    if schema < 3:
        del raw["input"]
    if schema < 2:
        del raw["artifacts"]["onnx"]["golden"]
    read = parse_manifest(json.dumps(raw).encode(), Path("manifest.json"))
    assert read.artifacts["onnx"] == (ONNX if schema >= 2 else dataclasses.replace(ONNX, golden=None))
    assert read.artifacts["onnx"].parity is not None
    assert read.artifacts["onnx"].parity[0].known_sizes == {"batch": 2}
    assert read.input == (manifest.input if schema >= 3 else None)
    # What an export adds to such a folder makes it one of today's.
    added = dataclasses.replace(manifest, artifacts={}).complemented(read)
    assert (added.schema, added.input) == (4, manifest.input)


def test_the_input_contract_is_data_and_words(exporting: ModuleType) -> None:
    weights = _read_weights(VARIANTS["contrastive"].config)
    made = new_manifest(swift_model(weights), {})
    assert (made.input, made.input_contract) == (weights.contract, weights.contract.text)
    assert json.loads(made.to_json())["input"] == {
        "placement": "ukb",
        "point": [0, -16, 18],
        "orientation": "LAS",
        "drop_frames": [0, 0],
        "stride": 1,
        "source": "contrastive was trained on HCP, UK Biobank and ABCD; ukb as fmri-fm-eval feeds it",
    }
    # A model of another shape, trained on a known data set: that is said of it too, and its stride in any case.
    for dataset, placement, words in (("ABCD", "abcd", True), (None, None, False)):
        drawn = dataclasses.replace(synthetic_weights(exporting.CONFIG), training=Training(dataset, 4))
        told = new_manifest(swift_model(drawn), {})
        assert told.input is not None
        assert (told.input.placement, told.input.stride) == (placement, 4)
        assert (told.input_contract is not None) == words
        assert parse_manifest(told.to_json().encode(), Path("manifest.json")) == told


def test_it_says_which_weights_and_that_synthetic_ones_mean_nothing(exporting: ModuleType) -> None:
    drawn = new_manifest(exporting.model(3), {})
    assert (drawn.weights.name, drawn.weights.seed, drawn.weights.synthetic) == ("synthetic:3", 3, True)
    assert drawn.weights.note is not None
    assert "mean nothing" in drawn.weights.note
    assert drawn.weights.digest == exporting.model(3).digest
    assert drawn.input_contract is None  # of another shape than the published models

    trained = new_manifest(swift_model(_read_weights(VARIANTS["contrastive"].config)), {})
    assert (trained.weights.note, trained.weights.synthetic) == (None, False)
    assert trained.weights.assumed == {"first_window_size": [4, 4, 4, 4]}
    assert trained.weights.dropped == ("emb_mlp.fc1.weight",)
    assert trained.model.citation == CITATION
    assert SwiFTConfig.from_hyper_parameters(trained.model.architecture) == VARIANTS["contrastive"].config
    # What was written is what is read, tuples of the reader's included.
    assert parse_manifest(trained.to_json().encode(), Path("manifest.json")) == trained


def _read_weights(config: SwiFTConfig) -> Weights:
    provenance = Provenance(
        "checkpoint",
        "best.ckpt",
        sha256=SHA,
        git_blob=SHA[:40],
        assumed={"first_window_size": (4, 4, 4, 4)},
        dropped=("emb_mlp.fc1.weight",),
    )
    tensors = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(config).items()}
    return Weights(config, tensors, {}, "contrastive", provenance)


def test_formats_of_the_same_weights_add_up(exporting: ModuleType, manifest: Manifest) -> None:
    other = dataclasses.replace(ONNX, details={"via": "savedmodel"})
    stablehlo = dataclasses.replace(ONNX, files={"stablehlo/model.jax": File(SHA, 1)})
    newer = new_manifest(exporting.model(), {"onnx": other})
    older = dataclasses.replace(manifest, artifacts={"onnx": ONNX, "stablehlo": stablehlo})
    assert newer.complemented(older).artifacts == {"onnx": other, "stablehlo": stablehlo}
    assert newer.complemented(None) == newer
    assert new_manifest(exporting.model(1), {"onnx": other}).complemented(older).artifacts == {"onnx": other}


def changed(manifest: Manifest, place: str, value: Any) -> str:
    """The manifest's JSON with another value at a dotted place (``/`` for a key that holds dots)."""
    raw = json.loads(manifest.to_json())
    *parents, key = place.split("/")
    target = raw
    for parent in parents:
        target = target[int(parent) if isinstance(target, list) else parent]
    target[int(key) if isinstance(target, list) else key] = value
    return json.dumps(raw)


FILES = "artifacts/onnx/files"
GOLDEN = "artifacts/onnx/golden"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("schema", 5, r"expected schema 4, found 5, written by a newer version: upgrade swift-export"),
        ("schema", 0, "schema: expected 1 to 4, found 0"),
        ("schema", True, "schema: expected int, found True"),
        ("schema", "1", "schema: expected int, found '1'"),
        ("surprise", 1, "top level: unexpected 'surprise'"),
        ("input", "hcp", r"input: expected .*InputContract.*, found 'hcp'"),
        ("input", {}, "input: missing 'drop_frames', 'orientation'"),
        ("input/stride", 0, "input: expected stride and source"),
        ("input/stride", "1", "input.stride: expected int, found '1'"),
        ("input/placement", "mni", "input: --placement mni: expected hcp, ukb, abcd"),
        ("tool", "swift-export", "tool: expected an object, found 'swift-export'"),
        ("model/architecture", [], r"model.architecture: expected .*Mapping.*, found \[\]"),
        ("weights/digest", "short", "weights.digest: expected 64 hex digits, found 'short'"),
        ("weights/seed", "0", r"weights.seed: expected int \| None, found '0'"),
        ("weights/synthetic", 1, "weights.synthetic: expected bool, found 1"),
        ("artifacts", [], r"artifacts: expected .*Mapping.*, found \[\]"),
        ("artifacts/tflite", {}, "artifacts.tflite: missing 'details', 'files'"),
        (FILES, {}, "artifacts.onnx.files: expected at least one file"),
        (f"{FILES}/onnx\\model.onnx", {"sha256": SHA, "size": 1}, "expected plain paths below onnx/"),
        (f"{GOLDEN}/files", {}, "artifacts.onnx.golden.files: expected at least one file"),
        (f"{GOLDEN}/files", {"onnx/model.onnx": {"sha256": SHA, "size": 1}}, "plain paths below golden/onnx/"),
        (f"{GOLDEN}/files", {"golden/onnx/../x": {"sha256": SHA, "size": 1}}, "plain paths below golden/onnx/"),
        (f"{GOLDEN}/files", {"golden/onnx/x.npy": {"sha256": "?", "size": 1}}, "expected a sha256 and a size"),
        (f"{GOLDEN}/input", {}, "artifacts.onnx.golden.input: missing 'frames', 'kind', 'seed', 'sha256'"),
        (f"{GOLDEN}/relative_l2", None, "artifacts.onnx.golden.relative_l2: expected float, found None"),
        ("artifacts/onnx/parity/0/relative_l2", "0", r"artifacts.onnx.parity\[0\].relative_l2: expected float"),
        ("artifacts/onnx/parity/0/relative_l2", 10**400, r"relative_l2: expected float, found 1000"),
        ("artifacts/onnx/signature/inputs/0/dims/1", 1.5, r"dims\[1\]: expected str \| int, found 1.5"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(manifest: Manifest, place: str, value: Any, words: str) -> None:
    with pytest.raises(ArtifactError, match=words) as refused:
        parse_manifest(changed(manifest, place, value).encode(), Path("folder/manifest.json"))
    assert str(refused.value).startswith("folder/manifest.json: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../victim", "onnx/../../victim", "onnx//model.onnx", "onnx/./model.onnx", "onnx", "onnx/",
     "savedmodel/1/saved_model.pb", "model.onnx", "onnx/\x1b[31m.onnx", ""],
)  # fmt: skip
def test_a_path_out_of_the_formats_folder_is_refused(manifest: Manifest, path: str) -> None:
    raw = json.loads(manifest.to_json())
    raw["artifacts"]["onnx"]["files"] = {path: {"sha256": SHA, "size": 1}}
    with pytest.raises(ArtifactError, match=r"files: expected plain paths below onnx/"):
        parse_manifest(json.dumps(raw).encode(), Path("manifest.json"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "malformed JSON"),
        (b"null", "top level: expected an object, found None"),
        (b"\xff\xfe{}", "malformed JSON"),
        (b'{"schema": NaN}', "NaN is not a finite number"),
        (b'{"schema": 1e999}', "1e999 is not a finite number"),
        (b'{"schema": 1, "schema": 1}', "a key appears twice"),
        (b"[" * 200_000, "malformed JSON"),
        (b"[" * 65 + b"]" * 65, "objects and lists nested more than 64 deep"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "malformed JSON"),
        (b" " * (MAX_BYTES + 1), f"at most {MAX_BYTES} bytes"),
        (b'{"schema": ' + b"9" * 10_000 + b"}", "malformed JSON"),
    ],
)
def test_json_that_is_none_of_ours(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(ArtifactError, match=words) as refused:
        read_manifest(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_manifest_that_is_no_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(ArtifactError, match="expected a plain file"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json: "):
        read_manifest(tmp_path)
