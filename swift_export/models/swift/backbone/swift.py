"""The SwiFT backbone as an Equinox module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from swift_export.errors import InputError, UsageError, WeightsError
from swift_export.models.swift.backbone.layers import Linear, Tensors
from swift_export.models.swift.backbone.stage import PatchEmbedding, Stage, channels_first
from swift_export.models.swift.config import LOGITS, OUTPUT_KINDS, SwiFTConfig, parameter_shapes
from swift_export.models.swift.head import head_layers
from swift_export.models.swift.precision import element_types

if TYPE_CHECKING:
    from swift_export.models.swift.weights import Weights

__all__ = ["SwiFT"]


class SwiFT(eqx.Module):
    """SwiFT's backbone (Kim et al., NeurIPS 2023, arXiv:2307.05916).

    ``tensors`` have the names and layouts of the published checkpoints, and may be traced values. The input is a batch
    of clips ``(batch, in_chans, H, W, D, T)``, or one clip without the batch axis. The output is features ``(batch,
    channels, h, w, d, T)``, or without the batch axis. T is at most the length of the time embedding.

    ``tensors`` may also hold those of a head, for `named_outputs`. They are converted to the element types of
    ``precision`` (see `swift.precision`), which those of the outputs follow. Clips are float32, or have the type of the
    patch embedding.
    """

    patch_embed: PatchEmbedding
    stages: tuple[Stage, ...]
    head: tuple[Linear, ...]
    config: SwiFTConfig = eqx.field(static=True)

    def __init__(self, config: SwiFTConfig, tensors: Mapping[str, np.ndarray] | Tensors, precision: str = "float32"):
        expected = parameter_shapes(config)
        wrong = [f"{k} {v}" for k, v in expected.items() if k not in tensors or tuple(tensors[k].shape) != v]
        if wrong:
            raise WeightsError(
                f"weights: missing tensors, or tensors of another shape than expected: {', '.join(wrong)}"
            )
        layers = head_layers(tensors)
        of_head = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
        types = element_types((*expected, *of_head), precision)
        arrays = {k: jnp.asarray(tensors[k], kind) for k, kind in types.items()}
        self.config = config
        self.patch_embed = PatchEmbedding.load(arrays, config)
        self.stages = tuple(Stage.load(arrays, config, i) for i in range(config.stages))
        self.head = tuple(Linear.load(arrays, layer) for layer in layers)

    @classmethod
    def from_weights(cls, weights: Weights) -> SwiFT:
        """Build from loaded weights."""
        return cls(weights.config, weights.tensors)

    @classmethod
    def from_pretrained(cls, source: str | Path, *, variant: str | None = None) -> SwiFT:
        """Build from a variant's name, a hub id, a bundle folder or a ``.ckpt`` file."""
        # Weights precede the backbone in the data flow; only this convenience function imports them.
        from swift_export.models.swift.weights import load_weights

        return cls.from_weights(load_weights(source, variant=variant))

    def __call__(self, bold: Float[Array | np.ndarray, "*batch in H W D T"]) -> Float[Array, "*batch channels h w d T"]:
        """Features of a batch of clips, or of one clip without the batch axis."""
        if bold.ndim == 5:
            return self.named_outputs(bold[None])["features"][0]
        return self.named_outputs(bold)["features"]

    def named_outputs(
        self,
        bold: Float[Array | np.ndarray, "batch in H W D T"],
        outputs: Sequence[str] = ("features",),
        output_kind: str = "features",
        forms: Mapping[tuple[int, int], str] | None = None,
    ) -> dict[str, Array]:
        """Features and stage maps by name, all ``(batch, channels, h, w, d, T)``.

        With ``output_kind="embedding"``, ``features`` is the mean over all tokens, ``(batch, channels)``. With
        ``"logits"`` it is, too, and ``logits`` is what the head makes of it, ``(batch, outputs)``. Stage maps are the
        results of upstream's ``layers.i``, including the merging. ``forms`` states, by stage and block, how
        shifted blocks attend (see `backbone.partition`). Without it, the definition is computed.
        """
        self._check(bold)
        if output_kind not in OUTPUT_KINDS:
            raise UsageError(f"output kind: expected one of {', '.join(OUTPUT_KINDS)}; found {output_kind}")
        known = self.config.output_names(output_kind)
        if unknown := [name for name in outputs if name not in known]:
            raise UsageError(f"outputs: expected {', '.join(known)}; found {', '.join(unknown)}")
        if LOGITS in outputs and not self.head:
            raise UsageError(f"outputs: expected weights with a head for {LOGITS}, found none among the tensors")
        maps = {}
        with jax.named_scope("patch_embed"):
            x = self.patch_embed(jnp.asarray(bold))
        for i, stage in enumerate(self.stages):
            with jax.named_scope(f"stage{i}"):
                x = stage(x, forms)
            if f"stage{i}" in outputs:
                with jax.named_scope(f"stage{i}/map"):
                    maps[f"stage{i}"] = channels_first(x)
        if "features" in outputs or LOGITS in outputs:
            with jax.named_scope("features"):
                maps["features"] = channels_first(x) if output_kind == "features" else _mean_token(x)
        if LOGITS in outputs:
            with jax.named_scope("head"):
                y = maps["features"]
                for layer in self.head:
                    y = layer(y)
                maps[LOGITS] = y
        return {name: maps[name] for name in outputs}

    def head_terms(self, embedding: Float[Array, "batch channels"]) -> Float[Array, "batch outputs"]:
        """The typical size of the sums in the head, if their terms had random signs.

        Errors of an embedding are alike in all channels, so they count by its root mean square.
        """
        y = size = embedding
        for layer in self.head:
            assert layer.bias is not None
            square = jnp.square(size).mean(-1, keepdims=True) * jnp.square(layer.weight).sum(-1)
            y = layer(y)
            size = jnp.maximum(jnp.abs(y), jnp.sqrt(square + jnp.square(layer.bias)))
        return size

    def _check(self, bold: Float[Array | np.ndarray, "batch in H W D T"]) -> None:
        if bold.ndim == 6:
            frames = bold.shape[5]
            if isinstance(frames, int):
                self.config.check_frames(frames)
            if bold.shape[1:] == self.config.input_shape(frames):
                if bold.dtype not in (jnp.float32, self.patch_embed.fc.weight.dtype):
                    raise InputError(f"bold: expected float32, found {bold.dtype}")
                return
        expected = ", ".join(map(str, self.config.input_shape()[:4]))
        raise InputError(f"bold: expected (batch, {expected}, frames), found {bold.shape}")


def _mean_token(x: Float[Array, "batch h w d t channels"]) -> Float[Array, "batch channels"]:
    """The mean over all tokens, in float32."""
    return x.astype(jnp.float32).mean((1, 2, 3, 4))
