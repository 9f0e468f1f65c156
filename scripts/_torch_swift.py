"""SwiFT's backbone in PyTorch, written from the definition in `swift_export.models.swift.backbone`.

It stands for the model that a PyTorch user runs: weights and features are the same, windows are made by rolls and
reshapes, attention is PyTorch's own. For ``scripts/gpu_check``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from swift_export.models.swift.backbone.windows import window_regions
from swift_export.models.swift.config import LAYER_NORM_EPSILON, MASK_VALUE, SwiFTConfig, WindowPlan

__all__ = ["TorchSwiFT"]

#: torch is optional and untyped here: tensors are Any.
Tensor = Any


class TorchSwiFT:
    """The forward pass of clips of the model's full length, on one device.

    ``tensors`` are named as in the published checkpoints.
    """

    def __init__(self, config: SwiFTConfig, tensors: Mapping[str, Any], device: str):
        self._config = config
        self._tensors = {name: torch.tensor(array, device=device) for name, array in tensors.items()}
        #: Of each stage, for its shifted blocks.
        self._masks = [_mask(config.window_plan(stage, 1), device) for stage in range(config.stages)]

    def __call__(self, bold: Tensor) -> Tensor:
        """Features (batch, channels, h, w, d, frames)."""
        config, tensors = self._config, self._tensors
        x = self._linear("model.patch_embed.fc", _patches(bold, config))
        for stage in range(config.stages):
            for part in ("pos_embed", "time_embed"):
                x = x + tensors[f"model.pos_embeds.{stage}.{part}"].permute(0, 2, 3, 4, 5, 1)
            for block in range(config.depths[stage]):
                x = self._block(x, stage, block)
            if stage < config.stages - 1:
                x = self._merged(x, f"model.layers.{stage}.downsample")
        return x.permute(0, 5, 1, 2, 3, 4)

    def _block(self, x: Tensor, stage: int, block: int) -> Tensor:
        name = f"model.layers.{stage}.blocks.{block}"
        plan, heads = self._config.window_plan(stage, block), self._config.num_heads[stage]
        mask = self._masks[stage] if plan.shifted else None
        x = x + self._attention(self._norm(f"{name}.norm1", x), f"{name}.attn", plan, heads, mask)
        hidden = F.gelu(self._linear(f"{name}.mlp.linear1", self._norm(f"{name}.norm2", x)))
        return x + self._linear(f"{name}.mlp.linear2", hidden)

    def _attention(self, x: Tensor, name: str, plan: WindowPlan, heads: int, mask: Tensor | None) -> Tensor:
        batch, channels = x.shape[0], x.shape[-1]
        if plan.padded != plan.grid:
            h, w, d, t = (p - n for p, n in zip(plan.padded, plan.grid, strict=True))
            x = F.pad(x, (0, 0, 0, t, 0, d, 0, w, 0, h))
        if plan.shifted:
            x = torch.roll(x, [-shift for shift in plan.shift], (1, 2, 3, 4))
        (nh, nw, nd, nt), (wh, ww, wd, wt) = plan.counts, plan.window
        x = x.reshape(batch, nh, wh, nw, ww, nd, wd, nt, wt, channels)
        # PyTorch's kernels take four dimensions: clips and windows share one.
        x = x.permute(0, 1, 3, 5, 7, 2, 4, 6, 8, 9).reshape(-1, plan.tokens, channels)
        q, k, v = self._linear(f"{name}.qkv", x).reshape(len(x), plan.tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        if mask is not None:
            # It takes the type of the scores, as autocast does not cast it.
            mask = mask.to(q.dtype).expand(batch, *mask.shape).reshape(-1, *mask.shape[1:])
        x = F.scaled_dot_product_attention(q, k, v, mask)
        x = self._linear(f"{name}.proj", x.transpose(1, 2).reshape(len(x), plan.tokens, channels))
        x = x.reshape(batch, nh, nw, nd, nt, wh, ww, wd, wt, channels)
        x = x.permute(0, 1, 5, 2, 6, 3, 7, 4, 8, 9).reshape(batch, *plan.padded, channels)
        if plan.shifted:
            x = torch.roll(x, plan.shift, (1, 2, 3, 4))
        h, w, d, t = plan.grid
        return x[:, :h, :w, :d, :t]

    def _merged(self, x: Tensor, name: str) -> Tensor:
        corners = [x[:, i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        x = self._norm(f"{name}.norm", torch.cat(corners, -1))
        return F.linear(x, self._tensors[f"{name}.reduction.weight"])

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, LAYER_NORM_EPSILON)


def _patches(bold: Tensor, config: SwiFTConfig) -> Tensor:
    batch, channels, *_, frames = bold.shape
    (kh, kw, kd), (h, w, d, _) = config.patch_size[:3], config.grid(0)
    x = bold.reshape(batch, channels, h, kh, w, kw, d, kd, frames).permute(0, 2, 4, 6, 8, 3, 5, 7, 1)
    return x.reshape(batch, h, w, d, frames, -1)


def _mask(plan: WindowPlan, device: str) -> Tensor | None:
    """The addend to scores (windows, 1, tokens, tokens)."""
    if not plan.shifted:
        return None
    regions = torch.tensor(window_regions(plan), device=device)
    same = regions[:, None, :, None] == regions[:, None, None, :]
    return torch.where(same, 0.0, MASK_VALUE)
