"""What all layouts share: the folder, its record, what is refused, and that nothing half done is left."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from swift_export.errors import ArtifactError, MachineError, UsageError
from swift_export.serving.layouts.layout_folder import LAYOUTS, write_layout
from swift_export.serving.layouts.servable import Batching

ONNX = [name for name, layout in LAYOUTS.items() if layout.format_name == "onnx"]


@pytest.fixture
def written(laid_out, tmp_path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(laid_out("triton"), tmp_path / "layout"))


@pytest.mark.parametrize("server", ONNX)
def test_every_file_is_recorded_and_every_mention_of_one_is_right(laid_out, server) -> None:
    folder = laid_out(server)
    record = json.loads((folder / "layout.json").read_text())
    assert record["layout"] == server
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {*record["files"], "layout.json"} == {*found}
    for path, file in record["files"].items():
        data = found[path].read_bytes()
        assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    readme = (folder / "README.md").read_text()
    for path in re.findall(
        r"(?<!v2/)(?:models|repository|smoke)/pooled[\w/.-]*|smoke/[\w.]+|smoke_test\.py|[\w-]+\.yaml", readme
    ):
        assert (folder / path).exists(), path
    assert "\n\n\n" not in readme
    # Nothing tells where the layout or the artifact was made.
    for name, path in found.items():
        assert str(folder.parent).encode() not in path.read_bytes(), name


def test_expected_outputs_are_the_references(laid_out, exported) -> None:
    """Of the first item of the golden outputs, because items of a batch are independent."""
    folder = laid_out("triton")
    case = json.loads((folder / "layout.json").read_text())["smoke_test"]
    assert case["computed_by"].startswith("JAX ")
    for tensor in case["outputs"]:
        golden = np.load(exported("pooled") / "golden" / "onnx" / f"{tensor['name']}.npy")[:1]
        found = np.fromfile(folder / tensor["file"], tensor["dtype"])
        np.testing.assert_array_equal(found, golden.ravel())
    assert case["relative_l2"] == json.loads((exported("pooled") / "manifest.json").read_text())["artifacts"]["onnx"][
        "golden"]["relative_l2"]  # fmt: skip


def test_without_golden_outputs_the_file_itself_gives_them(laid_out, exported) -> None:
    folder = laid_out("triton", "fixed")
    case = json.loads((folder / "layout.json").read_text())["smoke_test"]
    assert case["computed_by"] == f"ONNX Runtime {onnxruntime.__version__} for this file"
    read = {t["name"]: np.fromfile(folder / t["file"], t["dtype"]) for t in (*case["inputs"], *case["outputs"])}
    np.testing.assert_allclose(read["y"], read["x"] * np.float32(read["k"]), rtol=1e-3)
    assert (folder / "models/fixed/1/model.onnx").read_bytes() == (exported("fixed") / "onnx/model.onnx").read_bytes()


def test_only_a_layout_is_replaced_and_only_if_forced(written, exported, refused) -> None:
    before = (written / "layout.json").read_bytes()
    with refused("expected a new folder, found a layout", "--force", error=UsageError):
        write_layout("ovms", exported("pooled"), written)
    (written / "notes.txt").write_text("mine")
    with refused("found other files (notes.txt)", "choose another with -o", error=UsageError):
        write_layout("ovms", exported("pooled"), written, force=True)
    assert (written / "layout.json").read_bytes() == before
    (written / "notes.txt").unlink()
    write_layout("ovms", exported("pooled"), written, force=True)
    assert json.loads((written / "layout.json").read_text())["layout"] == "ovms"
    assert not (written / "models/pooled/config.pbtxt").exists()
    assert [path.name for path in written.parent.iterdir()] == ["layout"]


def test_a_failure_leaves_nothing(exported, tmp_path, monkeypatch, refused) -> None:
    def full(*_):
        raise OSError(28, "No space left on device", str(next(tmp_path.glob(".*"))))

    monkeypatch.setattr("swift_export.serving.layouts.layout_folder.little_endian", full)
    with refused("the disk is full", error=MachineError, status=1):
        write_layout("triton", exported("pooled"), tmp_path / "layout")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_artifact_is_refused(exported, tmp_path, refused) -> None:
    artifact = shutil.copytree(exported("pooled"), tmp_path / "artifact")
    with (artifact / "onnx/model.onnx").open("ab") as file:
        file.write(b"\0")
    with refused("onnx/model.onnx: changed since its export", error=ArtifactError):
        write_layout("triton", artifact, tmp_path / "layout")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("tfserving", "ARTIFACT"), ("format savedmodel for TensorFlow Serving, found onnx", "swift-export model ")),
        (("triton", "nowhere"), ("expected an artifact folder", "found none")),
        (("triton", "ARTIFACT", {"name": "../up"}), ("--name", "'../up'")),
        (("triton", "ARTIFACT", {"batching": Batching(0)}), ("--max-batch 0: expected 1 to 4096",)),
        (("triton", "ARTIFACT", {"batching": Batching(4, -1)}), ("--batch-wait-ms -1: expected 0 to 60000",)),
        (("triton", "ARTIFACT", {"instances": 0}), ("--instances 0: expected 1 to 1024",)),
        (("torchserve", "ARTIFACT"), ("expected one of triton, tfserving, kserve, ovms",)),
    ],
)
def test_bad_input_is_one_line(exported, tmp_path, refused, arguments, told) -> None:
    server, artifact, options = (*arguments, {})[:3]
    path = exported("pooled") if artifact == "ARTIFACT" else tmp_path / artifact
    with refused(*told, error=UsageError):
        write_layout(server, path, tmp_path / "layout", **options)
    assert list(tmp_path.iterdir()) == []


def test_types_that_a_server_lacks_are_refused(exported, tmp_path, refused) -> None:
    artifact = shutil.copytree(exported("fixed"), tmp_path / "artifact")
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["artifacts"]["onnx"]["signature"]["outputs"][0]["dtype"] = "bfloat16"
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    with refused("Triton takes no bfloat16, the type of y", error=UsageError):
        write_layout("triton", artifact, tmp_path / "layout")


def test_no_folder_in_the_artifact(exported, refused) -> None:
    with refused("expected a folder outside of the artifact", error=UsageError):
        write_layout("triton", exported("pooled"), exported("pooled") / "onnx" / "layout")
