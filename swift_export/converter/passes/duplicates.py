"""Merges duplicate constants."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import array, is_named, sizes

__all__ = ["merge_duplicate_initializers"]

#: Bytes of a constant that are compared first.
BEGINNING = 1024


def merge_duplicate_initializers(graph: oir.Graph) -> int:
    """Unnamed constants of equal type, shape and bytes -> the first of them.

    Named constants are looked up by name and stay, equal or not. (onnx-ir's pass has no such exception.)
    """
    alike: dict[tuple[object, ...], list[oir.Value]] = {}
    for value in graph.initializers.values():
        if not is_named(value) and array(value) is not None and not value.is_graph_output():
            alike.setdefault((value.dtype, *sizes(value)), []).append(value)
    count = 0
    for values in alike.values():
        # Few of the same type and shape are equal: their beginnings tell most of them apart.
        first: dict[bytes, oir.Value] = {}
        beginnings = Counter(_bytes(value)[:BEGINNING].tobytes() for value in values)
        for value in values:
            if beginnings[_bytes(value)[:BEGINNING].tobytes()] == 1:
                continue
            same = first.setdefault(hashlib.sha256(_bytes(value)).digest(), value)
            if same is not value:
                value.replace_all_uses_with(same)
                graph.initializers.pop(str(value.name))
                count += 1
    return count


def _bytes(value: oir.Value) -> memoryview:
    elements = array(value)
    assert elements is not None
    return np.ascontiguousarray(elements).reshape(-1).view(np.uint8).data
