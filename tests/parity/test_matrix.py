"""Every format in every runtime: one small model, exported to all of them, checked as a user would."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from swift_export.artifacts.manifest import read_manifest
from swift_export.errors import MachineError, UsageError
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.variants import TINY
from swift_export.models.swift.weights import synthetic_weights
from swift_export.parity import check_paths, report_files
from swift_export.parity.measure.tolerances import TOLERANCES, Limits
from swift_export.parity.report import read_schema
from swift_export.runtimes.base import AbsentDevice
from swift_export.runtimes.registry import RUNTIMES

EVERY = pytest.mark.requires("savedmodel", "iree", "openvino", "cc")
#: IREE compiles for seconds per block, longer the more there is to vectorize.
SMALL = replace(TINY, img_size=(24, 24, 24, 4), embed_dim=4, depths=(2, 1))
BLOCKS = ["stage0/block0", "stage0/block1", "stage1/block0"]

#: Which runtime runs what of a whole artifact.
CELLS = {
    ("onnx/model.onnx", "ONNX Runtime"),
    ("onnx/model.onnx", "OpenVINO"),
    ("savedmodel/1", "TensorFlow"),
    ("savedmodel/1", "TensorFlow C API"),
    ("stablehlo/model.jax", "jax.export"),
    ("stablehlo/model.mlir.bc", "StableHLO on XLA"),
    ("stablehlo/model.mlir.bc", "IREE"),
    ("stablehlo/model.b1.mlir.bc", "StableHLO on XLA"),
    ("stablehlo/model.b1.mlir.bc", "IREE"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    from swift_export.exporting import run_export

    folder = tmp_path_factory.mktemp("matrix") / "whole"
    run_export(("onnx", "stablehlo", "savedmodel"), swift_model(synthetic_weights(SMALL)), folder, check=False)
    return folder


@pytest.fixture(scope="module")
def matrix(whole):
    # Files of any batch size at one that no export used; one file's is fixed to 1.
    return check_paths([whole], batches=[2])


@EVERY
def test_six_runtimes_compute_the_same(matrix):
    matrix.raise_for_failures()
    assert {(checked.file, checked.info.name) for checked in matrix.artifacts} >= CELLS
    assert not matrix.broken
    assert not matrix.notes
    for checked in matrix.artifacts:
        assert checked.info.version
        assert checked.info.settings["threads"]
        for comparison in checked.comparisons:
            assert max(comparison.difference.relative_l2, comparison.difference.relative_max) <= 1e-5
            assert comparison.allowed.relative_l2 == 1e-5
            assert comparison.difference.cosine == pytest.approx(1, abs=1e-9)
            assert comparison.difference.worst is not None
            assert comparison.difference.non_finite == 0


@EVERY
def test_every_runtime_is_followed_from_block_to_block(matrix):
    for checked in matrix.artifacts:
        assert [error.block for error in checked.blocks] == BLOCKS, checked.info.name
        assert max(error.difference.relative_l2 for error in checked.blocks) <= 1e-5
        assert checked.picture.found.shape == checked.picture.expected.shape == (4, 4)
        assert np.abs(checked.picture.found - checked.picture.expected).max() <= 1e-4


@EVERY
def test_a_warm_call_of_every_runtime_is_timed(matrix):
    for checked in matrix.artifacts:
        first, *others = checked.times
        assert len(first.call_s) == 3
        assert not any(time.call_s for time in others)


@EVERY
def test_what_a_file_says_is_read_once(matrix):
    read = [checked.file for checked in matrix.artifacts if checked.settings]

    assert sorted(read) == sorted({checked.file for checked in matrix.artifacts})


@EVERY
def test_the_reports_tell_of_every_cell(matrix, whole):
    files = report_files(read_manifest(whole), matrix)

    jsonschema.validate(json.loads(files["parity.json"]), read_schema())
    for checked in matrix.artifacts:
        assert f"{checked.file} in {checked.runtime}" in files["parity.html"]
        assert checked.runtime in files["parity.md"]


def test_only_the_runtimes_that_are_named_run(artifact):
    report = check_paths([artifact], runtimes=["onnxruntime", "jax-export"], batches=[1], blocks=False)

    assert [(c.file, c.info.name) for c in report.artifacts] == [
        ("onnx/model.onnx", "ONNX Runtime"),
        ("stablehlo/model.jax", "jax.export"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtimes": ["caffe"]}, "--runtime caffe: expected one of jax_export, portable, iree"),
        ({"runtimes": ["reference"]}, "--runtime reference: expected one of"),
        ({"runtimes": ["onnxruntime"], "part": "stablehlo"}, "none of onnxruntime reads the files in"),
        ({"precision": "float8"}, "--precision float8: expected float32 or tf32"),
        ({"precision": "bfloat16", "runtimes": ["onnxruntime"]}, "ONNX Runtime on the cpu computes in float32"),
        ({"limits": Limits(relative_l2=1e-3)}, "--max-l2 0.001: looser than the 1e-05 that float32 on cpu is held to"),
        ({"limits": Limits(relative_max=1e-3, reason="  ")}, "--max-error 0.001: looser than the 1e-05"),
        ({"limits": Limits(relative_l2=float("nan"))}, "--max-l2 nan: expected a number above 0"),
        ({"limits": Limits(reason="because")}, "--tolerance-reason: expected --max-l2 or --max-error"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(artifact, options, message):
    path = artifact / options.pop("part", ".")

    with pytest.raises(UsageError, match=message):
        check_paths([path], **options)


def test_a_runtime_that_is_not_installed_is_named_with_what_brings_it(artifact, monkeypatch):
    # As on a machine that does not have it.
    monkeypatch.setattr("swift_export.runtimes.registry.missing", lambda runtime: (runtime.packages[0],))

    with pytest.raises(UsageError, match=r"OpenVINO is not installed \(openvino not found\): pip install 'swift-ex"):
        check_paths([artifact], runtimes=["openvino"])


@pytest.mark.parametrize(
    "runtime",
    [
        "jax_export",
        "portable",
        pytest.param("iree", marks=pytest.mark.requires("iree")),
        pytest.param("tensorflow", marks=pytest.mark.requires("savedmodel")),
        pytest.param("tensorflow_c", marks=pytest.mark.requires("savedmodel", "cc")),
        "onnxruntime",
        pytest.param("openvino", marks=pytest.mark.requires("openvino")),
    ],
)
def test_a_gpu_that_is_absent_is_said_in_one_line(request, runtime):
    folder = request.getfixturevalue("whole" if RUNTIMES["tensorflow"].installed else "artifact")

    with pytest.raises((AbsentDevice, MachineError), match="--device gpu: ") as caught:
        check_paths([folder], runtimes=[runtime], device="gpu")
    assert "\n" not in str(caught.value)


def test_a_stricter_tolerance_is_in_force_and_a_looser_one_is_recorded_with_its_reason(artifact):
    def checked(**limits):
        return check_paths(
            [artifact / "onnx"], runtimes=["onnxruntime"], batches=[1], blocks=False, limits=Limits(**limits)
        )

    strict = checked(relative_l2=1e-9)
    assert not strict.passed
    assert {c.allowed.relative_l2 for c in strict.artifacts[0].comparisons} == {1e-9}
    # Nothing is wrong at any place: it is the output that is not as near as was asked for.
    assert strict.artifacts[0].fault.place == "features"
    loose = checked(relative_max=1e-3, reason="a trial\nof two lines")
    loose.raise_for_failures()
    (allowed,) = {c.allowed for c in loose.artifacts[0].comparisons}
    assert (allowed.relative_l2, allowed.relative_max) == (1e-5, 1e-3)
    assert allowed.reason.startswith("asked for: a trial of two lines; ")


@pytest.mark.requires("openvino")
def test_another_precision_is_held_to_its_own_tolerance(artifact):
    report = check_paths([artifact / "onnx"], precision="bfloat16", batches=[1], blocks=False)
    if report.broken:  # a processor without it
        assert "bfloat16" in report.broken[0].reason
        return
    report.raise_for_failures()
    (checked,) = report.artifacts
    assert checked.info.arithmetic == "bfloat16"
    assert {c.allowed for c in checked.comparisons} == {TOLERANCES["bfloat16", "cpu"]}
    assert max(c.difference.relative_l2 for c in checked.comparisons) > 1e-5


@pytest.mark.requires("openvino")
def test_operators_of_onnx_runtimes_own_run_wherever_they_are_known(weights, tmp_path):
    from swift_export.exporting import run_export

    run_export(("onnx",), swift_model(weights), tmp_path / "own", onnx=OnnxSettings(target="onnxruntime"), check=False)

    report = check_paths([tmp_path / "own"], batches=[1], blocks=False)

    report.raise_for_failures()
    assert [checked.info.name for checked in report.artifacts] == ["ONNX Runtime", "OpenVINO"]


@pytest.mark.requires("openvino")
def test_a_runtime_that_breaks_does_not_take_the_report_with_it(artifact, tmp_path):
    # A package of that name which ends the process, where the runtimes' processes look first.
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("import os; os._exit(9)\n")

    report = check_paths([artifact / "onnx"], batches=[1], blocks=False, search=[tmp_path])

    assert [checked.info.name for checked in report.artifacts] == ["ONNX Runtime"]
    assert [broken.runtime for broken in report.broken] == ["OpenVINO"]
    assert not report.passed
    assert report.failures[0].startswith("OpenVINO on model.onnx: ended with exit status 9")
