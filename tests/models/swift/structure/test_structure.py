"""Settings read from graphs: right ones hold, and every planted fault is found where it was planted."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import equinox as eqx
import numpy as np
import onnx_ir as oir
import onnxruntime
import pytest

from swift_export.converter.opsets import TARGETS
from swift_export.lowering.lower import lower_open
from swift_export.lowering.onnx_file import model_to_onnx
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models import Procedure
from swift_export.models.swift.backbone import SwiFT
from swift_export.models.swift.backbone.partition import Partition, WindowGroup, partition
from swift_export.models.swift.check_inputs import noise
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.forms import choose_forms
from swift_export.models.swift.settings import ATTENTION, SwiFTSettings
from swift_export.models.swift.structure.examine import examine_graph
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import synthetic_weights
from swift_export.parity.measure.compare import compare
from swift_export.parity.structure.examining import Examination, examine_file

STABLEHLO = ("stablehlo/model.jax", "stablehlo/model.mlir.bc", "stablehlo/model.b1.mlir.bc")
TINY = ("tiny-full", "tiny-windowed", "tiny-padded")

#: Padded and shifted in the first stage, where a window backwards is another one; one window in the second.
SMALL = SwiFTConfig(
    img_size=(8, 8, 8, 4),
    in_chans=1,
    embed_dim=4,
    window_size=(4, 4, 4, 4),
    first_window_size=(3, 3, 2, 2),
    patch_size=(2, 2, 2, 1),
    depths=(2, 1),
    num_heads=(2, 2),
    c_multiplier=2,
    last_layer_full_MSA=True,
)
SHIFTED, UNSHIFTED = "stage0/block1", "stage0/block0"
GRID = SMALL.grid(0)


def forms_of(weights, settings):
    """What the check expects of the files of an export."""
    forms = choose_forms(weights.config, weights.tensors, settings)
    return {f"stage{stage}/block{block}": form.form for (stage, block), form in forms.items()}


def asked(config, forms, frames=None):
    """The structural check of a file, as a model asks for it."""
    arguments = {"config": config.to_dict(), "frames": frames, "forms": forms}
    return Procedure("swift_export.models.swift.structure.examine", arguments)


def of_every_target(model):
    """The ONNX models of a model, which is lowered once."""
    lowered = lower_open(model)
    return {target: model_to_onnx(model, OnnxSettings(target=target), lowered) for target in TARGETS}


def wrong(settings):
    return {(setting.place, setting.name) for setting in settings if not setting.holds}


@pytest.mark.parametrize("case", TINY)
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("frames", [None, 3])
def test_a_right_graph_says_what_the_architecture_says(config_of, tmp_path, case, attention, frames):
    config, settings = config_of(case), SwiFTSettings(frames=frames, attention=attention)
    weights = synthetic_weights(config)
    model = swift_model(weights, settings)
    for target, onnx in of_every_target(model).items():
        path = tmp_path / f"{target}.onnx"
        oir.save(onnx, path)

        says_what_the_architecture_says(examine_file(path, model.structure), weights, settings)


def says_what_the_architecture_says(found, weights, settings):
    config = weights.config
    assert not wrong(found)
    epsilons = [setting for setting in found if setting.name == "epsilon"]
    assert len(epsilons) == 2 * sum(config.depths) + config.stages - 1
    assert {setting.found for setting in epsilons} == {"1e-05"}
    for name in ("windows", "mask", "floor"):
        assert sum(setting.name == name for setting in found) == sum(config.depths)
    masks = {setting.place: setting.found for setting in found if setting.name == "mask"}
    assert {place for place, mask in masks.items() if mask != "none"} == (
        set(forms_of(weights, settings)) if settings.attention == "masked" else set()
    )


def test_settings_are_those_of_the_exported_number_of_frames(weights, staged):
    # As if the file had been exported for 3 frames: windows along time are others.
    found = examine_file(staged / "onnx/model.onnx", swift_model(weights, SwiFTSettings(frames=3)).structure)

    assert (UNSHIFTED, "windows") in wrong(found)


@pytest.mark.parametrize(
    ("attention", "expected", "names"),
    [("auto", "masked", {"windows"}), ("masked", "regions", {"windows", "mask", "floor"})],
)
def test_a_form_that_the_weights_did_not_choose_is_found(attention, expected, names):
    model = model_to_onnx(swift_model(synthetic_weights(SMALL), SwiFTSettings(attention=attention)), OnnxSettings())

    assert wrong(examine_graph(model, SMALL, forms={SHIFTED: expected})) == {(SHIFTED, name) for name in names}


@cache
def right_models(attention):
    """By target, the files of SMALL without a fault; for `Faulty`, before it changes the backbone."""
    made = of_every_target(swift_model(synthetic_weights(SMALL), SwiFTSettings(attention=attention)))
    return {target: oir.to_proto(model) for target, model in made.items()}


class Faulty:
    """Exports SMALL with what the test made of the backbone, and says what is wrong with the file."""

    def __init__(self, monkeypatch, attention):
        self.monkeypatch = monkeypatch
        self.settings = SwiFTSettings(attention=attention)
        self.weights = synthetic_weights(SMALL)
        # The published model has enough windows for it: some groups of a masked block need no mask.
        self.constant("partition.WORTH_A_GROUP", 1)
        self._right = right_models(attention)

    def right(self, target="portable"):
        """The model without faults, to be changed."""
        return oir.from_proto(self._right[target])

    def models(self):
        """The model with faults, by target."""
        return of_every_target(swift_model(self.weights, self.settings))

    def model(self):
        return model_to_onnx(swift_model(self.weights, self.settings), OnnxSettings())

    def wrong(self, model):
        return wrong(examine_graph(model, SMALL, None, forms_of(self.weights, self.settings)))

    def constant(self, name, value):
        self.monkeypatch.setattr(f"swift_export.models.swift.backbone.{name}", value)

    def cut(self, change, *, shifted=True):
        """Have the shifted, or the other, blocks of the first stage cut otherwise."""

        def cut(plan, form):
            right = partition(plan, form)
            return change(plan, right) if plan.grid == GRID and plan.shifted is shifted else right

        self.monkeypatch.setattr("swift_export.models.swift.backbone.attention.partition", cut)

    def tokens(self, change):
        """Have the shifted blocks' windows hold other tokens."""
        from swift_export.models.swift.backbone.windows import window_tokens

        def tokens(plan):
            return change(plan, window_tokens) if plan.shifted else window_tokens(plan)

        self.monkeypatch.setattr("swift_export.models.swift.backbone.partition.window_tokens", tokens)


