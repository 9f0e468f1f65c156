"""Synthetic weights: deterministic, marked, and of the golden recipe's distribution."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from swift_export.errors import UsageError
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.variants import VARIANTS
from swift_export.models.swift.weights import load_weights, synthetic_weights

Refused = Callable[..., AbstractContextManager[None]]


def test_deterministic_and_marked(recipe: ModuleType) -> None:
    config = SwiFTConfig.from_hyper_parameters(recipe.load_case("tiny-full")["hyper_parameters"])
    first, again, other = (synthetic_weights(config, seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert {name: t.shape for name, t in first.tensors.items()} == parameter_shapes(config)
    assert all(t.dtype == np.float32 and t.flags.c_contiguous for t in first.tensors.values())
    assert first.provenance.synthetic
    assert (first.provenance.kind, first.provenance.name, first.provenance.seed) == ("synthetic", "synthetic:0", 0)
    assert (first.variant, first.extras) == ("custom", {})


def test_distribution_is_the_recipes(recipe: ModuleType) -> None:
    """Each tensor's mean and deviation agree with the recipe's draw of the same shape, within their sampling error."""
    case = recipe.load_case("contrastive")
    golden = recipe.checkpoint_state(case)
    drawn = synthetic_weights(SwiFTConfig.from_hyper_parameters(case["hyper_parameters"]), 3).tensors
    for name, found in drawn.items():
        expected = golden[name]
        error = np.std(expected) / np.sqrt(found.size)
        assert abs(np.mean(found) - np.mean(expected)) < 8 * error, name
        assert abs(np.std(found) - np.std(expected)) < 8 * error, name


def test_words(refused: Refused) -> None:
    assert load_weights("synthetic").digest == load_weights("synthetic:0").digest
    weights = load_weights("synthetic:18446744073709551615", variant="hcp-sex")
    assert (weights.variant, weights.provenance.seed) == ("hcp-sex", 2**64 - 1)
    assert weights.config == VARIANTS["hcp-sex"].config
    assert load_weights("synthetic").variant == "custom"


@pytest.mark.parametrize("word", ["synthetic:", "synthetic:-1", "synthetic:x", "synthetic:18446744073709551616"])
def test_bad_seeds(word: str, refused: Refused) -> None:
    with refused("seed from 0 to 2**64 - 1", error=UsageError):
        load_weights(word)


def test_synthetic_is_never_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synthetic").write_bytes(b"")
    assert load_weights("synthetic").provenance.synthetic
