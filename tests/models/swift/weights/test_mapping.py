"""Names, shapes, types and values: what becomes a backbone's tensor and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest

from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.weights.mapping import map_state

Refused = Callable[..., AbstractContextManager[None]]

CONFIG = SwiFTConfig((4, 4, 4, 2), 1, 2, (4, 4, 4, 4), (2, 2, 2, 2), (2, 2, 2, 1), (1, 1), (1, 1), 2, False)
FC = "model.patch_embed.fc.weight"


@dataclass
class InFile:
    """A tensor in a file; counts how often it is read."""

    values: np.ndarray
    dtype: str = ""
    reads: int = 0

    def __post_init__(self) -> None:
        self.dtype = self.dtype or self.values.dtype.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self) -> np.ndarray:
        self.reads += 1
        return self.values


@pytest.fixture
def state(recipe: ModuleType) -> dict[str, InFile]:
    """What a contrastive checkpoint holds: the backbone, ``model.norm``, ``model.head`` and ``emb_mlp``."""
    case = {"heads": "emb", "seed": 5, "hyper_parameters": CONFIG.to_dict()}
    return {key: InFile(value) for key, value in recipe.checkpoint_state(case).items()}


HEADS = {
    "emb_mlp.bn1.bias",
    "emb_mlp.bn1.num_batches_tracked",
    "emb_mlp.bn1.running_mean",
    "emb_mlp.bn1.running_var",
    "emb_mlp.bn1.weight",
    "emb_mlp.fc1.weight",
    "model.head.bias",
    "model.head.weight",
}


def test_keeps_the_backbone_and_tells_the_rest(state: dict[str, InFile]) -> None:
    mapped = map_state(state, CONFIG, "x.ckpt")
    assert {name: array.shape for name, array in mapped.tensors.items()} == parameter_shapes(CONFIG)
    assert list(mapped.tensors) == sorted(mapped.tensors)
    assert sorted(mapped.extras) == ["model.norm.bias", "model.norm.weight"]
    assert set(mapped.dropped) == HEADS
    assert mapped.notes == ()
    for name, array in (dict(mapped.tensors) | dict(mapped.extras)).items():
        assert array.tobytes() == state[name].values.tobytes()
        assert (array.dtype, array.flags.c_contiguous, array.flags.writeable) == (np.float32, True, False)


def test_reads_only_what_it_keeps(state: dict[str, InFile]) -> None:
    map_state(state, CONFIG, "x.ckpt")
    assert {key for key, tensor in state.items() if tensor.reads == 0} == HEADS
    assert {tensor.reads for tensor in state.values()} == {0, 1}


@pytest.mark.parametrize("prefix", ["output_head.head", "clf.head", "reg.head", "model.head", "head"])
def test_every_known_head_is_dropped(prefix: str, state: dict[str, InFile]) -> None:
    head = {f"{prefix}.weight": InFile(np.full((1, 4), np.nan, np.float32)), f"{prefix}.bias": InFile(np.zeros(1))}
    backbone = {key: tensor for key, tensor in state.items() if key not in HEADS}
    assert map_state(backbone | head, CONFIG, "x").dropped == tuple(sorted(head))


def test_names_without_prefix(state: dict[str, InFile]) -> None:
    bare = {key.removeprefix("model."): tensor for key, tensor in state.items()}
    with_prefix, without = map_state(state, CONFIG, "x"), map_state(bare, CONFIG, "x")
    assert {n: a.tobytes() for n, a in without.tensors.items()} == {
        n: a.tobytes() for n, a in with_prefix.tensors.items()
    }
    assert sorted(without.extras) == sorted(with_prefix.extras)
    assert set(without.dropped) == {name.removeprefix("model.") for name in HEADS}


def test_norm_is_optional(state: dict[str, InFile]) -> None:
    backbone = {key: state[key] for key in parameter_shapes(CONFIG)}
    assert map_state(backbone, CONFIG, "x").extras == {}


def test_each_fault_is_named(state: dict[str, InFile], refused: Refused) -> None:
    del state["model.layers.0.blocks.0.attn.qkv.bias"]
    state[FC] = InFile(np.zeros((2, 9), np.float32))
    state["model.norm.bias"] = InFile(np.zeros(3, np.float32))
    state["model.layers.0.blocks.1.norm1.weight"] = InFile(np.zeros(2, np.float32))
    state["model.patch_embed.fc.bias"] = InFile(np.zeros(2, np.int64))
    with refused(
        "x.ckpt: ",
        "missing: model.layers.0.blocks.0.attn.qkv.bias (6)",
        "model.patch_embed.fc.weight (expected (2, 8), found (2, 9))",
        "model.norm.bias (expected (4), found (3))",
        "unexpected: model.layers.0.blocks.1.norm1.weight (2)",
        "not floating-point: model.patch_embed.fc.bias (int64)",
    ):
        map_state(state, CONFIG, "x.ckpt")
    assert {tensor.reads for tensor in state.values()} == {0}


def test_the_same_tensor_twice(state: dict[str, InFile], refused: Refused) -> None:
    with refused("unexpected: patch_embed.fc.weight (2, 8)"):
        map_state(state | {"patch_embed.fc.weight": state[FC]}, CONFIG, "x")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values(value: float, state: dict[str, InFile], refused: Refused) -> None:
    state[FC].values[1, 3] = value
    state["model.norm.weight"].values[:2] = value
    with refused("not finite: ", f"{FC} (1 of 16 values)", "model.norm.weight (2 of 4 values)"):
        map_state(state, CONFIG, "x")


def test_non_finite_heads_do_not_matter(state: dict[str, InFile]) -> None:
    state["emb_mlp.fc1.weight"].values[:] = np.nan
    map_state(state, CONFIG, "x")


@pytest.mark.parametrize(("dtype", "note"), [("float16", "widened to"), ("float64", "rounded to")])
def test_other_floats_are_converted_and_noted(dtype: str, note: str, state: dict[str, InFile]) -> None:
    state[FC].values = (state[FC].values / 3).astype(dtype)
    state[FC].dtype = dtype
    mapped = map_state(state, CONFIG, "x")
    assert mapped.notes == (f"tensors stored as {dtype} were {note} float32",)
    np.testing.assert_array_equal(mapped.tensors[FC], state[FC].values.astype(np.float32))


def test_float64_beyond_float32(state: dict[str, InFile], refused: Refused) -> None:
    state[FC] = InFile(np.full((2, 8), 1e300))
    with refused(f"not finite: {FC} (16 of 16 values)"):
        map_state(state, CONFIG, "x")


def test_thousands_of_faults_stay_one_short_line(refused: Refused) -> None:
    strangers = {f"\x1b[2J{'k' * 1000}{i}": InFile(np.zeros(1, np.float32)) for i in range(5000)}
    with refused("and 4968 more", "missing: "):
        map_state(strangers, CONFIG, "x")