def masked_groups(right, change):
    """The partition with the groups' regions changed, where there are any."""
    groups = [g if g.regions is None else replace(g, regions=change(g.regions)) for g in right.groups]
    return Partition(right.order, tuple(groups))


def mask_value(faulty):
    faulty.constant("windows.MASK_VALUE", -1e4)


def mask_of_another_region(faulty):
    def change(regions):
        other = regions.copy()
        other[-1, -1] = other[-1, 0]
        return other

    faulty.cut(lambda plan, right: masked_groups(right, change))


def no_mask(faulty):
    faulty.cut(lambda plan, right: masked_groups(right, lambda regions: None))


def masks_of_other_windows(faulty):
    faulty.cut(lambda plan, right: masked_groups(right, lambda regions: regions[::-1]))


def floor_too_high(faulty):
    faulty.constant("attention.MASK_FLOOR", 5.0)


def mask_where_none_belongs(faulty):
    faulty.cut(with_a_mask)


def mask_where_nothing_shifts(faulty):
    faulty.cut(with_a_mask, shifted=False)


def with_a_mask(plan, right):
    first, *others = right.groups
    regions = np.zeros((first.sets, first.tokens), np.int32)
    regions[0, 0] = 1
    return Partition(right.order, (WindowGroup(first.sets, first.tokens, regions), *others))


