"""The backbone against the definition written out token by token, on every kind of architecture that is valid.

No windows are cut here: every pair of tokens is asked whether it may see each other.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swift_export.errors import ArchitectureError, InputError, UsageError, WeightsError
from swift_export.models.swift.backbone import SwiFT, SwiFTConfig, parameter_shapes

BASE: dict[str, Any] = {
    "img_size": (12, 12, 12, 4),
    "in_chans": 1,
    "embed_dim": 4,
    "window_size": (2, 2, 2, 2),
    "first_window_size": (2, 2, 2, 2),
    "patch_size": (3, 3, 3, 1),
    "depths": (2, 2),
    "num_heads": (1, 2),
    "c_multiplier": 2,
    "last_layer_full_MSA": False,
}
ARCHITECTURES = {
    "windows-tile": {},
    "full-attention-last": {"last_layer_full_MSA": True},
    "anisotropic-grid": {"img_size": (24, 12, 6, 3), "patch_size": (6, 3, 3, 1)},
    "window-larger-than-grid": {"window_size": (8, 2, 8, 3), "first_window_size": (5, 4, 2, 9)},
    "padding-and-shift": {"img_size": (18, 12, 18, 5), "first_window_size": (4, 3, 4, 2), "window_size": (2, 2, 2, 3)},
    "odd-windows": {"img_size": (18, 18, 12, 5), "first_window_size": (3, 5, 3, 3), "depths": (3, 1)},
    "narrow": {"c_multiplier": 1, "num_heads": (4, 2)},
    "wide": {"c_multiplier": 3, "num_heads": (2, 3), "in_chans": 2},
    "one-stage": {"depths": (2,), "num_heads": (2,)},
    "three-stages": {"img_size": (24, 24, 24, 3), "depths": (1, 2, 1), "num_heads": (1, 2, 4)},
    "fewer-frames": {"img_size": (12, 12, 12, 6), "frames": 3},
}


def draw(config: SwiFTConfig, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape, np.float32)
        * np.float32(1.2 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.5)
        for name, shape in parameter_shapes(config).items()
    }


def layer_norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w + b


def attend(x: np.ndarray, p: dict[str, np.ndarray], name: str, heads: int, window: Any, shift: Any) -> np.ndarray:
    grid = x.shape[1:5]
    padded = [math.ceil(n / w) * w for n, w in zip(grid, window, strict=True)]
    x = np.pad(x, [(0, 0), *[(0, q - n) for q, n in zip(padded, grid, strict=True)], (0, 0)])
    batch, channels = x.shape[0], x.shape[-1]
    flat = x.reshape(batch, -1, channels)
    same_window = np.ones((flat.shape[1], flat.shape[1]), bool)
    same_region = same_window.copy()
    for axis, (n, w, s) in enumerate(zip(padded, window, shift, strict=True)):
        place = (np.indices(padded)[axis].reshape(-1) - s) % n
        region = np.zeros_like(place) if s == 0 else (place >= n - w).astype(int) + (place >= n - s)
        same_window &= (place // w)[:, None] == (place // w)[None]
        same_region &= region[:, None] == region[None]
    qkv = flat @ p[f"{name}.qkv.weight"].T + p[f"{name}.qkv.bias"]
    q, k, v = np.moveaxis(qkv.reshape(batch, -1, 3, heads, channels // heads), 2, 0)
    scores = np.einsum("bnhd,bmhd->bhnm", q, k) * (channels // heads) ** -0.5
    scores = np.where(same_window, scores - 100 * ~same_region, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = np.einsum("bhnm,bmhd->bnhd", weights, v).reshape(batch, -1, channels)
    out = out @ p[f"{name}.proj.weight"].T + p[f"{name}.proj.bias"]
    h, w, d, t = grid
    return out.reshape(batch, *padded, channels)[:, :h, :w, :d, :t]


def forward(c: SwiFTConfig, tensors: dict[str, np.ndarray], bold: np.ndarray) -> list[np.ndarray]:
    p = {k.removeprefix("model."): v.astype(np.float64) for k, v in tensors.items()}
    kh, kw, kd, _ = c.patch_size
    batch, chans, height, width, depth, frames = bold.shape
    x = bold.astype(np.float64).reshape(batch, chans, height // kh, kh, width // kw, kw, depth // kd, kd, frames)
    x = x.transpose(0, 2, 4, 6, 8, 3, 5, 7, 1).reshape(batch, height // kh, width // kw, depth // kd, frames, -1)
    x = x @ p["patch_embed.fc.weight"].T + p["patch_embed.fc.bias"]
    maps = []
    for i, (blocks, heads) in enumerate(zip(c.depths, c.num_heads, strict=True)):
        last = i == len(c.depths) - 1
        space, time = p[f"pos_embeds.{i}.pos_embed"], p[f"pos_embeds.{i}.time_embed"][..., :frames]
        x = x + np.moveaxis(space + time, 1, -1)
        for j in range(blocks):
            name, grid = f"layers.{i}.blocks.{j}", x.shape[1:5]
            wanted = c.first_window_size if i == 0 else c.window_size
            if last and c.last_layer_full_MSA:
                wanted = (*grid[:3], c.window_size[3])
            window = [min(n, w) for n, w in zip(grid, wanted, strict=True)]
            moves = j % 2 == 1 and not (last and c.last_layer_full_MSA)
            shift = [w // 2 if moves and n > w else 0 for n, w in zip(grid, wanted, strict=True)]
            y = layer_norm(x, p[f"{name}.norm1.weight"], p[f"{name}.norm1.bias"])
            x = x + attend(y, p, f"{name}.attn", heads, window, shift)
            y = layer_norm(x, p[f"{name}.norm2.weight"], p[f"{name}.norm2.bias"])
            y = y @ p[f"{name}.mlp.linear1.weight"].T + p[f"{name}.mlp.linear1.bias"]
            y = 0.5 * y * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
            x = x + y @ p[f"{name}.mlp.linear2.weight"].T + p[f"{name}.mlp.linear2.bias"]
        if not last:
            name = f"layers.{i}.downsample"
            x = np.concatenate([x[:, a::2, b::2, d::2] for a in (0, 1) for b in (0, 1) for d in (0, 1)], axis=-1)
            x = layer_norm(x, p[f"{name}.norm.weight"], p[f"{name}.norm.bias"]) @ p[f"{name}.reduction.weight"].T
        maps.append(np.moveaxis(x, -1, 1))
    return maps


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_valid_architecture_computes_its_definition(name: str) -> None:
    settings = BASE | ARCHITECTURES[name]
    frames = settings.pop("frames", None)
    config = SwiFTConfig(**settings)
    tensors = draw(config)
    bold = np.random.default_rng(1).standard_normal((2, *config.input_shape(frames)), np.float32)
    names = tuple(f"stage{i}" for i in range(config.stages))
    with jax.default_matmul_precision("highest"):
        found = jax.jit(lambda model, x: model.named_outputs(x, (*names, "features")))(SwiFT(config, tensors), bold)
    expected = forward(config, tensors, bold)
    for stage, golden in zip(names, expected, strict=True):
        assert found[stage].shape == golden.shape
        assert np.linalg.norm(found[stage] - golden) <= 2e-6 * np.linalg.norm(golden)
    np.testing.assert_array_equal(found["features"], found[names[-1]])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"img_size": (13, 12, 12, 4)}, "expected H as a multiple of the patch size 3, found 13"),
        ({"img_size": (9, 12, 12, 4)}, "must be even"),
        ({"patch_size": (3, 3, 3, 2)}, "1 frame per patch, found 2"),
        ({"num_heads": (3, 2)}, "stage 0 has 4 channels, not divisible by 3 heads"),
        ({"depths": (2, 2, 2)}, "found 3 and 2"),
        ({"embed_dim": 0}, "embed_dim: expected a positive integer, found 0"),
        ({"embed_dim": True}, "embed_dim"),
        ({"window_size": (2, 2, 2)}, "window_size: expected 4 positive integers"),
        ({"window_size": (2, 2, 2, -1)}, "found -1"),
        ({"depths": ()}, "depths"),
        ({"c_multiplier": 2.5}, "c_multiplier"),
        ({"last_layer_full_MSA": 1}, "expected true or false"),
    ],
)
def test_other_architectures_are_refused(change: dict[str, Any], part: str) -> None:
    with pytest.raises(ArchitectureError, match=part):
        SwiFTConfig(**(BASE | change))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"depths": (2**20, 2**20)}, "depths: expected at most 1000 blocks, found 2097152"),
        ({"embed_dim": 2**20}, "parameters of at most 4,294,967,296 bytes in float32, found "),
        ({"c_multiplier": 2**20}, "parameters of at most"),
        ({"depths": (1,) * 64, "num_heads": (1,) * 64, "img_size": (3 * 2**18,) * 3 + (4,)}, "must be even"),
        ({"img_size": (12, 12, 12, 2**20)}, "clips of at most 2,147,483,648 bytes in float32, found "),
        ({"in_chans": 2**19}, "clips of at most"),
        ({"embed_dim": 128, "img_size": (48, 48, 48, 4000)}, "one clip of at most 17,179,869,184 bytes"),
        ({"num_heads": (1, 1), "window_size": (96,) * 4, "img_size": (192, 192, 96, 20)}, "arrays of one clip"),
        ({"img_size": 10**5000}, "too long to show"),
    ],
)  # fmt: skip
def test_no_architecture_is_larger_than_a_machine(change: dict[str, Any], part: str) -> None:
    with pytest.raises(ArchitectureError, match=part) as found:
        SwiFTConfig(**(BASE | change))
    assert len(str(found.value)) < 300


def test_a_missing_hyper_parameter_is_named() -> None:
    values = dict(BASE)
    del values["first_window_size"], values["depths"]
    with pytest.raises(ArchitectureError, match="missing first_window_size, depths"):
        SwiFTConfig.from_hyper_parameters(values)


@pytest.fixture(scope="module")
def model() -> SwiFT:
    config = SwiFTConfig(**BASE)
    return SwiFT(config, draw(config))


def test_one_clip_without_batch_axis(model: SwiFT) -> None:
    bold = jnp.asarray(np.random.default_rng(1).standard_normal(model.config.input_shape(), np.float32))
    np.testing.assert_allclose(model(bold), model(bold[None])[0], rtol=1e-5, atol=1e-6)
    assert model(bold).shape == model.config.output_shape()


def test_embedding_is_the_mean_over_tokens(model: SwiFT) -> None:
    bold = jnp.asarray(np.random.default_rng(1).standard_normal((2, *model.config.input_shape()), np.float32))
    embedding = eqx.filter_jit(model.named_outputs)(bold, output_kind="embedding")["features"]
    features = np.asarray(eqx.filter_jit(model)(bold))
    np.testing.assert_allclose(embedding, features.mean((2, 3, 4, 5)), rtol=1e-5, atol=1e-6)


def test_wrong_clips_are_refused(model: SwiFT) -> None:
    shape = (1, *model.config.input_shape())
    with pytest.raises(InputError, match="expected float32"):
        model(jnp.zeros(shape, jnp.float16))
    with pytest.raises(InputError, match=r"expected \(batch, 1, 12, 12, 12, frames\)"):
        model(jnp.zeros((1, 12, 12, 12, 4, 1)))
    with pytest.raises(ArchitectureError, match="1 to 4"):
        model(jnp.zeros((1, 1, 12, 12, 12, 5)))
    with pytest.raises(UsageError, match="stage9"):
        model.named_outputs(jnp.zeros(shape), ("stage9",))
    with pytest.raises(WeightsError, match=r"model\.patch_embed\.fc\.bias"):
        SwiFT(model.config, {k: v for k, v in draw(model.config).items() if k != "model.patch_embed.fc.bias"})
