"""The metadata in every file, including the model's input contract in words and as data."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from swift_export.lowering.metadata import essentials
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import Weights
from swift_export.models.swift.weights.weights import Training
from swift_export.scans.contract import InputContract
from swift_export.scans.placement import parse_placement

sys.path.insert(0, str(Path(__file__).parent))
from cases import weights


def told(w: Weights) -> dict[str, str]:
    return essentials(swift_model(w), OnnxSettings(), ())


@pytest.mark.parametrize(
    ("training", "variant", "placement", "orientation"),
    [
        (Training("ABCD", 2), "custom", "abcd", "RAS"),
        (Training(), "hcp-sex", "hcp", "LAS"),
        (Training(), "contrastive", "ukb", "LAS"),
        (Training("S1200"), "contrastive", "hcp", "LAS"),
        (Training(None, 3), "custom", None, None),
    ],
)
def test_the_input_contract(training, variant, placement, orientation):
    w = dataclasses.replace(weights("tiny-windowed"), training=training, variant=variant)
    facts = told(w)
    contract = InputContract.from_dict(json.loads(facts["swift_export.input"]))
    assert contract == w.contract
    assert (contract.placement, contract.orientation, contract.stride) == (placement, orientation, training.stride)
    assert facts["swift_export.input_contract"] == w.contract.text
    assert (f"placement {placement}: " in facts["swift_export.input_contract"]) == (placement is not None)


def test_what_the_user_says_of_the_model():
    w = weights("tiny-windowed")
    said = w.with_contract(w.contract.changed(parse_placement("0,-20,4"), None, (1, 2)))
    facts = told(said)
    assert json.loads(facts["swift_export.input"])["point"] == [0, -20, 4]
    assert "(0,-20,4) mm" in facts["swift_export.input_contract"]
    # It is no part of the weights: their digest is what it was.
    assert facts["swift_export.weights_sha256"] == w.digest
