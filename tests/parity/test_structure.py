"""Settings read from graphs: right ones hold, and every planted fault is found where it was planted."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest

from swift_export.lowering.settings import ExportSettings
from swift_export.parity.compare import compare
from swift_export.parity.examining import Examination, examine_file
from swift_export.parity.inputs import phantom
from swift_export.parity.structure import examine
from swift_export.weights import synthetic_weights

STABLEHLO = ("stablehlo/model.jax", "stablehlo/model.mlir.bc", "stablehlo/model.b1.mlir.bc")
TINY = ("tiny-full", "tiny-windowed", "tiny-padded")


@pytest.fixture
def model(staged):
    return oir.load(staged / "onnx/model.onnx")


def wrong(settings):
    return {(setting.place, setting.name) for setting in settings if not setting.holds}


def node(model, scope, op_type, index=0):
    return [n for n in model.graph if n.op_type == op_type and n.name.startswith(f"{scope}/")][index]


def initializer(value, array):
    """Give a constant another content."""
    value.const_value = oir.tensor(np.asarray(array, value.const_value.numpy().dtype), name=value.name)


@pytest.mark.parametrize("case", TINY)
@pytest.mark.parametrize("frames", [None, 3])
def test_a_right_graph_says_what_the_architecture_says(config_of, write, tmp_path, case, frames):
    config = config_of(case)
    write(synthetic_weights(config), tmp_path, "onnx", settings=ExportSettings(frames=frames))

    settings = examine_file(tmp_path / "onnx/model.onnx", config, frames)

    assert not wrong(settings)
    epsilons = [setting for setting in settings if setting.name == "epsilon"]
    assert len(epsilons) == 2 * sum(config.depths) + config.stages - 1
    assert {setting.found for setting in epsilons} == {"1e-05"}
    assert sum(setting.name == "windows" for setting in settings) == sum(config.depths)


def test_settings_are_those_of_the_exported_number_of_frames(weights, staged):
    # As if the file had been exported for 3 frames: windows along time are others.
    settings = examine_file(staged / "onnx/model.onnx", weights.config, 3)

    assert ("stage0/block0", "windows") in wrong(settings)


def epsilon(model):
    node(model, "stage1/block0/norm2", "LayerNormalization").attributes["epsilon"] = oir.AttrFloat32("epsilon", 1e-6)


def mask_value(model):
    values = node(model, "stage0/mask", "Where").inputs[1:]
    (masked,) = [value for value in values if value.const_value.numpy() == -100]
    initializer(masked, -1e4)


def mask_of_another_region(model):
    regions = node(model, "stage1/mask", "Unsqueeze").inputs[0]
    changed = regions.const_value.numpy().copy()
    changed[-1, -1] = changed[-1, 0]
    initializer(regions, changed)


def no_mask(model):
    add = node(model, "stage1/block1/attention", "Softmax").inputs[0].producer()
    scores = next(value for value in add.inputs if value.producer().op_type == "MatMul")
    node(model, "stage1/block1/attention", "Softmax").replace_input_with(0, scores)


def mask_where_nothing_shifts(model):
    softmax, masked = (node(model, f"stage1/block{block}/attention", "Softmax") for block in (0, 1))
    add = masked.inputs[0].producer()
    (mask,) = [value for value in add.inputs if value.producer().op_type != "MatMul"]
    added = oir.node("Add", [softmax.inputs[0], mask], name="stage1/block0/attention/Add")
    added.outputs[0].shape = softmax.inputs[0].shape
    model.graph.insert_before(softmax, added)
    softmax.replace_input_with(0, added.outputs[0])


def shift_reversed(model):
    split = node(model, "stage1/block1/attention", "Split")
    sizes = split.inputs[1]
    backwards = oir.Value(name="backwards", const_value=oir.tensor(sizes.const_value.numpy()[::-1].copy()))
    model.graph.register_initializer(backwards)
    split.replace_input_with(1, backwards)


def no_shift(model):
    concat = node(model, "stage1/block1/attention", "Concat")
    first, second = concat.inputs
    concat.replace_input_with(0, second)
    concat.replace_input_with(1, first)


def windows_of_another_order(model):
    transpose = node(model, "stage0/block0/attention", "Transpose")
    perm = list(transpose.attributes["perm"].as_ints())
    perm[5], perm[6] = perm[6], perm[5]
    transpose.attributes["perm"] = oir.AttrInt64s("perm", perm)


FAULTS = {
    epsilon: {("stage1/block0/norm2", "epsilon")},
    mask_value: {(f"stage{stage}/block1", "mask") for stage in range(3)},
    mask_of_another_region: {("stage1/block1", "mask")},
    no_mask: {("stage1/block1", "mask")},
    mask_where_nothing_shifts: {("stage1/block0", "mask")},
    shift_reversed: {("stage1/block1", "windows")},
    no_shift: {("stage1/block1", "windows")},
    windows_of_another_order: {("stage0/block0", "windows")},
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found_in_its_place(weights, model, fault):
    assert not wrong(examine(model, weights.config))

    fault(model)

    assert wrong(examine(model, weights.config)) == FAULTS[fault]


@pytest.mark.parametrize("fault", [epsilon, mask_value], ids=lambda fault: fault.__name__)
def test_features_cannot_tell_such_a_fault(weights, staged, model, fault):
    bold = phantom(weights.config, 1)

    def features(content):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return session.run(["features"], {"bold": bold})[0]

    right = features(str(staged / "onnx/model.onnx"))
    fault(model)

    assert compare(features(oir.to_proto(model).SerializeToString()), right).relative_l2 < 1e-5


def test_what_was_found_is_said(weights, model):
    mask_value(model)
    epsilon(model)
    no_shift(model)
    said = {(s.place, s.name): s.found for s in examine(model, weights.config) if not s.holds}

    assert said["stage1/block0/norm2", "epsilon"] == "1e-06"
    assert "pairs differ, values -10000 to 0" in said["stage0/block1", "mask"]
    assert "tokens elsewhere" in said["stage1/block1", "windows"]


def test_a_graph_without_the_backbones_scopes_does_not_pass(weights, model):
    for n in model.graph:
        n.name = f"renamed/{n.name}"

    settings = examine(model, weights.config)

    found = {s.found for s in settings if s.name == "epsilon"}
    assert found == {s for s in found if s.startswith("unreadable: 0 LayerNormalization in stage")}
    assert len(wrong(settings)) == len(settings) - 1


@pytest.mark.parametrize("file", STABLEHLO)
def test_stablehlo_is_read_the_same_way(weights, staged, file):
    settings = examine_file(staged / file, weights.config)

    assert not wrong(settings)
    platforms = {setting.place.partition(": ")[0] for setting in settings if ": " in setting.place}
    assert platforms == ({"cpu", "cuda"} if file.endswith(".jax") else set())


@pytest.mark.parametrize("constant", ["layers.LAYER_NORM_EPSILON", "windows.MASK_VALUE"])
def test_faults_in_stablehlo_are_found(weights, write, tmp_path, monkeypatch, constant):
    monkeypatch.setattr(f"swift_export.backbone.{constant}", {"L": 1e-6, "M": -1e4}[constant.split(".")[1][0]])
    write(weights, tmp_path, "stablehlo")

    for file in STABLEHLO:
        names = {name for _, name in wrong(examine_file(tmp_path / file, weights.config))}
        assert names == {"epsilon" if "EPSILON" in constant else "mask"}


@pytest.mark.requires("savedmodel")
def test_the_savedmodels_modules_are_read_the_same_way(weights, write, tmp_path, monkeypatch):
    right = write(weights, tmp_path / "right", "savedmodel") / "savedmodel/1"
    monkeypatch.setattr("swift_export.backbone.windows.MASK_VALUE", -1e4)
    faulty = write(weights, tmp_path / "faulty", "savedmodel") / "savedmodel/1"

    # TensorFlow talks while it is imported: a process of its own keeps it away from here.
    folder = tmp_path / "work"
    folder.mkdir()
    with Examination({right: None, faulty: None}, weights.config, {}, folder) as examination:
        found = examination.answer()

    assert not wrong(found[right])
    assert {name for _, name in wrong(found[faulty])} == {"mask"}
    assert any(setting.place.startswith("cuda: stage2/") for setting in found[right])


def test_the_files_own_words_are_held_against_the_weights(weights, staged):
    path = staged / "onnx/model.onnx"

    right = examine_file(path, weights.config, stated={"swift_export.weights_sha256": weights.digest})
    other = examine_file(path, weights.config, stated={"swift_export.weights_sha256": "0" * 64})

    assert not wrong(right)
    assert wrong(other) == {("metadata", "swift_export.weights_sha256")}
