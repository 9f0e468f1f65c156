"""SwiFT with heads padded to a width that attention kernels accept: a trial, which no export has yet.

Kernels that never store the scores (cuDNN's, and those of ONNX Runtime's MultiHeadAttention) take half precision and
heads of a multiple of 8. The 12 numbers of SwiFT's heads become 16 by rows of zeros in the weights, which change no
score and no sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import numpy as np

from swift_export.models import Model
from swift_export.models.swift.backbone.swift import SwiFT
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.forms import choose_forms
from swift_export.models.swift.precision import half_type
from swift_export.models.swift.settings import SwiFTSettings

__all__ = ["wide_model", "widened"]

#: Numbers of a head are padded to a multiple of this.
STEP = 8


def widened(config: SwiFTConfig, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint with padded heads."""
    wide = {name: np.asarray(array) for name, array in tensors.items()}
    for stage, depth in enumerate(config.depths):
        heads = config.num_heads[stage]
        for block in range(depth):
            name = f"model.layers.{stage}.blocks.{block}.attn"
            for part in ("qkv.weight", "qkv.bias"):
                wide[f"{name}.{part}"] = _padded(wide[f"{name}.{part}"], 3 * heads)
            wide[f"{name}.proj.weight"] = _padded(wide[f"{name}.proj.weight"].T, heads).T
    return wide


def wide_model(model: Model, config: SwiFTConfig, settings: SwiFTSettings) -> Model:
    """An exported model with padded heads; its weights keep their names."""
    chosen = choose_forms(config, model.weights, settings)
    forms = {place: block.form for place, block in chosen.items()}
    shapes = parameter_shapes(config)

    def forward(weights: Mapping[str, Any], bold: Any) -> dict[str, Any]:
        # The backbone takes weights of the architecture's shapes; those of its attention are replaced.
        narrow = {name: weights[name][tuple(map(slice, shape))] for name, shape in shapes.items()}
        backbone = SwiFT(config, narrow, settings.precision)
        for stage, block in [(i, j) for i, depth in enumerate(config.depths) for j in range(depth)]:
            name = f"model.layers.{stage}.blocks.{block}.attn"
            own = [weights[f"{name}.{part}"] for part in ("qkv.weight", "qkv.bias", "proj.weight")]
            backbone = eqx.tree_at(partial(_parts, stage, block), backbone, own)
        clips = bold.astype(half_type(settings.precision) or "float32")
        found = backbone.named_outputs(clips, settings.outputs, settings.output_kind, forms)
        return {name: value.astype(settings.io_dtype) for name, value in found.items()}

    return replace(model, forward=forward, weights=widened(config, model.weights))


def _parts(stage: int, block: int, backbone: SwiFT) -> list[Any]:
    attention = backbone.stages[stage].blocks[block].attention
    return [attention.qkv.weight, attention.qkv.bias, attention.proj.weight]


def _padded(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of zeros after those of each head."""
    by_head = rows.reshape(heads, -1, *rows.shape[1:])
    missing = -by_head.shape[1] % STEP
    by_head = np.pad(by_head, [(0, 0), (0, missing), *[(0, 0)] * (by_head.ndim - 2)])
    return by_head.reshape(-1, *rows.shape[1:])
