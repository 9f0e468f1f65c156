"""The bound that decides a block's form: never below what a search finds, reached, and safe where it cannot be had."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swift_export.models.swift.backbone import SwiFTConfig
from swift_export.models.swift.config import WindowPlan
from swift_export.models.swift.forms import VISIBLE, choose_forms, excess_limit, forms_text
from swift_export.models.swift.score_bound import score_excess
from swift_export.models.swift.settings import SwiFTSettings

sys.path.insert(0, str(Path(__file__).parents[2] / "lowering"))
from cases import recipe, weights

PLAIN = WindowPlan((4, 4, 4, 4), (2, 2, 2, 2), (1, 1, 1, 1))
PADDED = WindowPlan((5, 4, 4, 4), (2, 2, 2, 2), (1, 1, 1, 1))
AUTO = SwiFTSettings()


def draw(seed: int, channels: int, *, scale: float = 1.0, bias: float = 0.5) -> dict[str, np.ndarray]:
    """One block's LayerNorm and qkv."""
    rng = np.random.default_rng(seed)
    return {
        "block.norm1.weight": rng.normal(1, 0.3, channels).astype(np.float32),
        "block.norm1.bias": rng.normal(0, bias, channels).astype(np.float32),
        "block.attn.qkv.weight": (scale * rng.standard_normal((3 * channels, channels)) / channels**0.5).astype("f"),
        "block.attn.qkv.bias": rng.normal(0, bias, 3 * channels).astype(np.float32),
    }


