"""Products and sums with constants per channel, as batch normalisation makes in inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.constants import per_channel
from swift_export.converter.passes.match import inputs, only_use, sizes

__all__ = ["OPS", "Affine", "following"]

OPS = ("Add", "Div", "Mul", "Sub")


@dataclass(frozen=True)
class Affine:
    """``scale * x + shift`` with numbers for each channel, and the nodes that compute it."""

    scale: np.ndarray
    shift: np.ndarray
    nodes: tuple[oir.Node, ...]

    @property
    def last(self) -> oir.Node:
        """The node of the result."""
        return self.nodes[-1]

    @property
    def is_sum(self) -> bool:
        """Whether it only adds."""
        return bool(np.all(self.scale == 1))


def following(value: oir.Value, axis: int, first: oir.Node | None = None) -> list[Affine]:
    """What the ops behind a value make of it, each the only user of the one before: the first of them, two, ...

    The ``first`` one may be one of several users.
    """
    shape = sizes(value)
    channels = shape[axis]
    if not isinstance(channels, int):
        return []
    scale, shift = np.ones(channels), np.zeros(channels)
    found: list[Affine] = []
    nodes: tuple[oir.Node, ...] = ()
    while (node := (first if first is not None and not nodes else only_use(value))) is not None:
        if node.op_type not in OPS or node.domain:
            break
        a, b = inputs(node)
        is_first = a is value
        number = per_channel(b if is_first else a, shape, axis)
        if number is None or a is b or (node.op_type == "Div" and not is_first):
            break
        with np.errstate(all="ignore"):
            if node.op_type == "Mul":
                scale, shift = scale * number, shift * number
            elif node.op_type == "Div":
                scale, shift = scale / number, shift / number
            elif node.op_type == "Add":
                shift = shift + number
            else:
                scale, shift = (scale, shift - number) if is_first else (-scale, number - shift)
        value, nodes = node.outputs[0], (*nodes, node)
        found.append(Affine(scale, shift, nodes))
    return found
