"""Tampering with a folder's files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from swift_export.artifacts import open_artifact, verify
from swift_export.artifacts.digests import digest_file
from swift_export.errors import ArtifactError


@pytest.fixture
def folder(tmp_path: Path, exporting: ModuleType) -> Path:
    exporting.export(tmp_path, "onnx", "savedmodel")
    return tmp_path


def test_a_digest_is_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    found = digest_file(tmp_path / "file")
    assert (found.sha256, found.size) == (hashlib.sha256(data).hexdigest(), len(data))


def test_a_changed_file_is_named_with_both_digests(folder: Path) -> None:
    path = folder / "onnx/model.onnx"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(path.read_text().replace("new", "bad"))
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError) as found:
        verify(folder, open_artifact(folder))
    for word in (str(path), before, after):
        assert word in str(found.value)
    assert verify(folder, open_artifact(folder), ["savedmodel"])  # the other is as it was


def test_a_changed_golden_output_is_tampering(folder: Path) -> None:
    path = folder / "golden/onnx/features.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match=f"{path}: changed since its export"):
        verify(folder, open_artifact(folder))


def _link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def _link_folder(path: Path) -> None:
    path.parent.rename(path.parents[1] / "real")
    path.parent.symlink_to("real")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (Path.unlink, "missing, but recorded in the manifest"),
        (_link, "expected a plain file, found a link"),
        (_link_folder, "expected a plain folder, found a link"),
        (_pipe, "expected a plain file"),
    ],
)
def test_a_file_that_is_not_what_was_written(folder: Path, act: Callable[[Path], None], words: str) -> None:
    act(folder / "onnx/model.onnx")
    with pytest.raises(ArtifactError, match=words):
        verify(folder, open_artifact(folder))


@pytest.mark.parametrize("extra", ["assets.extra/warmup", "variables/variables.data-00000-of-00001", ".hidden"])
def test_a_file_more_in_the_savedmodel_is_tampering(folder: Path, extra: str) -> None:
    path = folder / "savedmodel/1" / extra
    path.parent.mkdir(exist_ok=True)
    path.write_text("loaded by TensorFlow")
    with pytest.raises(ArtifactError, match=f"{extra}: not in the manifest"):
        verify(folder, open_artifact(folder))


def test_a_linked_folder_more_in_the_savedmodel_is_tampering(folder: Path) -> None:
    (folder / "savedmodel/1/assets").symlink_to("/")
    with pytest.raises(ArtifactError, match="assets: not in the manifest"):
        verify(folder, open_artifact(folder))


def test_a_format_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="expected an artifact stablehlo, found onnx, savedmodel"):
        verify(folder, open_artifact(folder), ["stablehlo"])
