"""Products and sums with constants per channel, as batch normalisation makes in inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.constants import per_channel
from swift_export.converter.passes.match import inputs, only_use, sizes

__all__ = ["Affine", "following"]

OPS = ("Add", "Div", "Mul", "Sub")


@dataclass(frozen=True)
class Affine:
    """``scale * x + shift`` with numbers for each channel, which ``last`` completes."""

    scale: np.ndarray
    shift: np.ndarray
    last: oir.Node
    length: int

    @property
    def is_sum(self) -> bool:
        """Whether it only adds."""
        return bool(np.all(self.scale == 1))


def following(value: oir.Value, axis: int) -> list[Affine]:
    """What the ops behind a value make of it, each the only user of the one before: the first of them, two, ..."""
    shape = sizes(value)
    channels = shape[axis]
    if not isinstance(channels, int):
        return []
    scale, shift = np.ones(channels), np.zeros(channels)
    found: list[Affine] = []
    while (node := only_use(value)) is not None and node.op_type in OPS and not node.domain:
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
        value = node.outputs[0]
        found.append(Affine(scale, shift, node, len(found) + 1))
    return found
