"""What the outputs of a head mean. Light to import: the command line knows the heads of the published models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swift_export.system.text import listed, shown

__all__ = ["INSTEAD", "SCALINGS", "HeadFacts"]

#: What to do without a head.
INSTEAD = "export features or embedding, or give a probe with --head"
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
