"""Recognises the cells of LSTM and GRU, and orders their weights as ONNX does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.affine_forms import Form, Forms
from swift_export.converter.passes.match import either, made_by, sizes

__all__ = ["Cell", "gru_cell", "lstm_cell"]


@dataclass(frozen=True)
class Cell:
    """A cell with the weights of its gates one below the other, as ONNX orders them.

    ``inputs`` and ``recurrent`` are (gates * units, elements), ``bias`` holds that of the inputs, then that of the
    state. ``states`` are the cell's states in ONNX's order, ``result`` is its output.
    """

    op_type: str
    inputs: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray
    states: tuple[oir.Value, ...]
    result: oir.Value
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """The number of elements of the state."""
        return int(self.recurrent.shape[1])

    def is_small(self, most: float) -> bool:
        """Whether all weights are finite and no larger than this."""
        return all(bool((np.abs(part) <= most).all()) for part in (self.inputs, self.recurrent, self.bias))

    def checked(self) -> Cell | None:
        """The cell, if each gate has as many units as the state; a gate of one unit for all is no cell's."""
        rows = {"LSTM": 4, "GRU": 3}[self.op_type] * self.units
        whole = len(self.inputs) == len(self.recurrent) == rows and len(self.bias) == 2 * rows
        return self if whole else None


def lstm_cell(x: oir.Value, states: tuple[oir.Value, oir.Value], ends: tuple[oir.Value, oir.Value]) -> Cell | None:
    """``c' = f * c + i * g``, ``h' = o * tanh(c')`` with gates that are affine in x and h."""
    for c, h, c_end, h_end in ((*states, *ends), (*reversed(states), *reversed(ends))):
        forms = Forms(x, h)
        for output, squashed in _factors(h_end):
            tanh = made_by(squashed, "Tanh")
            if tanh is None or tanh.inputs[0] is not c_end:
                continue
            for kept, added in _terms(c_end):
                for forget, old in _factors(kept):
                    for let_in, new in _factors(added) if old is c else ():
                        gates = [_gate(forms, v, "Sigmoid") for v in (let_in, output, forget)]
                        gates.append(_gate(forms, new, "Tanh"))
                        found = [gate for gate in gates if gate is not None]
                        if len(found) == 4:
                            weights = [_below([forms.factors(gate, v) for gate in found]) for v in (x, h)]
                            bias = np.concatenate([forms.constant(gate) for gate in found])
                            bias = np.concatenate([bias, np.zeros_like(bias)])
                            return Cell("LSTM", weights[0], weights[1], bias, (h, c), h_end).checked()
    return None


def gru_cell(x: oir.Value, h: oir.Value, end: oir.Value) -> Cell | None:
    """``h' = (1 - z) * n + z * h`` with ``n = tanh(a(x) + r * b(h))`` or ``tanh(a(x, r * h))``."""
    forms = Forms(x, h)
    for new, update, negated in _blends(end, h):
        z, tanh = _gate(forms, update, "Sigmoid"), made_by(new, "Tanh")
        if z is None or tanh is None or tanh.inputs[0] is None:
            continue
        # 1 - sigmoid(a) = sigmoid(-a)
        z = Form(-z.rows, z.axis) if negated else z
        found = _reset_after(forms, x, h, tanh.inputs[0]) or _reset_before(forms, x, h, tanh.inputs[0])
        if found is None:
            continue
        r, inner, outer, names, after = found
        source = h if after else next(v for v in names.places if v is not x and v is not h)
        inputs = [forms.factors(z, x), forms.factors(r, x), names.factors(outer, x)]
        recurrent = [forms.factors(z, h), forms.factors(r, h), names.factors(inner, source)]
        zero = np.zeros_like(forms.constant(z))
        bias = [forms.constant(z), forms.constant(r), names.constant(outer)]
        bias += [zero, zero, names.constant(inner) if after else zero]
        attributes = {"linear_before_reset": int(after)}
        weights = _below(inputs), _below(recurrent), np.concatenate(bias)
        return Cell("GRU", *weights, (h,), end, attributes).checked()
    return None


#: The reset gate, what is behind it, the candidate's other part, the forms of the latter two, whether it comes after.
_Candidate = tuple[Form, Form, Form, Forms, bool]


