"""Merges duplicate constants."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import array, is_named, sizes

__all__ = ["merge_duplicate_initializers"]


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
        first: dict[bytes, oir.Value] = {}
        for value in values if len(values) > 1 else []:
            same = first.setdefault(_digest(value), value)
            if same is not value:
                value.replace_all_uses_with(same)
                graph.initializers.pop(str(value.name))
                count += 1
    return count


def _digest(value: oir.Value) -> bytes:
    elements = array(value)
    assert elements is not None
    return hashlib.sha256(np.ascontiguousarray(elements).tobytes()).digest()
