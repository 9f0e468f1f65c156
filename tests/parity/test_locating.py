"""Planted faults: found, and the block named that they were planted in."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.weights import synthetic_weights
from swift_export.parity.locate.locating import first_differing
from swift_export.parity.locate.probes.making import make_probe
from swift_export.parity.measure.scratch import new_folder

sys.path.insert(0, str(Path(__file__).parent))
from faults import ALLOWED, FAULTS, Bench, Planted, draw

#: Stages of the published model, windowed and whole, with and without shifts, at a size of seconds.
STAGES = SwiFTConfig(
    img_size=(16, 16, 16, 4),
    in_chans=1,
    embed_dim=12,
    window_size=(2, 2, 2, 2),
    first_window_size=(4, 4, 4, 2),
    patch_size=(2, 2, 2, 1),
    depths=(1, 2, 4, 1),
    num_heads=(3, 6, 12, 24),
    c_multiplier=2,
    last_layer_full_MSA=True,
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"), synthetic_weights(STAGES))


def test_planted_faults_of_every_kind_are_traced_to_their_block(bench):
    # scripts/measure plants twenty of them in a model of the published size.
    # In most kinds the features of this one do not show the smallest.
    drawn = [replace(fault, size=1) for fault in draw(STAGES, len(FAULTS))]
    found = [bench.find(fault) for fault in drawn]

    wrong = [f"{fault}: {where}" for fault, where in zip(drawn, found, strict=True) if where.block != fault.place]
    assert not wrong
    assert {fault.kind for fault in drawn} == set(FAULTS)


@pytest.mark.parametrize(
    ("runtime", "fault"),
    [
        ("portable", Planted("keys and values swapped", 2, 3)),
        pytest.param("openvino", Planted("q unscaled", 1, 1), marks=pytest.mark.requires("openvino")),
    ],
)
def test_other_files_and_runtimes_are_looked_into_as_well(bench, runtime, fault):
    assert bench.find(fault, runtime).block == fault.place


def test_the_place_within_the_block_and_the_last_that_agrees_are_named_by_few_probes(bench, monkeypatch):
    probed = []

    def counted(artifact, places, shapes, folder):
        probed.append(tuple(places))
        return make_probe(artifact, places, shapes, folder)

    monkeypatch.setattr("swift_export.parity.locate.intermediate_values.make_probe", counted)

    found = bench.find(Planted("epsilon of the second norm", 2, 3, size=2))

    assert (found.place, found.before) == ("stage2/block3/norm2", "stage2/block3/attention")
    assert found.difference.relative_l2 > ALLOWED.relative_l2
    assert str(found).startswith("first differs at stage2/block3/norm2 (relative L2 ")
    # The block takes one probe, and the place within it some three.
    along, *within = probed
    assert len(along) >= sum(STAGES.depths)
    assert 1 <= len(within) <= 3
    assert {len(places) for places in within} == {1}


@pytest.mark.parametrize("file", ["onnx/model.onnx", "stablehlo/model.mlir.bc"])
def test_a_probe_has_the_places_that_its_file_computes(staged, tmp_path, file):
    def probe(*places):
        return make_probe(staged / file, places, [(1, 1, 48, 48, 48, 8)], new_folder(tmp_path / str(len(places))))

    found = probe("nowhere", "stage0/block1/output")

    assert found.places == ("stage0/block1/output",)
    assert found.path.is_file()
    absent = probe("nowhere")
    assert absent.places == ()
    assert not absent.path.exists()


def test_where_every_place_agrees_the_output_is_named(bench, monkeypatch):
    # The layout of the features alone is wrong.
    monkeypatch.setattr(
        "swift_export.models.swift.backbone.swift.channels_first", lambda x: x.transpose(0, 5, 3, 2, 1, 4)
    )
    target = bench.export(None, "onnxruntime")

    found = bench.locate(target, bench.compare(target))

    assert (found.place, found.block, found.before) == ("features", None, "stage3/block0/output")


@pytest.mark.parametrize("first", range(8))
def test_bisection_finds_the_first_of_those_that_differ(first):
    places, asked = list("abcdefg"), []

    def differs(place):
        asked.append(place)
        return places.index(place) >= first

    assert first_differing(places, differs) == first
    assert len(asked) <= 3