def _reset_after(forms: Forms, x: oir.Value, h: oir.Value, logits: oir.Value) -> _Candidate | None:
    """``a(x) + r * b(h)``."""
    total: Form | None = None
    scaled: tuple[Form, Form] | None = None
    for term in _summands(logits, forms):
        form = forms.of(term)
        if form is None:
            found = [(_gate(forms, r, "Sigmoid"), forms.of(b)) for r, b in _factors(term)]
            pairs = [(r, b) for r, b in found if r is not None and b is not None and not b.activation]
            if len(pairs) != 1 or scaled is not None:
                return None
            scaled = pairs[0]
        elif form.activation:
            return None
        elif total is None:
            total = form
        elif total.axis is None or form.axis is None or form.axis == total.axis:
            total = Form(total.rows + form.rows, total.axis or form.axis)
        else:
            return None
    if scaled is None or total is None or not (_is_matrix(total) and _is_matrix(scaled[1])):
        return None
    if forms.factors(total, h).any() or forms.factors(scaled[1], x).any():
        return None
    return scaled[0], scaled[1], total, forms, True


def _reset_before(forms: Forms, x: oir.Value, h: oir.Value, logits: oir.Value) -> _Candidate | None:
    """``a(x, r * h)``."""
    for use in list(h.uses()):
        if use.node.op_type != "Mul":
            continue
        for gate, state in either(use.node):
            r = _gate(forms, gate, "Sigmoid") if state is h else None
            if r is None:
                continue
            names = Forms(x, h, use.node.outputs[0])
            form = names.of(logits)
            if form is not None and _is_plain(form) and not names.factors(form, h).any():
                return r, form, form, names, False
    return None


def _blends(value: oir.Value, h: oir.Value) -> Iterator[tuple[oir.Value, oir.Value, bool]]:
    """n, z and False for ``(1 - z) * n + z * h``; n, u and True for ``u * n + (1 - u) * h``."""
    for a, b in _terms(value):
        for gate, difference in _factors(b):
            minus = made_by(difference, "Sub")
            if minus is not None and list(minus.inputs) == [h, a]:
                yield a, gate, False
            if minus is not None and a is h and minus.inputs[1] is h and minus.inputs[0] is not None:
                yield minus.inputs[0], gate, True
        for gate, new in _factors(a):
            for other, state in _factors(b) if new is not h else ():
                if state is h and _is_rest(gate, other):
                    yield new, other, False
                elif state is h and _is_rest(other, gate):
                    yield new, gate, True


def _is_rest(value: oir.Value, gate: oir.Value) -> bool:
    """Whether a value is ``1 - gate``."""
    minus = made_by(value, "Sub")
    one = Forms().of(minus.inputs[0]) if minus is not None else None
    return (
        minus is not None
        and minus.inputs[1] is gate
        and one is not None
        and one.axis is None
        and bool((one.rows == 1).all())
    )


def _gate(forms: Forms, value: oir.Value, activation: str) -> Form | None:
    """The affine part of a gate of shape (rows, units)."""
    form = forms.of(value)
    if form is None or form.activation != activation:
        return None
    plain = Form(form.rows, form.axis)
    return plain if _is_matrix(plain) else None


def _is_plain(form: Form) -> bool:
    return not form.activation and _is_matrix(form)


def _is_matrix(form: Form) -> bool:
    return form.rows.ndim == 2 and form.axis == -2


def _below(gates: list[np.ndarray]) -> np.ndarray:
    """The matrices (units, elements) of all gates, one below the other."""
    return np.concatenate([matrix.T for matrix in gates])


def _summands(value: oir.Value, forms: Forms) -> Iterator[oir.Value]:
    """The terms of nested sums, each as large as possible."""
    node = made_by(value, "Add") if forms.of(value) is None else None
    if node is None:
        yield value
    else:
        for operand in node.inputs:
            assert operand is not None
            yield from _summands(operand, forms)


def _terms(value: oir.Value) -> list[tuple[oir.Value, oir.Value]]:
    """The operands of a sum, in both orders."""
    node = made_by(value, "Add")
    return either(node) if node is not None and _keeps_shape(node) else []


def _factors(value: oir.Value) -> list[tuple[oir.Value, oir.Value]]:
    """The operands of a product, in both orders."""
    node = made_by(value, "Mul")
    return either(node) if node is not None and _keeps_shape(node) else []


def _keeps_shape(node: oir.Node) -> bool:
    """Whether both operands have the result's shape: nothing is broadcast."""
    shapes = [sizes(v) for v in (*node.inputs, node.outputs[0]) if v is not None]
    return all(shape == shapes[-1] for shape in shapes)
