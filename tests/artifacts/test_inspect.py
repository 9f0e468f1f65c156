"""Facts of real artifacts, in folders and on their own, and of damaged ones."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from swift_export.artifacts import artifact_folder, describe, transaction
from swift_export.artifacts.inspect import Part
from swift_export.errors import ArtifactError
from swift_export.formats.metadata import essentials_in
from swift_export.formats.signature import TensorSpec
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import synthetic_weights
from swift_export.system.plain_data import dumps

BOLD = TensorSpec("bold", "float32", ("batch", 1, 8, 8, 8, 2))
FEATURES = TensorSpec("features", "float32", ("batch", 8, 2, 2, 2, 2))
STABLEHLO = ("stablehlo/model.b1.mlir.bc", "stablehlo/model.jax", "stablehlo/model.mlir.bc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, exporting: ModuleType) -> Path:
    """A real StableHLO and ONNX export of a tiny model."""
    from swift_export.lowering.onnx_file import write_onnx
    from swift_export.lowering.stablehlo import write_stablehlo

    output = tmp_path_factory.mktemp("artifact")
    model = swift_model(synthetic_weights(exporting.CONFIG), SwiFTSettings(outputs=("stage0", "features")))
    with transaction(output, model, ["onnx", "stablehlo"]) as stage:
        write_onnx(model, stage.folder)
        write_stablehlo(model, stage.folder)
        stage.commit({name: exporting.artifact(stage.folder, name) for name in ("onnx", "stablehlo")})
    return output


def test_a_folder_shows_its_manifest_and_every_file(folder: Path, exporting: ModuleType) -> None:
    found = describe(folder)
    assert found.manifest is not None
    assert found.manifest.weights.digest == exporting.model().digest
    assert [part.path for part in found.parts] == ["onnx/model.onnx", *STABLEHLO]
    assert [part.format for part in found.parts] == ["onnx", "stablehlo", "stablehlo", "stablehlo"]
    for part in found.parts:
        assert part.size == (folder / part.path).stat().st_size
        assert part.artifact is found.manifest.artifacts[part.format or ""]
        assert part.facts.details["metadata"]["swift_export.weights_sha256"] == exporting.model().digest
    assert json.loads(dumps(found))["parts"][0]["facts"]["kind"] == "onnx"


def test_an_onnx_file(folder: Path, exporting: ModuleType) -> None:
    (part,) = describe(folder / "onnx/model.onnx").parts
    model = onnx.load(folder / "onnx/model.onnx")
    details = part.facts.details
    assert part.facts.signature is not None
    assert part.facts.signature.inputs == (BOLD,)
    assert {spec.name: spec for spec in part.facts.signature.outputs}["features"] == FEATURES
    assert [spec.name for spec in part.facts.signature.outputs] == ["stage0", "features"]
    assert details["opset"] == {"ai.onnx": 20}
    assert details["ir_version"] == model.ir_version
    assert details["nodes"] == len(model.graph.node) == sum(details["ops"].values())
    assert (details["ops"]["LayerNormalization"], details["ops"]["Gelu"], details["ops"]["Softmax"]) == (5, 2, 2)
    assert details["external_data"] is False
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert details["initializer_bytes"] == sum(array.nbytes for array in arrays)


def test_the_stablehlo_files(folder: Path) -> None:
    by_name: dict[str, Part] = {part.path: part for part in describe(folder / "stablehlo").parts}
    assert sorted(by_name) == sorted(STABLEHLO)
    for name, part in by_name.items():
        assert part.facts.signature is not None
        first = 1 if ".b1." in name else "batch"
        (bold,), outputs = part.facts.signature.inputs, part.facts.signature.outputs
        assert bold == TensorSpec("bold", "float32", (first, *BOLD.dims[1:]))
        assert {spec.name: spec.dims for spec in outputs} == {
            "features": (first, *FEATURES.dims[1:]),
            "stage0": (first, *FEATURES.dims[1:]),
        }
    assert by_name["stablehlo/model.jax"].facts.details["platforms"] == ["cpu", "cuda"]
    portable = by_name["stablehlo/model.mlir.bc"].facts.details
    assert portable["ops"]["stablehlo.dot_general"] > 0
    assert [int(n) for n in portable["stablehlo"].split(".")] >= [1, 0, 0]


@pytest.mark.requires("savedmodel")
def test_a_savedmodel(tmp_path: Path, exporting: ModuleType, start) -> None:
    program = (
        "import runpy, sys; from pathlib import Path; from swift_export.lowering.savedmodel import write_savedmodel\n"
        "write_savedmodel(runpy.run_path(sys.argv[1])['model'](), Path(sys.argv[2]))"
    )
    assert start(exporting.__file__, tmp_path, program=program).wait(120) == 0
    path = tmp_path / "savedmodel/1"
    (part,) = describe(path).parts
    assert part.facts.signature is not None
    assert part.facts.signature.inputs == (BOLD,)
    assert part.facts.signature.outputs == (FEATURES,)
    assert part.facts.details["tags"] == ["serve"]
    assert part.facts.details["ops"]["XlaCallModule"] == 1
    assert part.facts.details["platforms"] == ["CPU", "CUDA"]
    assert part.facts.details["metadata"]["swift_export.weights_sha256"] == exporting.model().digest
    assert part.size == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_without_tensorflow_a_savedmodel_names_the_extra(tmp_path: Path, exporting: ModuleType, monkeypatch) -> None:
    exporting.export(tmp_path / "out", "savedmodel")
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "tensorflow.py").write_text("raise ModuleNotFoundError('absent', name='tensorflow')")
    monkeypatch.setenv("PYTHONPATH", str(blocker))
    (part,) = describe(tmp_path / "out").parts
    assert part.facts.signature is None
    assert "swift-export[savedmodel]" in part.facts.details["note"]


def test_a_file_is_found_to_belong_to_its_folder(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder / "onnx")
    for path in (folder, folder / "onnx", folder / "onnx/model.onnx", folder / "stablehlo", Path("model.onnx")):
        assert (artifact_folder(path) or tmp_path).samefile(folder)
        assert describe(path).manifest is not None
    shutil.copy(folder / "onnx/model.onnx", tmp_path / "model.onnx")
    (tmp_path / "manifest.json").write_text("a web application's")
    assert artifact_folder(tmp_path / "model.onnx") is None
    alone = describe(tmp_path / "model.onnx")
    assert (alone.manifest, alone.parts[0].format, alone.parts[0].facts.kind) == (None, None, "onnx")


def test_a_tampered_file_is_not_described(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    model = onnx.load(tmp_path / "copy/onnx/model.onnx")
    weight = next(t for t in model.graph.initializer if len(t.dims) == 2)
    weight.raw_data = (onnx.numpy_helper.to_array(weight) * np.float32(1.01)).tobytes()
    onnx.save(model, tmp_path / "copy/onnx/model.onnx")
    for path in ("copy", "copy/onnx/model.onnx"):
        with pytest.raises(ArtifactError, match="changed since its export: expected sha256"):
            describe(tmp_path / path)
    assert len(describe(tmp_path / "copy/stablehlo").parts) == 3


@pytest.mark.parametrize("name", ["onnx/model.onnx", "stablehlo/model.jax", "stablehlo/model.mlir.bc"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "zeros in the middle"])
def test_a_damaged_file_is_one_line(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    data = (folder / name).read_bytes()
    half = len(data) // 2
    damaged = {
        "empty": b"",
        "truncated": data[:half],
        "garbage": random.Random(0).randbytes(500),
        "zeros in the middle": data[:100] + bytes(half) + data[100 + half :],
    }[damage]
    path = tmp_path / Path(name).name
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError) as found:
        describe(path)
    assert str(found.value).startswith(f"{path}: expected ")
    assert "found a damaged or foreign file" in str(found.value)
    assert "\n" not in str(found.value)


def test_what_is_no_artifact_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.onnx").mkdir()
    for name, words in (
        ("absent.onnx", "no such file or folder"),
        ("notes.txt", "expected a .onnx, .jax, .mlir.bc file"),
        ("model.onnx", "expected a .onnx, .jax, .mlir.bc file"),
        (".", "an artifact folder"),
    ):
        with pytest.raises(ArtifactError, match=words):
            describe(tmp_path / name)


def test_a_part_that_the_manifest_does_not_hold(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "savedmodel")
    (tmp_path / "onnx").mkdir()
    with pytest.raises(ArtifactError, match=r"not recorded in .*; found savedmodel"):
        describe(tmp_path / "onnx")


def foreign(path: Path, **metadata: str) -> onnx.ModelProto:
    """A file that no export wrote, with ``metadata``, saved at ``path``."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [result]))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return model


