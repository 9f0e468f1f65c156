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
from swift_export.system.text import listed, shown

__all__ = ["HEAD_NAMES", "MAX_OUTPUTS", "PROBE", "SCALINGS", "Head", "HeadFacts", "head_layers"]

#: Names of heads: the attribute of the authors' module today, those of older versions, and that of a probe.
PROBE = "probe"
HEAD_NAMES = ("output_head", "clf", "reg", PROBE)
#: Linear layers of a head, in the order of computation.
_LAYERS = ("hidden", "head")
MAX_OUTPUTS = 4096
#: ``label_scaling_method`` of a checkpoint, with the unit of its outputs.
SCALINGS = {
    "standardization": "in standard deviations of the training targets from their mean",
    "minmax": "on a scale from 0, the smallest training target, to 1, the largest",
}


@dataclass(frozen=True)
class HeadFacts:
    """What the outputs of a head mean, as far as its file says.

    Attributes:
        kind: ``classification`` or ``regression``; None if unknown.
        target: the name of what is predicted.
        classes: of a classification, in the order of the outputs; with two classes, the single output is the logit of
            the second.
        scaling: of a checkpoint's regression, a key of `SCALINGS`; None if outputs are in the unit of the target.

    """

    kind: str | None = None
    target: str | None = None
    classes: tuple[str, ...] = ()
    scaling: str | None = None

    @property
    def text(self) -> str:
        """One sentence for readers of a file."""
        target = f" of {shown(self.target, 60)}" if self.target else ""
        if self.kind is None:
            return "a head of unknown meaning"
        if self.kind == "regression":
            unit = f", {SCALINGS[self.scaling]}, which the checkpoint does not state" if self.scaling else ""
            return f"regression{target}{unit}"
        names = [shown(name, 60) for name in self.classes]
        if len(names) == 2:
            return f"classification{target}, the logit of {names[1]} against {names[0]}"
        return f"classification{target}" + (f", one logit each of {listed(names)}" if names else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"kind": self.kind, "target": self.target, "classes": list(self.classes), "scaling": self.scaling}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> HeadFacts:
        """Read `to_dict`'s data; raises ValueError for data in another form."""
        kind, target, classes, scaling = (table.get(key) for key in ("kind", "target", "classes", "scaling"))
        if kind not in (None, "classification", "regression"):
            raise ValueError(f"kind {shown(kind)}")
        if not isinstance(target, (str, type(None))):
            raise ValueError(f"target {shown(target)}")
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"classes {shown(classes)}")
        if scaling is not None and scaling not in SCALINGS:
            raise ValueError(f"scaling {shown(scaling)}")
        return cls(kind, target, tuple(classes), scaling)


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
