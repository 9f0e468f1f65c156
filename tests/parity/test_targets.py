"""The input contract for scans comes from the artifact, then from the weights, then from the variant."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from swift_export.errors import ArtifactError
from swift_export.models.recovery import Recorded
from swift_export.models.swift.recorded import contract_of_record
from swift_export.models.swift.variants import VARIANTS
from swift_export.models.swift.weights.weights import Training, Weights
from swift_export.parity.targets import Subject, find_artifacts, find_subject
from swift_export.scans.contract import InputContract
from swift_export.scans.placement import parse_placement


def told(file: Path, contract: object) -> Path:
    """The ONNX file with another input contract in its metadata; None: as older versions wrote it, without."""
    model = onnx.load(file)
    (entry,) = [p for p in model.metadata_props if p.key == "swift_export.input"]
    if contract is None:
        model.metadata_props.remove(entry)
    else:
        entry.value = contract if isinstance(contract, str) else json.dumps(contract)
    onnx.save(model, file)
    return file


def recorded(path: Path) -> Recorded:
    return next(iter(find_artifacts(path).records.values()))


def stated(path: Path) -> InputContract:
    return contract_of_record(recorded(path), None)


def known(path: Path, weights: Weights) -> InputContract:
    """The contract where the weights are given, which must be those of the artifact."""
    found = find_subject(path, weights)
    assert isinstance(found, Subject)
    return contract_of_record(next(iter(found.records.values())), found.source.weights)


@pytest.fixture
def file(staged, tmp_path) -> Path:
    return shutil.copy(staged / "onnx/model.onnx", tmp_path / "model.onnx")


@pytest.fixture
def folder(artifact, tmp_path) -> Path:
    return shutil.copytree(artifact, tmp_path / "artifact")


MINE = VARIANTS["hcp-sex"].contract.changed(parse_placement("0,-20,4"), "RAS", (3, 2))


def test_a_file_states_its_contract(weights, file):
    told(file, MINE.to_dict())
    assert stated(file) == MINE
    # Before what the weights say.
    other = replace(weights, training=Training("UKB"))
    assert known(file, other) == MINE


def test_a_folder_states_its_contract(weights, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["input"] = MINE.to_dict()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for path in (folder, folder / "onnx", folder / "onnx/model.onnx"):
        assert stated(path) == MINE
        assert known(path, replace(weights, training=Training("UKB"))) == MINE
    manifest["input"]["point"] = [0, 0, 0]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"manifest\.json: input: expected the point of .* 0,-20,4"):
        find_artifacts(folder)


@pytest.mark.parametrize("found", [None, "{", "[]", '{"placement": "mni"}', "[" * 100_000], ids=range(5))
def test_files_of_older_versions_leave_it_to_the_weights(weights, file, found):
    told(file, found)
    assert recorded(file).input is None
    assert stated(file).placement is None
    trained = replace(weights, training=Training("S1200", 2))
    assert known(file, trained) == trained.contract


def test_artifacts_of_older_versions_leave_it_to_the_weights_or_the_variant(weights, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["input"]
    manifest["schema"] = 2
    for variant, placement in (("custom", None), ("hcp-sex", "hcp"), ("contrastive", "ukb")):
        manifest["model"]["variant"] = variant
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert stated(folder).placement == placement
    trained = replace(weights, training=Training("ABCD"))
    assert known(folder, trained) == trained.contract


def test_a_contract_without_a_placement_still_says_the_stride(weights, file, folder):
    unknown = replace(weights, training=Training(None, 4)).contract
    assert unknown.placement is None
    told(file, unknown.to_dict())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["input"] = unknown.to_dict()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for path in (file, folder):
        assert (stated(path).placement, stated(path).stride) == (
            None,
            4,
        )
        # The weights that it is checked against may know more.
        trained = replace(weights, training=Training("UKB", 4))
        assert known(path, trained) == trained.contract