def test_metadata_of_megabytes_are_metadata(tmp_path: Path) -> None:
    foreign(tmp_path / "model.onnx", long="k" * 5 * 2**20)
    (part,) = describe(tmp_path / "model.onnx").parts
    assert part.facts.details["metadata"] == {"long": "k" * 5 * 2**20}


def test_endless_metadata_are_one_line(tmp_path: Path) -> None:
    # Escapes are what makes JSON longer than the text in it.
    foreign(tmp_path / "model.onnx", long="\x01" * 12 * 2**20)
    with pytest.raises(ArtifactError, match=r"expected at most \d+ bytes of names and metadata, found more"):
        describe(tmp_path / "model.onnx")


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    data = foreign(tmp_path / "model.onnx").SerializeToString()
    (tmp_path / "model.onnx").write_bytes(data.replace(b"Identity", b"\xff\xfe\x80\x81\x82\x83\x84\x85"))
    with pytest.raises(ArtifactError, match=r"damaged or foreign file \(expected names in UTF-8, found other bytes\)"):
        describe(tmp_path / "model.onnx")


def test_essentials_nested_without_end_are_none() -> None:
    assert essentials_in("[" * 10**6) == {}
    assert essentials_in('{"a": ' + "[" * 900 + "]" * 900 + "}") in ({}, {"a": "[" * 900 + "]" * 900})
