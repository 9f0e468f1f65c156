"""The head of a checkpoint: which tensors are one, what it means, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.head_facts import HeadFacts
from swift_export.models.swift.weights.own_head import head_facts, read_head

Refused = Callable[..., AbstractContextManager[None]]

CONFIG = SwiFTConfig((4, 4, 4, 2), 1, 2, (4, 4, 4, 4), (2, 2, 2, 2), (2, 2, 2, 1), (1, 1), (1, 1), 2, False)
CHANNELS = CONFIG.out_dim


@dataclass
class InFile:
    values: np.ndarray

    @property
    def dtype(self) -> str:
        return self.values.dtype.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self) -> np.ndarray:
        return self.values


def linear(name: str, outputs: int, inputs: int = CHANNELS) -> dict[str, InFile]:
    values = np.arange(outputs * inputs, dtype=np.float32).reshape(outputs, inputs)
    return {f"{name}.weight": InFile(values), f"{name}.bias": InFile(-values[:, 0])}


def other(name: str) -> dict[str, InFile]:
    return {f"{name}.weight": InFile(np.zeros((1, CHANNELS), np.float32))}


def read(state: dict[str, InFile], **values: Any):
    return read_head(state, CONFIG, partial(head_facts, values, None), "x.ckpt")


@pytest.mark.parametrize("name", ["output_head", "clf", "reg"])
@pytest.mark.parametrize("hidden", [0, 16])
def test_each_form_is_read(name: str, hidden: int) -> None:
    layers = linear(f"{name}.hidden", hidden) if hidden else {}
    state = layers | linear(f"{name}.head", 3, hidden or CHANNELS)
    head = read(state | other("emb_mlp.fc1") | other("model.norm"))
    assert list(head.tensors) == sorted(state)
    assert all(array.tobytes() == state[key].values.tobytes() for key, array in head.tensors.items())
    assert (head.name, head.outputs) == (name, 3)


@pytest.mark.parametrize(
    ("name", "values", "facts", "text"),
    [
        (
            "output_head",
            {"downstream_task": "sex", "dataset_name": "S1200"},
            HeadFacts("classification", "sex", ("F", "M")),
            "classification of sex, the logit of M against F",
        ),
        ("output_head", {"downstream_task": "sex", "dataset_name": "UKB"}, HeadFacts("classification", "sex"), None),
        ("output_head", {"downstream_task": "age"}, HeadFacts("regression", "age", (), "standardization"), None),
        (
            "output_head",
            {"downstream_task": "x", "downstream_task_type": "regression", "label_scaling_method": "minmax"},
            HeadFacts("regression", "x", (), "minmax"),
            "regression of x, on a scale from 0, the smallest training target, to 1, the largest, which the checkpoint "
            "does not state",
        ),
        ("clf", {}, HeadFacts("classification"), "classification"),
        ("reg", {}, HeadFacts("regression", None, (), "standardization"), None),
        ("output_head", {}, HeadFacts(), "a head of unknown meaning"),
    ],
)
def test_the_hyper_parameters_tell_what_it_means(
    name: str, values: dict[str, Any], facts: HeadFacts, text: str | None
) -> None:
    found = read(linear(f"{name}.head", 1), **values).facts
    assert found == facts
    assert text in (None, found.text)
    assert HeadFacts.from_dict(found.to_dict()) == found


def test_a_variant_tells_what_its_checkpoint_does_not() -> None:
    known = HeadFacts("classification", "sex", ("F", "M"))
    assert head_facts({}, known, "output_head") == known
    assert head_facts({"downstream_task": "age"}, known, "output_head").kind == "regression"


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({}, ["expected a head (output_head.head, clf.head or reg.head), found none"]),
        (other("emb_mlp.fc1") | other("model.head"), ["only emb_mlp, the projector of contrastive", "and model.head"]),
        (other("output_head.fc1") | other("output_head.bn1"), ["found only output_head.fc1, the projector"]),
        (linear("clf.head", 1) | linear("reg.head", 1), ["expected one head, found clf and reg"]),
        (linear("clf.head", 1, 7), ["expected clf.head.weight (1, 4)", "found clf.head.weight float32 (1, 7)"]),
        (other("clf.head"), ["found no clf.head.bias"]),
        (linear("clf.head", 1) | other("clf.norm"), ["and nothing else, found clf.norm.weight float32 (1, 4)"]),
        ({"clf.head.weight": InFile(np.zeros(4, np.float32))}, ["expected (outputs, channels)", "found (4)"]),
        (linear("clf.head", 5000), ["with up to 4096 outputs, found (5000, 4)"]),
        ({k: InFile(t.values * np.nan) for k, t in linear("clf.head", 1).items()}, ["expected finite values"]),
        ({k: InFile(t.values.astype(int)) for k, t in linear("clf.head", 1).items()}, ["clf.head.bias int64 (1)"]),
    ],
)
def test_what_is_no_head_is_refused(state: dict[str, InFile], told: list[str], refused: Refused) -> None:
    with refused("x.ckpt: ", "give a probe with --head", *told):
        read(state)
