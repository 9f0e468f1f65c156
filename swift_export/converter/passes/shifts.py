"""Maxima that only shift exponentials before their sum: NaN reaches the results without them."""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.passes.match import axes_of, inputs, made_by, sizes

__all__ = ["only_shifts"]

SUMS = ("ReduceMean", "ReduceSum")
#: NaN in, NaN out; of the last four, from either operand.
CARRYING = frozenset({"Abs", "Exp", "Identity", "Log", "Neg", "Squeeze", "Unsqueeze", "Add", "Div", "Mul", "Sub"})
#: What may stand between a maximum and the elements that it shifts, such as the choice of 0 for an infinite one.
BETWEEN = frozenset({"Abs", "Less", "Squeeze", "Unsqueeze", "Where"})


def only_shifts(extreme: oir.Node) -> bool:
    """Whether no result tells if a ReduceMax of x is NaN, or has the other sign of zero.

    So it is in ``log(sum(exp(x - max(x)))) + max(x)``: if an element is NaN, its exponential makes the sum NaN.
    """
    x, axes = inputs(extreme)[0], axes_of(extreme)
    return axes is not None and _is_hidden(extreme.outputs[0], _Rows(x, axes))


class _Rows:
    """What is NaN where an element of x is, or where any in its row is."""

    def __init__(self, x: oir.Value, axes: list[int]) -> None:
        self.x, self.axes = x, axes

    def has_element(self, value: oir.Value) -> bool:
        if value is self.x:
            return True
        node = made_by(value, *(CARRYING - {"Squeeze", "Unsqueeze"}))
        same = sizes(value) == sizes(self.x)
        return node is not None and same and any(self.has_element(v) for v in inputs(node))

    def has_row(self, value: oir.Value) -> bool:
        if self.is_sum(value.producer()):
            return True
        node = made_by(value, *CARRYING)
        return node is not None and any(self.has_row(v) for v in inputs(node))

    def is_sum(self, node: oir.Node | None) -> bool:
        """Whether a node adds up rows of such elements."""
        if node is None or node.op_type not in SUMS or node.domain:
            return False
        return axes_of(node) == self.axes and self.has_element(inputs(node)[0])


def _is_hidden(value: oir.Value, rows: _Rows, *, positive: bool = False) -> bool:
    """Whether all users of what depends on a maximum are NaN themselves in its rows; ``positive``: it is no zero whose
    sign could matter.
    """
    uses = list(value.uses())
    return bool(uses) and not value.is_graph_output() and all(_hides(use.node, value, rows, positive) for use in uses)


def _hides(user: oir.Node, value: oir.Value, rows: _Rows, positive: bool) -> bool:
    if user.domain or user.graph is not value.graph:
        return False
    if rows.is_sum(user):
        return positive
    others = [v for v in inputs(user) if v is not value]
    if user.op_type in ("Add", "Div", "Mul", "Sub") and any(map(rows.has_row, others)):
        # log(sum) + max: a sum with -0 is one with 0.
        return positive or user.op_type == "Add"
    if user.op_type in BETWEEN and not positive:
        return _is_hidden(user.outputs[0], rows)
    if user.op_type == "Sub" and inputs(user)[0] is rows.x:
        shifted = user.outputs[0]
        return not shifted.is_graph_output() and all(
            use.node.op_type == "Exp" and _is_hidden(use.node.outputs[0], rows, positive=True) for use in shifted.uses()
        )
    return user.op_type == "Mul" and positive and _is_hidden(user.outputs[0], rows, positive=True)
