"""The precisions in which a SwiFT can be exported, and what each computes in half precision.

The types of the weights decide those of the computation: a linear layer computes in the type of its weights, and the
residual stream has the type of the position embeddings. Everywhere, LayerNorm's statistics, GELU and the softmax are
computed in float32 and rounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["IO_DTYPES", "PRECISIONS", "element_types", "half_type"]

#: ``mixed``: float16 in linear layers and attention, float32 in the residual stream and in LayerNorms.
PRECISIONS = ("float32", "float16", "bfloat16", "mixed")
#: Element types of inputs and outputs. A clip of float32 is converted in the file, before all else.
IO_DTYPES = ("float32", "float16")

#: Weights of the residual stream: position embeddings and LayerNorms.
_STREAM = re.compile(r"model\.(pos_embeds\.|.*\bnorm\d?\.)")


def half_type(precision: str) -> str | None:
    """The element type of 16 bits in a precision; None in float32."""
    return {"float32": None, "mixed": "float16"}.get(precision, precision)


def element_types(names: Iterable[str], precision: str) -> dict[str, str]:
    """The element type of each tensor of a SwiFT, by its name in a checkpoint."""
    half = half_type(precision) or "float32"
    return {name: "float32" if precision == "mixed" and _STREAM.match(name) else half for name in names}
