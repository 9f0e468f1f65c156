"""The weights in files: all there, bit for bit, in whatever form; and one that is another is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from swift_export.converter.opsets import TARGETS
from swift_export.lowering.lower import lower_open
from swift_export.lowering.onnx_file import write_onnx
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.lowering.stablehlo import write_stablehlo
from swift_export.models.swift.settings import ATTENTION, SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import synthetic_weights
from swift_export.parity.structure.weight_identity import digests, weight_identity

STABLEHLO = ("stablehlo/model.jax", "stablehlo/model.mlir.bc", "stablehlo/model.b1.mlir.bc")
CHANGED = "model.layers.1.blocks.0.attn.qkv.weight"


def changed(weights, name=CHANGED):
    """The same weights with one number of one tensor moved by its last bit."""
    tensor = weights.tensors[name].copy()
    tensor.reshape(-1)[7] = np.nextafter(tensor.reshape(-1)[7], np.float32(np.inf))
    return replace(weights, tensors={**weights.tensors, name: tensor})


def named(setting):
    assert setting.expected.endswith("of the model, bit for bit")
    return None if setting.holds else setting.found


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("frames", [None, 3])
@pytest.mark.parametrize("case", ["tiny-full", "tiny-padded"])
def test_an_onnx_file_holds_them(config_of, tmp_path, case, attention, frames):
    weights = synthetic_weights(config_of(case))
    model = swift_model(weights, SwiFTSettings(frames=frames, attention=attention))
    lowered = lower_open(model)
    for target in TARGETS:
        write_onnx(model, tmp_path / target, OnnxSettings(target=target), lowered)
        file = tmp_path / target / "onnx/model.onnx"

        assert named(weight_identity(file, digests(weights.tensors))) is None
        assert named(weight_identity(file, digests(changed(weights).tensors))) == (
            f"1 differ or are absent, such as {CHANGED}"
        )


def test_an_onnx_file_in_which_a_tensor_has_the_name_of_another_does_not(weights, staged, tmp_path):
    model = onnx.load(staged / "onnx/model.onnx")
    norms = {t.name: t for t in model.graph.initializer if t.name.endswith(".norm1.weight")}
    first, second, *_ = (norms[name] for name in sorted(norms))
    first.name, second.name = second.name, first.name
    onnx.save(model, tmp_path / "swapped.onnx")

    assert named(weight_identity(tmp_path / "swapped.onnx", digests(weights.tensors))).startswith(
        "2 differ or are absent"
    )


@pytest.mark.parametrize("frames", [None, 3])
def test_stablehlo_files_hold_them(weights, tmp_path, frames):
    write_stablehlo(swift_model(weights, SwiFTSettings(frames=frames)), tmp_path)

    for file in STABLEHLO:
        assert named(weight_identity(tmp_path / file, digests(weights.tensors))) is None
        assert CHANGED in named(weight_identity(tmp_path / file, digests(changed(weights).tensors)))


@pytest.mark.requires("savedmodel")
def test_a_savedmodel_and_the_onnx_file_made_of_it_hold_them(weights, tmp_path):
    from swift_export.lowering.savedmodel import write_savedmodel

    write_savedmodel(swift_model(weights), tmp_path)
    write_onnx(swift_model(weights), tmp_path, OnnxSettings(via="savedmodel"))

    for file in ("savedmodel/1", "onnx/model.onnx"):
        assert named(weight_identity(tmp_path / file, digests(weights.tensors))) is None
        assert CHANGED in named(weight_identity(tmp_path / file, digests(changed(weights).tensors)))


def test_tensors_that_are_equal_or_the_same_number_all_over_are_found(weights, tmp_path):
    # As a model begins: norms that do nothing yet, no biases.
    tensors = {
        name: np.full_like(t, float(name.endswith("weight"))) if ".norm" in name or name.endswith("bias") else t
        for name, t in weights.tensors.items()
    }
    fresh = replace(weights, tensors=tensors)
    write_onnx(swift_model(fresh), tmp_path)
    write_stablehlo(swift_model(fresh), tmp_path)

    for file in ("onnx/model.onnx", *STABLEHLO):
        assert named(weight_identity(tmp_path / file, digests(tensors))) is None
        assert named(weight_identity(tmp_path / file, digests(weights.tensors))) is not None
