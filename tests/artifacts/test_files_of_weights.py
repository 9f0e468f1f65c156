"""An artifact whose ONNX file names a second one with its weights: written, checked, shown and replaced with it."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

import swift_export
from swift_export.artifacts import describe
from swift_export.artifacts.layout import ONNX_FILE
from swift_export.errors import ArtifactError
from swift_export.formats import onnx_writing
from swift_export.parity.golden.quick import check_quick


def dense(weights, x):
    return jax.numpy.tanh(x @ weights["w"])


def test_it_is_written_checked_shown_and_replaced_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_writing, "ONE_PIECE", 10_000)

    def export(number: float, **options: object) -> swift_export.exporting.ExportResult:
        weights = {"w": np.full((60, 60), number, np.float32)}
        shapes = {"x": ("batch", 60)}
        return swift_export.export(dense, shapes, tmp_path, formats="onnx", weights=weights, **options)

    result = export(0.1)
    data = sorted((tmp_path / "onnx").glob("*.data"))
    assert result.files == (tmp_path / ONNX_FILE,)
    assert set(result.manifest.artifacts["onnx"].files) == {ONNX_FILE, f"onnx/{data[0].name}"}
    (part,) = describe(tmp_path).parts
    assert part.size == sum(path.stat().st_size for path in (tmp_path / "onnx").iterdir())
    check_quick(tmp_path).report.raise_for_failures()

    export(0.2, check=False, force=True)
    (other,) = (tmp_path / "onnx").glob("*.data")
    assert other.name != data[0].name
    other.write_bytes(bytes(14400))
    with pytest.raises(ArtifactError, match=rf"{other.name}: changed since its export"):
        describe(tmp_path)
    other.unlink()
    with pytest.raises(ArtifactError, match=rf"{other.name}: missing, but recorded"):
        describe(tmp_path)
