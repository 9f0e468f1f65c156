"""Which values of a graph are affine in some of its rows, with all factors: proven op by op, computed in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import array, attribute, either, inputs, integers, made_by, permutation, sizes

__all__ = ["Form", "Forms"]

#: Elements of the largest table of factors that is computed.
LARGEST = 2**26


@dataclass(frozen=True)
class Form:
    """``activation(x @ A + ... + c)``, or a constant.

    ``rows`` holds the affine part where all sources are zero, then where one of their elements is 1, along ``axis``
    (from the end). That axis is where the value has the sources' rows, or stands before all axes if the sources are
    vectors. A constant has no such axis.
    """

    rows: np.ndarray
    axis: int | None = None
    activation: str = ""

    def transposed(self, order: Sequence[int]) -> Form:
        """The value's axes in another order."""
        if self.rows.ndim > len(order):
            return replace(self, rows=self.rows.transpose([0, *(axis + 1 for axis in order)]))
        axis = None if self.axis is None else list(order).index(self.rows.ndim + self.axis) - self.rows.ndim
        return replace(self, rows=self.rows.transpose(order), axis=axis)


class Forms:
    """The forms of values, in terms of ``sources`` of shape (rows, elements) or (elements)."""

    def __init__(self, *sources: oir.Value) -> None:
        self._found: dict[oir.Value, Form | None] = {}
        self.places: dict[oir.Value, slice] = {}
        lengths = [int(sizes(source)[-1]) for source in sources]
        self._table = 1 + sum(lengths)
        first = 1
        for source, length in zip(sources, lengths, strict=True):
            rows = np.zeros((self._table, length))
            rows[first : first + length] = np.eye(length)
            self._found[source], self.places[source] = Form(rows, -2), slice(first, first + length)
            first += length

    def of(self, value: oir.Value | None) -> Form | None:
        """The form of a value; None if it is not known to have one."""
        if value is None:
            return None
        if value not in self._found:
            self._found[value] = self._derived(value)
        return self._found[value]

    def factors(self, form: Form, source: oir.Value) -> np.ndarray:
        """The matrix (elements of the source, columns) of a form of shape (rows, columns)."""
        rows = form.rows if form.axis == -2 else form.rows.T
        factors: np.ndarray = rows[self.places[source]] - rows[0]
        return factors

    def constant(self, form: Form) -> np.ndarray:
        """The constant (columns) of a form of shape (rows, columns)."""
        constant: np.ndarray = (form.rows if form.axis == -2 else form.rows.T)[0]
        return constant

    def _derived(self, value: oir.Value) -> Form | None:
        elements = array(value)
        if elements is not None:
            return Form(elements.astype(np.float64)) if value.dtype == oir.DataType.FLOAT else None
        node = value.producer()
        if (
            node is None
            or node.domain
            or math.prod(s for s in sizes(value) if isinstance(s, int)) * self._table > LARGEST
        ):
            return None
        if node.op_type == "Div" and (logits := _sigmoid_of(node)) is not None:
            return self._activated(logits, "Sigmoid")
        if node.op_type in ("Sigmoid", "Tanh"):
            return self._activated(node.inputs[0], node.op_type)
        if node.op_type in _MOVES:
            form = self.of(node.inputs[0])
            return None if form is None else _MOVES[node.op_type](node, value, form)
        forms = [self.of(v) for v in inputs(node)]
        if node.op_type not in _SUMS or any(form is None or form.activation for form in forms):
            return None
        return _SUMS[node.op_type](node, [form for form in forms if form is not None])

    def _activated(self, value: oir.Value | None, activation: str) -> Form | None:
        form = self.of(value)
        return None if form is None or form.activation else replace(form, activation=activation)


def _sigmoid_of(node: oir.Node) -> oir.Value | None:
    """x of ``1 / (1 + exp(-x))``."""
    if not _is_one(node.inputs[0]):
        return None
    total = made_by(node.inputs[1], "Add")
    for one, power in either(total) if total is not None else ():
        exponential = made_by(power, "Exp")
        negated = made_by(exponential.inputs[0], "Neg") if exponential is not None else None
        if negated is not None and _is_one(one):
            return negated.inputs[0]
    return None


def _is_one(value: oir.Value | None) -> bool:
    elements = array(value)
    return elements is not None and elements.size == 1 and elements.item() == 1


def _same_axis(a: Form, b: Form) -> bool:
    """Whether an elementwise op of the two keeps the rows apart."""
    if a.axis is not None and b.axis is not None:
        return a.axis == b.axis
    form, constant = (a, b) if b.axis is None else (b, a)
    shape = constant.rows.shape
    return form.axis is None or len(shape) < -form.axis or shape[form.axis] == 1


