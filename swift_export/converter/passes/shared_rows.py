"""Makes constants of one branch from those of another one, so that the file holds their numbers once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.loops import KEPT
from swift_export.converter.passes.match import array, constant_like, is_named, new_value, sizes
from swift_export.converter.passes.nested import with_bodies

__all__ = ["share_rows"]

#: Bytes of the smallest constant that is worth the nodes that make it.
SMALLEST = 4096

#: The rows of a matrix: those of sources beside each other, each with their numbers.
_Places = list[tuple[oir.Value, list[int]]]


def share_rows(branch: oir.Graph, reader: oir.Node, sources: Sequence[oir.Value]) -> None:
    """Matrices that only ``reader`` reads, a node of ``branch`` -> rows of ``sources``, bit for bit, in any order.

    The sources have the shape (1, rows, elements). A matrix may hold rows of two beside each other, or be transposed.
    Named constants stay.
    """
    inside = list(with_bodies(reader))
    read = dict.fromkeys(v for node in inside for v in node.inputs if v is not None and v.is_initializer())
    for constant in read:
        matrix = array(constant)
        alone = {use.node for use in constant.uses()} <= set(inside) and not constant.is_graph_output()
        if matrix is None or not alone or is_named(constant) or matrix.ndim != 2 or matrix.nbytes < SMALLEST:
            continue
        for turned in (False, True):
            places = _places(matrix.T if turned else matrix, sources)
            if places is not None:
                constant.replace_all_uses_with(_made(branch, reader, places, turned))
                break


def _places(matrix: np.ndarray, sources: Sequence[oir.Value]) -> _Places | None:
    """Where the rows of a matrix are in the sources."""
    for chosen in (*permutations(sources, 1), *permutations(sources, 2)):
        lengths = [int(sizes(source)[-1]) for source in chosen]
        if sum(lengths) != matrix.shape[1] or any(source.dtype != chosen[0].dtype for source in chosen):
            continue
        places: _Places = []
        for source, part in zip(chosen, np.split(matrix, np.cumsum(lengths)[:-1], axis=1), strict=True):
            elements = array(source)
            assert elements is not None
            numbers = {row.tobytes(): number for number, row in enumerate(elements[0])}
            found = [numbers.get(row.tobytes(), -1) for row in part]
            if elements.dtype != matrix.dtype or -1 in found:
                break
            places.append((source, found))
        else:
            return places
    return None


def _made(branch: oir.Graph, before: oir.Node, places: _Places, turned: bool) -> oir.Value:
    def made(op_type: str, operands: Sequence[oir.Value], shape: Sequence[int | str], **settings: object) -> oir.Value:
        value = new_value(branch, before, op_type, operands, shape, settings)
        node = value.producer()
        assert node is not None
        node.meta[KEPT] = True
        return value

    parts = []
    for source, rows in places:
        index = constant_like(branch, np.asarray(rows, np.int64))
        shape = [len(rows), sizes(source)[-1]]
        picked = made("Gather", [source, index], [1, *shape], axis=1)
        axis = constant_like(branch, np.asarray([0], np.int64))
        parts.append(made("Squeeze", [picked, axis], shape))
    whole = parts[0]
    if len(parts) > 1:
        columns = sum(int(sizes(part)[1]) for part in parts)
        whole = made("Concat", parts, [sizes(whole)[0], columns], axis=1)
    return made("Transpose", [whole], sizes(whole)[::-1], perm=[1, 0]) if turned else whole
