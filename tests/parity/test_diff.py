"""Two artifacts against each other."""

from __future__ import annotations

import pytest

from swift_export.errors import UsageError
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import synthetic_weights
from swift_export.parity import diff_artifacts


def test_two_formats_of_the_same_weights_agree(artifact):
    report = diff_artifacts(artifact / "onnx/model.onnx", artifact / "stablehlo/model.b1.mlir.bc")

    (pair,) = report.pairs
    assert report.same_weights
    assert report.equal
    assert (pair.first_info.name, pair.second_info.name) == ("ONNX Runtime", "StableHLO on XLA")
    # The one takes any batch, the other one clip: that is what both can do.
    assert [(c.input, c.sizes, c.output) for c in pair.comparisons] == [
        ("noise", {"batch": 1}, "features"),
        ("phantom", {"batch": 1}, "features"),
    ]
    assert all(0 < c.difference.relative_l2 < 2e-6 for c in pair.comparisons)
    assert [row[-1] for row in report.rows()] == ["within 1e-05"] * 2


def test_other_weights_are_told_apart_file_by_file(artifact, config_of, write, tmp_path):
    from swift_export.exporting import run_export

    other = tmp_path / "other"
    run_export(("onnx",), swift_model(synthetic_weights(config_of(), seed=4)), other, check=False)

    report = diff_artifacts(artifact, other)

    assert not report.same_weights
    assert not report.equal
    (pair,) = report.pairs
    assert pair.second == f"{other}/onnx/model.onnx"
    assert all(c.difference.relative_l2 > 0.1 for c in pair.comparisons)


def test_what_cannot_be_compared_is_said(artifact, staged, weights, write, tmp_path):
    write(weights, tmp_path, "onnx", settings=SwiFTSettings(frames=3))

    with pytest.raises(
        UsageError, match=r"nothing to compare; found inputs bold .*8\), outputs features .* and inputs bold .*3\)"
    ):
        diff_artifacts(staged / "onnx/model.onnx", tmp_path / "onnx/model.onnx")
    with pytest.raises(UsageError, match=r"expected a common file, or one file each, found onnx/model\.onnx, "):
        diff_artifacts(artifact, tmp_path / "onnx/model.onnx")