class Scores:
    """Score differences of a block by their definition, in float64, head by head."""

    def __init__(self, tensors: dict[str, np.ndarray], heads: int):
        self.weight, self.bias = (tensors[f"block.norm1.{k}"].astype(np.float64) for k in ("weight", "bias"))
        qkv, offset = (tensors[f"block.attn.qkv.{k}"].astype(np.float64) for k in ("weight", "bias"))
        self.channels, self.dim, self.heads = len(self.weight), len(self.weight) // heads, heads
        self.q, self.k = (qkv[i * self.channels :][: self.channels] for i in range(2))
        self.q0, self.k0 = (offset[i * self.channels :][: self.channels] for i in range(2))

    def normalised(self, x: np.ndarray) -> np.ndarray:
        """LayerNorm without its epsilon, which only shortens: mean 0, length sqrt(channels)."""
        x = x - x.mean(-1, keepdims=True)
        return x * np.sqrt(self.channels) / np.linalg.norm(x, axis=-1, keepdims=True)

    def projected(self, normed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries, scaled, and keys: (..., heads, dim)."""
        shape = (*normed.shape[:-1], self.heads, self.dim)
        return (
            ((normed @ self.q.T + self.q0) * self.dim**-0.5).reshape(shape),
            (normed @ self.k.T + self.k0).reshape(shape),
        )

    def excess(self, own: np.ndarray, other: np.ndarray, *, pad: bool = False) -> np.ndarray:
        """score(own, other) - score(own, own) of tokens before the LayerNorm; ``pad``: of the zero token besides."""
        q, k = self.projected(self.normalised(own) * self.weight + self.bias)
        _, k2 = self.projected(self.normalised(other) * self.weight + self.bias)
        found = (q * (k2 - k)).sum(-1)
        if pad:
            zero = self.projected(np.zeros(self.channels))[1]
            found = np.maximum(found, (q * (zero - k)).sum(-1))
        return found

    def climbed(self, rng: np.random.Generator, head: int, *, pad: bool, starts: int = 40, steps: int = 400) -> float:
        """The most that gradient ascent finds over the query's token, the key being the best or the zero token."""
        rows = slice(head * self.dim, (head + 1) * self.dim)
        flat = np.eye(self.channels) - 1 / self.channels
        query, key = (m[rows] * self.weight @ flat for m in (self.q * self.dim**-0.5, self.k))
        a = (self.q[rows] @ self.bias + self.q0[rows]) * self.dim**-0.5
        matrix, y0, padded = key.T @ query, key.T @ a, self.k[rows] @ self.bias
        radius = math.sqrt(self.channels)
        z = self.normalised(rng.standard_normal((starts, self.channels)))
        best = -math.inf
        for step in np.geomspace(0.3, 1e-3, steps):
            y = y0 + z @ matrix.T
            if pad:
                value = -(a + z @ query.T) @ padded - (z * y).sum(-1)
                slope = -query.T @ padded - y - z @ matrix
            else:
                length = np.linalg.norm(y, axis=-1, keepdims=True)
                value = radius * length[:, 0] - (z * y).sum(-1)
                slope = (radius * y / length - z) @ matrix - y
            best = max(best, float(value.max()))
            slope = slope @ flat
            z = z + step * radius * slope / np.linalg.norm(slope, axis=-1, keepdims=True)
            z = z * np.minimum(1, radius / np.linalg.norm(z, axis=-1, keepdims=True))
        return best


@pytest.mark.parametrize("plan", [PLAIN, PADDED], ids=["plain", "padded"])
@pytest.mark.parametrize(("channels", "heads"), [(4, 1), (12, 3), (12, 1), (36, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_no_tokens_exceed_the_bound(plan: WindowPlan, channels: int, heads: int, seed: int) -> None:
    tensors = draw(seed, channels)
    bound = score_excess(tensors, "block", heads, plan)
    rng = np.random.default_rng(seed)
    own, other = rng.standard_normal((2, 20000, channels)) * rng.uniform(0.1, 10, (2, 20000, 1))

    assert Scores(tensors, heads).excess(own, other, pad=plan is PADDED).max() <= bound


@pytest.mark.parametrize("bias", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("channels", "heads"), [(12, 3), (36, 3), (24, 1)])
def test_the_bound_is_reached_and_never_passed(channels: int, heads: int, bias: float) -> None:
    for seed in range(2):
        tensors = draw(seed, channels, bias=bias)
        scores, rng = Scores(tensors, heads), np.random.default_rng(seed)
        found = max(scores.climbed(rng, head, pad=False) for head in range(heads))
        bound = score_excess(tensors, "block", heads, PLAIN)
        assert found <= bound * (1 + 1e-12)
        assert found >= bound * (1 - 2e-3)
        padded = max(found, *(scores.climbed(rng, head, pad=True) for head in range(heads)))
        bound = score_excess(tensors, "block", heads, PADDED)
        assert padded <= bound * (1 + 1e-12)
        assert padded >= bound * (1 - 2e-3)


def test_padding_is_a_key_of_its_own() -> None:
    """Keys that all lie far on one side but the zero token's: only padding makes the difference."""
    tensors = draw(0, 4, bias=0.0)
    tensors["block.norm1.weight"] = np.full(4, 1e-3, np.float32)
    tensors["block.norm1.bias"] = np.array([30, 0, 0, 0], np.float32)
    tensors["block.attn.qkv.weight"][:8] = np.tile(np.eye(4, dtype=np.float32), (2, 1))
    tensors["block.attn.qkv.weight"][4:8] *= -1

    plain, padded = (score_excess(tensors, "block", 1, plan) for plan in (PLAIN, PADDED))
    rng = np.random.default_rng(0)
    own, other = rng.standard_normal((2, 1000, 4))

    assert plain < 1
    assert padded > 400
    assert 400 < Scores(tensors, 1).excess(own, other, pad=True).max() <= padded


@pytest.mark.parametrize("heads", [1, 3])
def test_the_worst_head_decides(heads: int) -> None:
    tensors = draw(0, 12)
    louder = {k: v.copy() for k, v in tensors.items()}
    last = slice(12 - 12 // heads, 12)
    louder["block.attn.qkv.weight"][last] *= 10

    assert score_excess(louder, "block", heads, PLAIN) > 3 * score_excess(tensors, "block", heads, PLAIN)


def test_values_do_not_matter() -> None:
    tensors = draw(0, 12)
    other = {k: v.copy() for k, v in tensors.items()}
    other["block.attn.qkv.weight"][24:] = 1e6

    assert score_excess(other, "block", 3, PADDED) == score_excess(tensors, "block", 3, PADDED)


def test_queries_that_are_zero_see_all_keys_alike() -> None:
    tensors = draw(0, 12)
    tensors["block.attn.qkv.weight"][:12] = 0
    tensors["block.attn.qkv.bias"][:12] = 0

    assert score_excess(tensors, "block", 3, PADDED) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias"])
def test_weights_that_are_not_finite_have_no_bound_and_keep_the_mask(name: str, value: float) -> None:
    w = weights("tiny-windowed")
    key = f"model.layers.1.blocks.1.{name}"
    changed = w.tensors[key].copy()
    changed.reshape(-1)[-1] = value
    tensors = {**w.tensors, key: changed}

    assert math.isnan(score_excess(tensors, "model.layers.1.blocks.1", w.config.num_heads[1], PLAIN))
    forms = choose_forms(w.config, tensors, AUTO)
    assert {place: block.form for place, block in forms.items()} == {
        (0, 1): "regions",
        (1, 1): "masked",
        (2, 1): "regions",
    }


def test_weights_so_large_that_no_bound_is_finite_keep_the_mask() -> None:
    w = weights("tiny-windowed")
    tensors = {k: np.full_like(v, 3e38) if "qkv" in k else v for k, v in w.tensors.items()}

    assert {block.form for block in choose_forms(w.config, tensors, AUTO).values()} == {"masked"}


@pytest.mark.parametrize("case", ["tiny-full", "tiny-windowed", "tiny-padded"])
def test_louder_queries_and_keys_bring_the_mask_back(case: str) -> None:
    w = weights(case)

    def forms(factor: float) -> dict[tuple[int, int], str]:
        scaled = {k: v * np.float32(factor) if "attn.qkv" in k else v for k, v in w.tensors.items()}
        return {place: block.form for place, block in choose_forms(w.config, scaled, AUTO).items()}

    assert set(forms(1).values()) == {"regions"}
    assert set(forms(3).values()) == {"masked"}
    # Scores grow with the square: the excess does too, and the form changes where it passes the limit.
    for place, block in choose_forms(w.config, w.tensors, AUTO).items():
        at = math.sqrt(block.limit / block.excess)
        assert forms(at * 0.999)[place] == "regions"
        assert forms(at * 1.001)[place] == "masked"


def test_sharp_weights_keep_the_mask_where_it_could_show() -> None:
    w = weights("sharp")
    forms = choose_forms(w.config, w.tensors, AUTO)

    assert {place: block.form for place, block in forms.items()} == {(0, 1): "regions", (1, 1): "masked"}
    assert all((block.excess > block.limit) == (block.form == "masked") for block in forms.values())


def test_the_published_models_first_stage_needs_no_mask() -> None:
    case = recipe.load_case("contrastive")
    config = SwiFTConfig.from_hyper_parameters(case["hyper_parameters"])
    forms = {place: block.form for place, block in choose_forms(config, recipe.checkpoint_state(case), AUTO).items()}

    assert forms[0, 1] == "regions"
    assert {form for place, form in forms.items() if place[0] > 0} == {"masked"}


def test_masked_is_masked_whatever_the_weights_allow() -> None:
    w = weights("tiny-full")
    forms = choose_forms(w.config, w.tensors, replace(AUTO, attention="masked"))

    assert {block.form for block in forms.values()} == {"masked"}
    # What the weights would allow is still told.
    assert forms.keys() == choose_forms(w.config, w.tensors, AUTO).keys()
    assert all(block.excess < block.limit for block in forms.values())


def test_only_shifted_blocks_have_a_form() -> None:
    w = weights("tiny-full")
    plans = {(i, j): w.config.window_plan(i, j) for i, n in enumerate(w.config.depths) for j in range(n)}

    assert set(choose_forms(w.config, w.tensors, AUTO)) == {place for place, plan in plans.items() if plan.shifted}


def test_frames_decide_which_blocks_shift() -> None:
    w = weights("tiny-windowed")
    assert (2, 1) in choose_forms(w.config, w.tensors, AUTO)
    # The window takes all of the last stage's grid with few frames.
    assert (2, 1) not in choose_forms(w.config, w.tensors, replace(AUTO, frames=2))


@pytest.mark.parametrize("plan", [PLAIN, WindowPlan((16, 16, 16, 20), (4, 4, 4, 4), (2, 2, 2, 2))])
def test_at_the_limit_masked_keys_weigh_less_than_float32_sees(plan: WindowPlan) -> None:
    # All keys but the own one masked, all of them as far above it as the limit lets them.
    weight = plan.tokens * math.exp(excess_limit(plan) - 100)

    assert weight == pytest.approx(VISIBLE["float32"], rel=1e-9)
    assert np.float32(1) + np.float32(63 * weight) == 1
    assert np.float32(1) + np.float32(65 * weight) > 1


@pytest.mark.parametrize(("precision", "rounding"), [("float16", 2.0**-11), ("mixed", 2.0**-11), ("bfloat16", 2.0**-8)])
def test_at_the_limit_masked_keys_change_half_precision_by_a_64th_of_a_rounding(precision, rounding) -> None:
    weight = PLAIN.tokens * math.exp(excess_limit(PLAIN, precision) - 100)

    assert weight == pytest.approx(rounding / 64, rel=1e-9)


def test_the_second_stage_needs_no_mask_in_half_precision() -> None:
    case = recipe.load_case("contrastive")
    config = SwiFTConfig.from_hyper_parameters(case["hyper_parameters"])
    forms = choose_forms(config, recipe.checkpoint_state(case), SwiFTSettings(precision="float16"))

    assert {place[0] for place, block in forms.items() if block.form == "regions"} == {0, 1}


def test_the_text_in_the_files_is_json() -> None:
    w = weights("tiny-windowed")
    forms = choose_forms(w.config, w.tensors, AUTO)
    told = json.loads(forms_text(forms))

    assert told.keys() == {"stage0/block1", "stage1/block1", "stage2/block1"}
    for (stage, block), form in forms.items():
        assert told[f"stage{stage}/block{block}"] == {
            "form": form.form,
            "excess": round(form.excess, 1),
            "limit": round(form.limit, 1),
        }
