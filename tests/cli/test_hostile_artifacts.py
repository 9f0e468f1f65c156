"""Artifacts that somebody made to do harm: one line, status 2, and neither memory nor time is spent on them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from swift_export.artifacts import read_manifest
from swift_export.errors import ArtifactError, SwiftExportError
from swift_export.parity.golden.golden_outputs import read_golden
from swift_export.parity.golden.quick import check_quick
from swift_export.parity.targets import find_artifacts, find_subject

Change = Callable[[dict[str, Any]], None]
HUGE = {"img_size": [2**18] * 3 + [2**20], "patch_size": [2, 2, 2, 1]}


def synthetic(manifest: dict[str, Any]) -> None:
    """As if the weights were drawn: they are found again from a seed and an architecture."""
    manifest["weights"] |= {"kind": "synthetic", "seed": 0, "synthetic": True}


def architecture(**values: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        synthetic(manifest)
        manifest["model"]["architecture"] |= values

    return change


def settings(**values: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        synthetic(manifest)
        manifest["artifacts"]["onnx"]["settings"] |= values

    return change


def golden_input(**values: Any) -> Change:
    return lambda manifest: manifest["artifacts"]["onnx"]["golden"]["input"].update(values)


#: What is changed in a manifest, and what is said of it.
MANIFESTS: dict[str, tuple[Change, str]] = {
    "channels": (architecture(embed_dim=3 * 2**18), "expected parameters of at most"),
    "blocks": (architecture(depths=[2**20] * 3), "expected at most 1000 blocks"),
    "voxels": (architecture(**HUGE), "of at most"),
    "frames of the model": (architecture(img_size=[48, 48, 48, 2**20]), "expected clips of at most"),
    "windows": (architecture(window_size=[2**20] * 4, img_size=[192, 192, 192, 60]), "expected arrays of one clip"),
    "a long number": (architecture(embed_dim="9" * 2**20), "embed_dim: expected a positive integer"),
    "frames": (settings(frames=2**40), "expected 1 to 8"),
    "half a frame": (settings(frames=1.5), "records settings that no export has (frames 1.5)"),
    "batch": (settings(batch=2**40), "expected at most"),
    "half a batch": (settings(batch=1.5), "records settings that no export has (batch 1.5)"),
    "outputs": (settings(outputs=["features"] * 100_000), "records settings that no export has (--outputs"),
    "a seed beyond all": (lambda m: (synthetic(m), m["weights"].update(seed=2**64)), "seed"),
}  # fmt: skip
GOLDEN: dict[str, tuple[Change, str]] = {
    "frames": (golden_input(frames=2**40), "expected 1 to 8"),
    "a seed": (golden_input(seed=-1), "expected a seed of at least 0, found -1"),
    "batch": (settings(batch=2**40), "expected at most"),
    "voxels": (architecture(**HUGE), "of at most"),
}


@pytest.fixture
def folder(artifact: Path, tmp_path: Path) -> Path:
    shutil.copytree(artifact, tmp_path / "hostile")
    return tmp_path / "hostile"


def rewrite(folder: Path, change: Change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(("change", "words"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_of_a_monster(folder: Path, change: Change, words: str) -> None:
    rewrite(folder, change)
    with pytest.raises(SwiftExportError, match=re.escape(words)) as found:
        find_subject(folder)
    assert found.value.exit_status == 2
    assert len(str(found.value)) < 2000


@pytest.mark.parametrize(("change", "words"), GOLDEN.values(), ids=GOLDEN)
def test_golden_outputs_of_a_monster(folder: Path, change: Change, words: str) -> None:
    rewrite(folder, change)
    with pytest.raises(SwiftExportError, match=re.escape(words)) as found:
        check_quick([folder])
    assert found.value.exit_status == 2


def test_a_monster_is_refused_by_the_command(refused, folder: Path) -> None:
    rewrite(folder, MANIFESTS["channels"][0])
    assert "expected parameters of at most" in refused("check", folder)
    assert "expected parameters of at most" in refused("check", folder, "--quick")


def test_a_golden_output_that_is_mostly_a_hole(folder: Path) -> None:
    np.lib.format.open_memmap(folder / "golden/onnx/features.npy", mode="w+", dtype=np.float32, shape=(1, 2**30 + 1))

    def change(manifest: dict[str, Any]) -> None:
        manifest["artifacts"]["onnx"]["signature"]["outputs"][0]["dims"] = ["batch", 2**30 + 1]

    rewrite(folder, change)
    with pytest.raises(ArtifactError, match="expected at most 2,147,483,648 bytes"):
        read_golden(folder, read_manifest(folder), "onnx", batched=True)


#: Essentials in a file's metadata, and what is said of them.
ESSENTIALS = {
    "nested": ({"swift_export.settings": "[" * 10**6}, "found none of its metadata"),
    "a monster": ({"swift_export.architecture": json.dumps({"embed_dim": 12, "depths": [2**20]})}, "missing img_size"),
    "no table": ({"swift_export.architecture": "[]"}, "found none of its metadata"),
    "a number": ({"swift_export.architecture": "9" * 5000}, "found none of its metadata"),
    "no settings": ({"swift_export.settings": "{}"}, "records settings that no export has"),
}


@pytest.mark.parametrize(("changes", "words"), ESSENTIALS.values(), ids=ESSENTIALS)
def test_a_file_whose_metadata_lie(folder: Path, tmp_path: Path, changes: dict[str, str], words: str) -> None:
    model = onnx.load(folder / "onnx/model.onnx")
    onnx.helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | changes)
    onnx.save(model, tmp_path / "lying.onnx")
    with pytest.raises(ArtifactError, match=re.escape(words)) as found:
        find_artifacts(tmp_path / "lying.onnx")
    assert str(found.value).startswith(f"{tmp_path / 'lying.onnx'}: ")