def shift_reversed(faulty):
    faulty.tokens(lambda plan, tokens: tokens(replace(plan, shift=tuple(-s for s in plan.shift))))


def no_shift(faulty):
    faulty.tokens(lambda plan, tokens: tokens(replace(plan, shift=(0, 0, 0, 0))))


def windows_of_another_order(faulty):
    faulty.tokens(lambda plan, tokens: tokens(plan).T.reshape(-1, plan.tokens))


def tokens_of_two_windows_swapped(faulty):
    def change(plan, right):
        order = right.order.copy()
        order[[0, -1]] = order[[-1, 0]]
        return Partition(order, right.groups)

    faulty.cut(change)


def token_missing(faulty):
    def change(plan, right):
        order = right.order.copy()
        order[0] = order[right.groups[0].tokens]
        return Partition(order, right.groups)

    faulty.cut(change)


def group_cut_wrongly(faulty):
    def change(plan, right):
        """Sets of a group joined, as many as its number allows."""
        number, group = next((i, g) for i, g in enumerate(right.groups) if g.sets > 1)
        parts = next(n for n in range(2, group.sets + 1) if group.sets % n == 0)
        sets, tokens = group.sets // parts, group.tokens * parts
        regions = None if group.regions is None else group.regions.reshape(sets, tokens)
        groups = list(right.groups)
        groups[number] = WindowGroup(sets, tokens, regions)
        return Partition(right.order, tuple(groups))

    faulty.cut(change)


#: In masks, which only one form has; in windows, which both have.
MASKS = {
    mask_value: {(SHIFTED, "mask")},
    mask_of_another_region: {(SHIFTED, "mask")},
    no_mask: {(SHIFTED, "mask")},
    masks_of_other_windows: {(SHIFTED, "mask")},
    floor_too_high: {(SHIFTED, "floor")},
}
WINDOWS = {
    mask_where_nothing_shifts: {(UNSHIFTED, "mask"), (UNSHIFTED, "floor")},
    shift_reversed: {(SHIFTED, "windows")},
    no_shift: {(SHIFTED, "windows")},
    windows_of_another_order: {(SHIFTED, "windows")},
    tokens_of_two_windows_swapped: {(SHIFTED, "windows")},
    token_missing: {(SHIFTED, "windows")},
    group_cut_wrongly: {(SHIFTED, "windows")},
}
PLANTED = [
    *[(fault, "masked", found) for fault, found in MASKS.items()],
    *[(fault, attention, found) for fault, found in WINDOWS.items() for attention in ATTENTION],
    (mask_where_none_belongs, "auto", {(SHIFTED, "mask"), (SHIFTED, "floor")}),
]


@pytest.mark.parametrize(
    ("fault", "attention", "found"), PLANTED, ids=[f"{fault.__name__}-{attention}" for fault, attention, _ in PLANTED]
)
def test_a_planted_fault_is_found_in_its_place(monkeypatch, fault, attention, found):
    faulty = Faulty(monkeypatch, attention)

    fault(faulty)

    wrong_of = {target: faulty.wrong(model) for target, model in faulty.models().items()}
    assert wrong_of == dict.fromkeys(TARGETS, found)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("attention", ATTENTION)
def test_the_model_of_the_faults_is_right_without_them(monkeypatch, target, attention):
    faulty = Faulty(monkeypatch, attention)
    model = faulty.right(target)

    assert not faulty.wrong(model)
    assert forms_of(faulty.weights, faulty.settings) == {SHIFTED: "masked" if attention == "masked" else "regions"}
    # Both ways of writing attention were read.
    attentions = {node.op_type for node in model.graph} & {"MultiHeadAttention", "Softmax"}
    assert "MultiHeadAttention" in attentions if target == "onnxruntime" else attentions == {"Softmax"}


