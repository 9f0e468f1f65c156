"""The input contract that travels in every artifact: who decides it, and what is taken from files for one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swift_export.errors import UsageError
from swift_export.models.swift.variants import VARIANTS
from swift_export.scans.contract import MAX_STRIDE, InputContract, contract_of
from swift_export.scans.placement import PLACEMENTS, parse_placement


@pytest.mark.parametrize(
    ("dataset", "name", "orientation", "dropped"),
    [("S1200", "hcp", "LAS", (10, 10)), ("UKB", "ukb", "LAS", (0, 0)), ("ABCD", "abcd", "RAS", (20, 0)),
     ("ukb", "ukb", "LAS", (0, 0))],
)  # fmt: skip
def test_the_checkpoints_data_set_decides(dataset, name, orientation, dropped):
    contract = contract_of(dataset, 2, "ukb", "of the variant")
    assert (contract.placement, contract.orientation, contract.drop_frames) == (name, orientation, dropped)
    assert (contract.point, contract.stride) == (PLACEMENTS[name].point, 2)
    assert contract.source.startswith(f"the checkpoint's dataset_name is {dataset}")
    assert ("inferred" in contract.source) == (name == "abcd")
    assert contract.placed() == PLACEMENTS[name]


def test_else_the_variant_else_nothing():
    assert contract_of(None, 1, "hcp", "as trained").source == "as trained"
    assert contract_of("Cobre", 1, "hcp", "as trained").placement == "hcp"
    for dataset, words in (
        (None, "the weights do not tell which data set they were trained on"),
        ("Cobre", "dataset_name is Cobre, which"),
    ):
        unknown = contract_of(dataset, 3, None, "")
        assert (unknown.placement, unknown.point, unknown.stride) == (None, None, 3)
        with pytest.raises(UsageError, match=rf"{words}.*: give --placement hcp, ukb, abcd or a point X,Y,Z") as error:
            unknown.placed()
        assert "\n" not in str(error.value)


def test_the_published_models():
    contrastive, sex = VARIANTS["contrastive"].contract, VARIANTS["hcp-sex"].contract
    assert (contrastive.placement, contrastive.orientation, contrastive.drop_frames) == ("ukb", "LAS", (0, 0))
    assert "HCP, UK Biobank and ABCD" in contrastive.source
    assert (sex.placement, sex.orientation, sex.drop_frames, sex.stride) == ("hcp", "LAS", (10, 10), 1)


CONTRACTS = [
    VARIANTS["contrastive"].contract,
    VARIANTS["hcp-sex"].contract,
    contract_of("ABCD", 2, None, ""),
    contract_of(None, 5, None, ""),
    contract_of(None, 1, "ukb", "x").changed(parse_placement("0,-18.5,18"), "RAS", (3, 4)),
]


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: str(c.placement))
def test_it_survives_json(contract):
    assert InputContract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


def test_in_words():
    text = VARIANTS["hcp-sex"].contract.text
    assert "whose index 48 is (0,-18,8) mm; orientation LAS" in text
    assert "placement hcp: " in text
    assert "without its first 10 and last 10 frames" in text
    assert "frames, every" not in text
    assert "20 consecutive frames, every 2. of the run" in CONTRACTS[2].text
    assert "inferred" in CONTRACTS[2].text
    assert "as the training data were: the weights do not tell" in CONTRACTS[3].text
    assert "(0,-18.5,18) mm; orientation RAS" in CONTRACTS[4].text
    assert "placement" not in CONTRACTS[4].text.split(";")[2]


def test_what_the_user_says_of_the_model():
    trained = VARIANTS["hcp-sex"].contract
    assert trained.changed(None, None, None) == trained
    moved = trained.changed(PLACEMENTS["abcd"], None, None)
    assert (moved.placement, moved.orientation, moved.drop_frames) == ("abcd", "RAS", (20, 0))
    assert moved.source.startswith("given with --placement")
    assert trained.changed(None, "RAS", (1, 2)).to_dict() == trained.to_dict() | {
        "orientation": "RAS",
        "drop_frames": [1, 2],
    }
    # What is said of one array is no contract of the model's.
    assert trained.changed(parse_placement("1,2,3,4,5,6"), "keep", None) == trained
    unknown = contract_of(None, 1, None, "")
    assert unknown.changed(None, "RAS", (1, 2)) == unknown


GOOD = VARIANTS["hcp-sex"].contract.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 0}, {"stride": MAX_STRIDE + 1}, {"stride": True}, {"stride": "1"}, {"stride": 1.0}, {"stride": None},
        {"source": None}, {"source": "x" * 401}, {"placement": 7}, {"placement": "mni"}, {"placement": "1,2,3,4,5,6"},
        {"placement": ["hcp"]}, {"orientation": "keep"}, {"orientation": None}, {"orientation": ["LAS"]},
        {"drop_frames": None}, {"drop_frames": [1]}, {"drop_frames": [-1, 0]}, {"drop_frames": [1.5, 0]},
        {"drop_frames": [10**9, 0]}, {"drop_frames": "10"}, {"drop_frames": [True, False]},
        {"point": [0, -18, 18]}, {"point": None}, {"point": 8}, {"point": ["0", "-18", "8"]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_contract(change: dict[str, Any]):
    assert InputContract.from_dict(GOOD).to_dict() == GOOD
    with pytest.raises(ValueError, match=r"."):
        InputContract.from_dict(GOOD | change)
