"""Planted faults: found, and the block named that they were planted in."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest

from swift_export.backbone.config import SwiFTConfig
from swift_export.lowering.forms import choose_forms
from swift_export.lowering.onnx_file import backbone_to_onnx
from swift_export.lowering.savedmodel import write_savedmodel
from swift_export.lowering.settings import ExportSettings
from swift_export.lowering.stablehlo import write_stablehlo
from swift_export.parity.compare import compare
from swift_export.parity.inputs import Phantom
from swift_export.parity.inside import Inside
from swift_export.parity.locating import first_differing, locate
from swift_export.parity.results import Comparison, Fault
from swift_export.parity.running import run_artifact, run_reference, write_clips
from swift_export.parity.targets import Target
from swift_export.parity.tolerances import tolerance
from swift_export.runtimes.reference_file import Reference
from swift_export.runtimes.registry import RUNTIMES
from swift_export.weights import Weights, synthetic_weights

sys.path.insert(0, str(Path(__file__).parent))
from faults import FAULTS, SIZES, Planted, draw, planted

#: Stages and blocks of the published model, at a size of seconds.
TWELVE = SwiFTConfig(
    img_size=(16, 16, 16, 4),
    in_chans=1,
    embed_dim=12,
    window_size=(2, 2, 2, 2),
    first_window_size=(4, 4, 4, 2),
    patch_size=(2, 2, 2, 1),
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    c_multiplier=2,
    last_layer_full_MSA=True,
)
ALLOWED = tolerance("float32", "cpu")
#: What a planted fault has to do to the features at least.
VISIBLE = 10 * ALLOWED.relative_l2


@dataclass
class Bench:
    """Faulty exports of the same weights, held against the same reference."""

    folder: Path
    weights: Weights = field(default_factory=lambda: synthetic_weights(TWELVE))
    made: int = 0

    def __post_init__(self):
        reference = Reference(TWELVE, self.weights.tensors)
        self.clips = write_clips([Phantom(TWELVE)], 1, TWELVE.input_shape(), self.new_folder())
        _, self.expected = run_reference(reference, self.clips, self.new_folder())
        self.inside = Inside(reference, "cpu", "float32", (), self.new_folder())

    def new_folder(self) -> Path:
        self.made += 1
        folder = self.folder / f"step{self.made}"
        folder.mkdir()
        return folder

    def export(self, fault: Planted | None, runtime: str) -> Target:
        folder, settings = self.new_folder(), ExportSettings()
        with planted(fault) if fault else nullcontext():
            if RUNTIMES[runtime].reads == ("savedmodel",):
                write_savedmodel(self.weights, settings, folder)
                path = folder / "savedmodel" / "1"
            elif RUNTIMES[runtime].reads == ("onnx",):
                path = folder / "model.onnx"
                forms = choose_forms(TWELVE, self.weights.tensors, settings)
                oir.save(backbone_to_onnx(TWELVE, self.weights.tensors, settings, forms), path)
            else:
                write_stablehlo(self.weights, settings, folder)
                path = folder / "stablehlo" / ("model.jax" if runtime == "jax_export" else "model.mlir.bc")
        return Target(path, path.name, RUNTIMES[runtime], settings, None)

    def compare(self, target: Target) -> Comparison:
        answer = run_artifact(target.path, target.runtime, "cpu", (1,), self.clips, self.new_folder())
        found = np.load(answer.runs[0].outputs["features"])
        difference = compare(found, self.expected["phantom"][0]["features"])
        return Comparison("phantom", 1, "features", difference, ALLOWED)

    def find(self, fault: Planted, runtime: str = "onnxruntime") -> Fault:
        """Where the fault is found, in the smallest size that the features show ten times over."""
        for size in range(SIZES):
            target = self.export(Planted(fault.kind, fault.stage, fault.block, size), runtime)
            comparison = self.compare(target)
            if comparison.difference.relative_l2 >= VISIBLE:
                assert not comparison.passed
                return locate(self.inside, target, comparison, self.clips, ALLOWED)
        raise AssertionError(f"{fault} does not show in the features")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


def test_of_twenty_planted_faults_nineteen_are_traced_to_their_block(bench):
    drawn = draw(TWELVE, 20)
    found = [bench.find(fault) for fault in drawn]

    wrong = [f"{fault}: {where}" for fault, where in zip(drawn, found, strict=True) if where.block != fault.place]
    assert len(wrong) <= 1, wrong
    assert {fault.kind for fault in drawn} == set(FAULTS)


@pytest.mark.parametrize(
    ("runtime", "fault"),
    [
        ("portable", Planted("gelu approximated", 2, 3)),
        ("jax_export", Planted("shift reversed", 1, 1)),
        pytest.param("iree", Planted("a weight of the MLP", 2, 0), marks=pytest.mark.requires("iree")),
        pytest.param("openvino", Planted("q unscaled", 0, 1), marks=pytest.mark.requires("openvino")),
        pytest.param("tensorflow", Planted("mask left out", 2, 5), marks=pytest.mark.requires("savedmodel")),
    ],
)
def test_files_of_every_kind_are_looked_into(bench, runtime, fault):
    assert bench.find(fault, runtime).block == fault.place


def test_the_place_within_the_block_and_the_last_that_agrees_are_named(bench):
    found = bench.find(Planted("epsilon of the second norm", 2, 3))

    assert (found.place, found.before) == ("stage2/block3/norm2", "stage2/block3/attention")
    assert found.difference.relative_l2 > ALLOWED.relative_l2
    assert str(found).startswith("first differs at stage2/block3/norm2 (relative L2 ")


def test_where_every_place_agrees_the_output_is_named(bench, monkeypatch):
    # The layout of the features alone is wrong.
    monkeypatch.setattr("swift_export.backbone.swift.channels_first", lambda x: x.transpose(0, 5, 3, 2, 1, 4))
    target = bench.export(None, "onnxruntime")

    found = locate(bench.inside, target, bench.compare(target), bench.clips, ALLOWED)

    assert (found.place, found.block, found.before) == ("features", None, "stage3/block1/output")


@pytest.mark.parametrize("first", range(8))
def test_bisection_finds_the_first_of_those_that_differ(first):
    places, asked = list("abcdefg"), []

    def differs(place):
        asked.append(place)
        return places.index(place) >= first

    assert first_differing(places, differs) == first
    assert len(asked) <= 3
