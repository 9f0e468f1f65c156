"""Maxima of segments that only shift a softmax over each segment: NaN reaches its results without them."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.constants import is_filled
from swift_export.converter.passes.match import (
    FLOATS,
    array,
    attribute,
    inputs,
    integers,
    made_by,
    replace,
    scalar,
    sizes,
)
from swift_export.converter.passes.segments import are_segments
from swift_export.converter.passes.templates import match

__all__ = ["forget_nan_in_segments"]

#: How `rules/scatter.py` completes a maximum by ranks: 2 for NaN, 1 for +0.
COMPLETED = (
    "Where",
    ("Equal", "ranks", "two"),
    "nan",
    ("Where", ("And", ("Equal", "found", "zero"), ("Equal", "ranks", "one")), "positive", "found"),
)
RANK = ("Where", ("IsNaN", "x"), "two", "below")
#: NaN in, NaN out.
CARRYING = ("Abs", "Add", "Div", "Exp", "Identity", "Log", "Mul", "Neg", "Sub", "Unsqueeze")
#: What may stand between a maximum and the elements that it shifts, such as the choice of 0 for an infinite one.
BETWEEN = ("Abs", "Identity", "Less", "Where")


def forget_nan_in_segments(graph: oir.Graph) -> int:
    """``exp(x - max[i]) / sum[i]`` with nodes around the maximum for NaN and the signs of zeros -> without them, where
    ``max`` and ``sum`` are scattered to the same segments.

    A NaN among the elements of a segment makes its sum NaN, and so all its results.
    """
    count = 0
    for node in list(graph):
        maximum = _completed(node)
        if maximum is not None and _Softmax(maximum).hides(node.outputs[0]):
            replace(graph, node.outputs[0], maximum.outputs[0])
            count += 1
    return count


def _completed(node: oir.Node) -> oir.Node | None:
    """The ScatterElements that a node completes, if it starts from numbers."""
    found = match(node.outputs[0], COMPLETED) if node.op_type == "Where" and not node.domain else None
    if found is None:
        return None
    maximum, ranks = (made_by(found[name], "ScatterElements") for name in ("found", "ranks"))
    nan, zero, positive = (scalar(found[name]) for name in ("nan", "zero", "positive"))
    known = nan is not None and np.isnan(nan) and zero == positive == 0
    if maximum is None or ranks is None or not known or not _is(found["two"], 2) or not _is(found["one"], 1):
        return None
    if any(_reduction(n) != "max" or attribute(n, "axis", 0) != 0 for n in (maximum, ranks)):
        return None
    data, positions, update = inputs(maximum)
    ranked = match(inputs(ranks)[2], RANK)
    same = inputs(ranks)[1] is positions and ranked is not None and ranked["x"] is update and _is(ranked["two"], 2)
    return maximum if same and data.dtype in FLOATS and is_filled(data, _are_numbers) else None


def _are_numbers(elements: np.ndarray) -> bool:
    return not np.isnan(elements).any()


def _is(value: oir.Value, number: int) -> bool:
    elements = array(value)
    return elements is not None and elements.shape == () and bool(elements == number)


def _reduction(node: oir.Node) -> str:
    found = node.attributes.get("reduction")
    return "none" if found is None else found.as_string()


class _Softmax:
    """What follows from a maximum by segments.

    An element reads its segment's maximum and sum at the same place. One whose index is outside counts for no segment,
    but may read those of one.
    """

    def __init__(self, maximum: oir.Node):
        self._data, self._positions, self._x = inputs(maximum)

    def hides(self, value: oir.Value) -> bool:
        """Whether no result tells if the maxima in a value are NaN, or have the other sign of zero."""
        uses = list(value.uses())
        return bool(uses) and not value.is_graph_output() and all(self._hides(use.node, value) for use in uses)

    def _hides(self, user: oir.Node, value: oir.Value) -> bool:
        if user.domain or user.graph is not value.graph:
            return False
        if user.op_type in BETWEEN or _is_cut(user):
            return self.hides(user.outputs[0])
        places = _places(user)
        if places is None or places is value or not are_segments(self._positions, places):
            return False
        return self._shifts(user.outputs[0], places)

    def _shifts(self, value: oir.Value, places: oir.Value) -> bool:
        """Whether this holds for a value of the maxima at ``places``."""
        uses = list(value.uses())
        return bool(uses) and not value.is_graph_output() and all(self._is_shift(u.node, value, places) for u in uses)

    def _is_shift(self, user: oir.Node, value: oir.Value, places: oir.Value) -> bool:
        if user.domain or user.graph is not value.graph:
            return False
        if user.op_type in BETWEEN:
            return self._shifts(user.outputs[0], places)
        if user.op_type != "Sub" or inputs(user)[0] is not self._x or inputs(user)[1] is not value:
            return False
        shifted = user.outputs[0]
        same = sizes(shifted) == sizes(self._x) and not shifted.is_graph_output()
        return same and all(
            use.node.op_type == "Exp" and self._is_divided(use.node.outputs[0], places) for use in shifted.uses()
        )

    def _is_divided(self, exponentials: oir.Value, places: oir.Value) -> bool:
        """Whether all that reads exponentials adds them up, or is NaN itself where their sum is."""
        if exponentials.is_graph_output():
            return False
        for use in exponentials.uses():
            user = use.node
            others = [v for v in inputs(user) if v is not exponentials]
            if user.domain or user.graph is not exponentials.graph:
                return False
            divided = user.op_type in ("Div", "Mul") and any(self._is_sum(v, exponentials, places) for v in others)
            if not divided and not self._adds_up(user, exponentials):
                return False
        return True

    def _adds_up(self, node: oir.Node | None, exponentials: oir.Value) -> bool:
        if node is None or node.op_type != "ScatterElements" or node.domain or _reduction(node) != "add":
            return False
        data, positions, update = inputs(node)
        return positions is self._positions and update is exponentials and sizes(data) == sizes(self._data)

    def _is_sum(self, value: oir.Value, exponentials: oir.Value, places: oir.Value) -> bool:
        """Whether a value is NaN where the sum at these places is."""
        node = made_by(value, *CARRYING, "Gather")
        if node is None:
            return False
        if node.op_type == "Gather":
            return _places(node) is places and self._has_sum(inputs(node)[0], exponentials)
        return any(self._is_sum(v, exponentials, places) for v in inputs(node))

    def _has_sum(self, value: oir.Value, exponentials: oir.Value) -> bool:
        """Whether a value of each segment is NaN where the sum is."""
        node = value.producer()
        if node is None or self._adds_up(node, exponentials):
            return node is not None
        carries = _is_cut(node) or (node.op_type in CARRYING and not node.domain)
        return carries and any(self._has_sum(v, exponentials) for v in inputs(node))


def _is_cut(node: oir.Node) -> bool:
    """Whether a node takes the first rows."""
    if node.op_type != "Slice" or node.domain or len(node.inputs) < 4:
        return False
    begin, axes = integers(node.inputs[1]), integers(node.inputs[3])
    steps = integers(node.inputs[4]) if len(node.inputs) > 4 else [1]
    return begin == [0] and axes == [0] and steps == [1]


def _places(node: oir.Node) -> oir.Value | None:
    """The rows that a node gathers."""
    return inputs(node)[1] if node.op_type == "Gather" and attribute(node, "axis", 0) == 0 else None