def change_epsilon(model, scope="stage1/block0/norm2"):
    (node,) = [n for n in model.graph if n.op_type == "LayerNormalization" and n.name.startswith(f"{scope}/")]
    node.attributes["epsilon"] = oir.AttrFloat32("epsilon", 1e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("attention", ATTENTION)
def test_another_epsilon_is_found_in_its_place(monkeypatch, target, attention):
    faulty = Faulty(monkeypatch, attention)
    model = faulty.right(target)

    change_epsilon(model)

    assert faulty.wrong(model) == {("stage1/block0/norm2", "epsilon")}


@pytest.mark.parametrize("attention", ATTENTION)
def test_indices_changed_in_the_file_are_found(monkeypatch, attention):
    faulty = Faulty(monkeypatch, attention)
    model = faulty.right()
    gather = next(n for n in model.graph if n.op_type == "Gather" and n.name.startswith(f"{SHIFTED}/attention/"))
    order = gather.inputs[1].const_value.numpy().copy()
    order[[0, -1]] = order[[-1, 0]]

    gather.inputs[1].const_value = oir.tensor(order, name=gather.inputs[1].name)

    assert faulty.wrong(model) == {(SHIFTED, "windows")}


@pytest.mark.parametrize("operand", [4, 5], ids=["padding mask", "added to scores"])
def test_a_mask_inside_the_fused_op_is_found(monkeypatch, operand):
    faulty = Faulty(monkeypatch, "auto")
    model = faulty.right("onnxruntime")
    node = next(n for n in model.graph if n.op_type == "MultiHeadAttention" and n.name.startswith(f"{SHIFTED}/"))
    mask = oir.Value(name="mask", const_value=oir.tensor(np.zeros((1, 1, 1, 1), np.float32), name="mask"))
    model.graph.register_initializer(mask)

    node.resize_inputs(operand + 1)
    node.replace_input_with(operand, mask)

    assert faulty.wrong(model) == {(SHIFTED, "windows")}
    (said,) = [s.found for s in examine_graph(model, SMALL, forms={SHIFTED: "regions"}) if not s.holds]
    assert said == f"unreadable: {node.name} has a mask"


def features(model, bold):
    session = onnxruntime.InferenceSession(oir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["features"], {"bold": bold})[0]


@pytest.mark.parametrize("fault", ["epsilon", mask_value], ids=["epsilon", "mask_value"])
def test_features_cannot_tell_such_a_fault(monkeypatch, fault):
    faulty, bold = Faulty(monkeypatch, "masked"), noise(SMALL, 1)
    right = features(faulty.right(), bold)
    if fault == "epsilon":
        model = faulty.right()
        change_epsilon(model)
    else:
        fault(faulty)
        model = faulty.model()

    assert faulty.wrong(model)
    assert compare(features(model, bold), right).relative_l2 < 1e-5


def test_tokens_put_back_elsewhere_are_seen_in_the_features(monkeypatch):
    # The way back is no setting: it leaves the sets of tokens as they are.
    both, bold = [Faulty(monkeypatch, attention) for attention in ATTENTION], noise(SMALL, 2)
    right = np.asarray(eqx.filter_jit(SwiFT.from_weights(synthetic_weights(SMALL)))(bold))
    for faulty in both:
        for target in TARGETS:
            assert compare(features(faulty.right(target), bold), right).relative_l2 < 2e-6
    inverse = Partition.inverse.fget
    monkeypatch.setattr(Partition, "inverse", property(lambda cut: np.roll(inverse(cut), 1)))

    for faulty in both:
        for model in faulty.models().values():
            assert compare(features(model, bold), right).relative_l2 > 1e-3


def test_what_was_found_is_said(monkeypatch):
    faulty = Faulty(monkeypatch, "masked")
    mask_value(faulty)
    model = faulty.model()
    change_epsilon(model)
    said = {(s.place, s.name): s for s in examine_graph(model, SMALL) if not s.holds}

    assert said["stage1/block0/norm2", "epsilon"].found == "1e-06"
    assert said[SHIFTED, "mask"].expected == "values -100 to 0 by region"
    assert said[SHIFTED, "mask"].found.endswith(" pairs differ")

    no_shift(faulty)
    said = {(s.place, s.name): s for s in examine_graph(faulty.model(), SMALL) if not s.holds}

    plan = SMALL.window_plan(0, 1)
    assert said[SHIFTED, "windows"].expected == "window 3x3x2x2 shift 1x1x1x1 on 6x6x4x4, masked"
    assert said[SHIFTED, "windows"].found.endswith(f"of {math.prod(plan.counts)} sets of tokens differ")


def test_a_graph_without_the_backbones_scopes_does_not_pass(monkeypatch):
    faulty = Faulty(monkeypatch, "masked")
    model = faulty.right()
    for node in model.graph:
        node.name = f"renamed/{node.name}"

    settings = examine_graph(model, SMALL)

    assert {s.found for s in settings if s.name == "epsilon"} == {
        s.found for s in settings if s.found.startswith("unreadable: 0 LayerNormalization in stage")
    }
    # Only the number of LayerNormalizations says nothing about names.
    assert len(wrong(settings)) == len(settings) - 1


@pytest.mark.parametrize("file", STABLEHLO)
def test_stablehlo_is_read_the_same_way(weights, staged, file):
    settings = examine_file(staged / file, swift_model(weights).structure)

    assert not wrong(settings)
    platforms = {setting.place.partition(": ")[0] for setting in settings if ": " in setting.place}
    assert platforms == ({"cpu", "cuda"} if file.endswith(".jax") else set())


@pytest.mark.parametrize(
    ("fault", "attention", "place"),
    [(mask_value, "masked", (SHIFTED, "mask")), (no_shift, "auto", (SHIFTED, "windows"))],
    ids=["mask_value", "no_shift"],
)
def test_faults_in_stablehlo_are_found(write, tmp_path, monkeypatch, fault, attention, place):
    faulty = Faulty(monkeypatch, attention)
    forms = forms_of(faulty.weights, faulty.settings)
    write(faulty.weights, tmp_path / "right", "stablehlo", settings=faulty.settings)
    fault(faulty)
    faulty.constant("layers.LAYER_NORM_EPSILON", 1e-6)
    write(faulty.weights, tmp_path / "faulty", "stablehlo", settings=faulty.settings)

    for file in STABLEHLO:
        assert not wrong(examine_file(tmp_path / "right" / file, asked(SMALL, forms)))
        found = wrong(examine_file(tmp_path / "faulty" / file, asked(SMALL, forms)))
        places = {(p.rpartition(": ")[2], name) for p, name in found if name != "epsilon"}
        assert places == {place}
        assert {name for _, name in found} == {place[1], "epsilon"}


@pytest.mark.requires("savedmodel")
@pytest.mark.parametrize(
    ("fault", "attention", "name"),
    [(mask_value, "masked", "mask"), (no_shift, "auto", "windows")],
    ids=["mask_value", "no_shift"],
)
def test_the_savedmodels_modules_are_read_the_same_way(write, tmp_path, monkeypatch, fault, attention, name):
    made = Faulty(monkeypatch, attention)
    right = write(made.weights, tmp_path / "right", "savedmodel", settings=made.settings) / "savedmodel/1"
    fault(made)
    faulty = write(made.weights, tmp_path / "faulty", "savedmodel", settings=made.settings) / "savedmodel/1"

    # TensorFlow talks while it is imported: a process of its own keeps it away from here.
    folder = tmp_path / "work"
    folder.mkdir()
    with Examination([right, faulty], swift_model(made.weights, made.settings), folder) as examination:
        found = examination.answer()

    assert not wrong(found[right])
    assert {name for _, name in wrong(found[faulty])} == {name}
    assert any(setting.place.startswith("cuda: stage1/") for setting in found[right])


def test_the_files_own_words_are_held_against_the_weights(weights, staged):
    path, structure = staged / "onnx/model.onnx", swift_model(weights).structure

    def examined(digest):
        return wrong(examine_file(path, structure, {"swift_export.weights_sha256": digest}))

    assert not examined(weights.digest)
    assert examined("0" * 64) == {("metadata", "swift_export.weights_sha256")}
