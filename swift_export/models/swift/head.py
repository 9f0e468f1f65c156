"""A head: linear layers behind the mean over all tokens, with the meaning of their outputs.

The authors' heads (``clf_mlp``, ``clf_mlp_v2``, ``reg_mlp``) take the mean over all tokens of the last stage, without a
norm. They are one linear layer ``head``, or two, ``hidden`` and ``head``, with nothing between them. Two classes have
one output, trained with ``binary_cross_entropy_with_logits``. A regression learns the target scaled to the training
data; the scaler is an object of the training program and is in no checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swift_export.models.model import weights_digest
from swift_export.models.swift.head_facts import HeadFacts

__all__ = ["HEAD_NAMES", "MAX_OUTPUTS", "PROBE", "Head", "head_layers"]

#: Names of heads: the attribute of the authors' module today, those of older versions, and that of a probe.
PROBE = "probe"
HEAD_NAMES = ("output_head", "clf", "reg", PROBE)
#: Linear layers of a head, in the order of computation.
_LAYERS = ("hidden", "head")
MAX_OUTPUTS = 4096


@dataclass(frozen=True, eq=False)
class Head:
    """A head with its tensors.

    Attributes:
        tensors: float32, read-only, by their names in the file: ``NAME.head.weight`` (outputs, channels) and so on.
        facts: what the outputs mean.
        origin: of a probe: the name and digest of its file, and what that states about the fit.

    """

    tensors: Mapping[str, np.ndarray]
    facts: HeadFacts
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """One of `HEAD_NAMES`."""
        return head_layers(self.tensors)[-1].partition(".")[0]

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.tensors[f"{self.name}.head.weight"].shape[0])

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors."""
        return weights_digest(self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for manifests and files."""
        own = {"name": self.name, "outputs": self.outputs}
        return own | self.facts.to_dict() | {"meaning": self.facts.text} | dict(self.origin)


def head_layers(names: Collection[str]) -> tuple[str, ...]:
    """The linear layers of the head among tensors, such as ``output_head.head``, in order; empty without a head."""
    return tuple(f"{head}.{layer}" for head in HEAD_NAMES for layer in _LAYERS if f"{head}.{layer}.weight" in names)
