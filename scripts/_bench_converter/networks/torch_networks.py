"""Modules of PyTorch as functions of JAX, by torchax."""

from __future__ import annotations

import numpy as np
import torch
import torchax
from torch import nn

from _bench_converter.networks.case import Case, filled, noise

__all__ = ["torch_encoder", "torch_resnet"]


def _case(module: nn.Module, example: np.ndarray) -> Case:
    weights, forward = torchax.extract_jax(module.eval())
    weights = filled(weights, outputs=0)
    return Case(lambda x: forward(weights, (x,)), (example,))


class _Basic(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        shortcut = (nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        self.shortcut = nn.Sequential(*shortcut) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def torch_resnet() -> Case:
    """A small ResNet with BatchNorm."""
    torch.manual_seed(0)
    widths = (32, 32, 64, 128, 256)
    blocks = [
        _Basic(widths[stage + block], widths[stage + 1], 2 if stage and not block else 1)
        for stage in range(4)
        for block in range(2)
    ]
    stem = (nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 1000))
    return _case(nn.Sequential(*stem, *blocks, *head), noise(1, 3, 128, 128))


def torch_encoder() -> Case:
    """PyTorch's own transformer, norms first."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(256, 4, 1024, 0.1, "gelu", batch_first=True, norm_first=True)
    return _case(nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), noise(1, 96, 256))