def _elementwise(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray], *, constants: int
) -> Callable[..., Form | None]:
    """A sum, or a product in which the last operands are constants; ``constants``: at least so many of the two are."""

    def apply(node: oir.Node, forms: Sequence[Form]) -> Form | None:
        a, b = forms
        if not _same_axis(a, b) or sum(form.axis is None for form in forms) < constants:
            return None
        if node.op_type == "Div" and b.axis is not None:
            return None
        return Form(function(a.rows, b.rows), b.axis if a.axis is None else a.axis)

    return apply


def _product(a: Form, b: Form) -> Form | None:
    """The product of two matrices, one of them constant, or of a row and a constant."""
    if (a.axis, b.axis) not in ((-2, None), (-3, None), (None, -1), (None, -3), (None, None)):
        return None
    if any(form.rows.ndim != (3 if form.axis == -3 else 2) for form in (a, b)):
        return None
    return Form(a.rows @ b.rows, a.axis or b.axis)


def _gemm(node: oir.Node, forms: Sequence[Form]) -> Form | None:
    if {"alpha", "beta"} & set(node.attributes):
        return None
    a, b = (
        form.transposed([1, 0]) if attribute(node, name, 0) else form
        for form, name in zip(forms, ("transA", "transB"), strict=False)
    )
    product = _product(a, b)
    if product is None or len(forms) == 2:
        return product
    return _elementwise(np.add, constants=0)(node, [product, forms[2]])


def _concat(node: oir.Node, forms: Sequence[Form]) -> Form | None:
    axis = _axis(node, attribute(node, "axis", 0))
    if len({form.axis for form in forms}) != 1 or axis == forms[0].axis:
        return None
    return Form(np.concatenate([form.rows for form in forms], axis), forms[0].axis)


def _axis(node: oir.Node, axis: int) -> int:
    """An axis of a node's first operand, counted from the end."""
    rank = len(sizes(inputs(node)[0]))
    return axis % rank - rank


def _split(node: oir.Node, value: oir.Value, form: Form) -> Form | None:
    axis = _axis(node, attribute(node, "axis", 0))
    lengths = [output.shape[axis] for output in node.outputs if output.shape is not None]
    if axis == form.axis or not all(isinstance(length, int) for length in lengths):
        return None
    ends = np.cumsum([length for length in lengths if isinstance(length, int)])
    return replace(form, rows=np.split(form.rows, ends[:-1], axis)[list(node.outputs).index(value)])


def _slice(node: oir.Node, value: oir.Value, form: Form) -> Form | None:
    starts, ends, axes, steps = ([*map(integers, node.inputs[1:]), None, None, None, None])[:4]
    if starts is None or ends is None or axes is None or (steps is not None and set(steps) != {1}):
        return None
    cut = [slice(None)] * form.rows.ndim
    for start, end, axis in zip(starts, ends, axes, strict=True):
        cut[_axis(node, axis)] = slice(start, end)
        if _axis(node, axis) == form.axis:
            return None
    return replace(form, rows=form.rows[tuple(cut)])


def _reshaped(node: oir.Node, value: oir.Value, form: Form) -> Form | None:
    """Another shape of a constant, or of all elements of a row."""
    shape = [size for size in sizes(value) if isinstance(size, int)]
    if len(shape) < len(sizes(value)):
        return None
    if form.axis is None:
        return Form(np.broadcast_to(form.rows, shape) if node.op_type == "Expand" else form.rows.reshape(shape))
    if node.op_type == "Expand" or form.rows.ndim != len(sizes(inputs(node)[0])) + 1:
        return None
    return replace(form, rows=form.rows.reshape(-1, *shape), axis=-len(shape) - 1)


_MOVES: dict[str, Callable[[oir.Node, oir.Value, Form], Form | None]] = {
    "Expand": _reshaped,
    "Identity": lambda node, value, form: form,
    "Reshape": _reshaped,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshaped,
    "Transpose": lambda node, value, form: form.transposed(permutation(node)),
    "Unsqueeze": _reshaped,
}
_SUMS: dict[str, Callable[[oir.Node, Sequence[Form]], Form | None]] = {
    "Add": _elementwise(np.add, constants=0),
    "Concat": _concat,
    "Div": _elementwise(np.divide, constants=1),
    "Gemm": _gemm,
    "MatMul": lambda node, forms: _product(*forms),
    "Mul": _elementwise(np.multiply, constants=1),
    "Neg": lambda node, forms: Form(-forms[0].rows, forms[0].axis),
    "Sub": _elementwise(np.subtract, constants=0),
}
