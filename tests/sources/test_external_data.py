"""Conversions whose weights one ONNX file cannot hold: two files, which appear, change and vanish together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import swift_export
from swift_export.errors import CheckFailed, MachineError
from swift_export.formats import onnx_writing
from swift_export.formats.facts import read_facts
from swift_export.system.files import replaced_together

sys.path.insert(0, str(Path(__file__).parent))
from exports import exported, shape


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(onnx_writing, "ONE_PIECE", 2000)
    return _written(tmp_path, 1.0)


def _written(folder: Path, number: float, size: int = 30) -> Path:
    weights = number * np.arange(size**2, dtype=np.float32).reshape(size, size)
    (folder / "source").write_bytes(exported(lambda x: x @ weights, shape(2, size)).mlir_module_serialized)
    return folder / "source"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_files_appear_and_are_replaced_together(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "model.0123456789abcdef.data").write_bytes(b"another's")
    output = folder / "model.onnx"
    done = swift_export.convert(source, output, check=True)
    path, data = done.files
    assert (path, done.path, done.size) == (output, output, sum(file.stat().st_size for file in done.files))
    assert names(folder) == sorted(["model.0123456789abcdef.data", "model.onnx", data.name])
    assert read_facts(output).details["data_files"] == {data.name: 3600}

    (_, other) = swift_export.convert(_written(tmp_path, 2.0), output).files
    assert other != data
    assert names(folder) == sorted(["model.0123456789abcdef.data", "model.onnx", other.name])
    x = np.ones((2, 30), np.float32)
    (found,) = onnxruntime.InferenceSession(output).run(None, {"x": x})
    np.testing.assert_array_equal(found[0], 2 * np.arange(900, dtype=np.float32).reshape(30, 30).sum(0))
    assert swift_export.convert(source, output).files == (output, other)

    onnx_writing.ONE_PIECE = 10**6
    assert swift_export.convert(source, output).files == (output,)
    assert names(folder) == ["model.0123456789abcdef.data", "model.onnx"]


def test_a_failure_leaves_what_was_there(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    output = folder / "model.onnx"
    swift_export.convert(source, output)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    import swift_export.conversion as conversion

    def fails(*arguments: Any, **options: Any) -> None:
        raise CheckFailed("it differs")

    monkeypatch.setattr(conversion, "_checked", fails)
    with pytest.raises(CheckFailed):
        swift_export.convert(_written(tmp_path, 2.0), output, check=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_model_cannot_come_without_its_data(tmp_path: Path) -> None:
    """Its data is there when its name is taken, and goes again."""
    output = tmp_path / "model.onnx"

    def write(path: Path) -> None:
        with replaced_together(path) as draft:
            draft.write_bytes(b"model")
            draft.with_name("data").write_bytes(b"data")
            path.mkdir()

    with pytest.raises(swift_export.SwiftExportError, match=r"model.onnx: "):
        write(output)
    assert names(tmp_path) == ["model.onnx"]


def test_a_full_disk(source: Path, small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"model.onnx: the disk is full; "):
        swift_export.convert(_written(tmp_path, 1.0, 600), small_disk / "model.onnx", check=False)
    assert names(small_disk) == []
