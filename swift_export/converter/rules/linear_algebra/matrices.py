"""Batches of matrices as terms: their rows, columns and products, and loops over their indices.

The last two axes are a matrix's rows and columns. Pieces keep both axes, so that they broadcast against the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder, broadcast_shapes
from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame
from swift_export.converter.rules.linear_algebra.complex_terms import Complex, conjugate, paired, parts, real
from swift_export.converter.rules.linear_algebra.routines import is_complex
from swift_export.converter.rules.terms import FLOATS, Term

__all__ = [
    "COLUMNS",
    "ROWS",
    "Step",
    "adjoint",
    "batch",
    "diagonal",
    "elements",
    "flat",
    "hermitian",
    "identity",
    "indices",
    "info",
    "largest",
    "loop",
    "matrix",
    "order",
    "picked",
    "precision",
    "product",
    "read_only",
    "shape",
    "steps",
    "total",
    "transposed",
    "widened",
]

DataType = oir.DataType

#: The axes of a matrix.
ROWS, COLUMNS = -2, -1

#: Loops of at most this many steps are unrolled.
UNROLLED = 8

#: What one step of a loop does: from its number, as a vector of one element, what it reads and its state, to the state.
Step = Callable[..., Sequence[Term]]


def matrix(frame: Frame, op: Any, place: int) -> Term:
    """`widened`, whose matrices have a known size."""
    operand = op.operands[2 * place if is_complex(op) else place]
    if frame.dtype(operand) not in FLOATS:
        raise frame.error(op, f"elements of type {frame.dtype(operand).name}: expected floats")
    frame.static(op, frame.shape(operand)[ROWS:], "matrices of size")
    return widened(frame, op, place)


def widened(frame: Frame, op: Any, place: int) -> Term:
    """One of the first operands, in float64 or float32, in which narrower floats are computed; a complex one of two."""
    b = frame.builder
    if is_complex(op):
        return Complex.joined(b, *(frame.full(part) for part in op.operands[2 * place : 2 * place + 2]))
    kind = frame.dtype(op.operands[place])
    return Term(b, frame.full(op.operands[place])).to(kind if kind == DataType.DOUBLE else DataType.FLOAT)


def shape(x: Term) -> Shape:
    """The symbolic shape of a term."""
    return x.builder.shape(x.value)


def batch(x: Term) -> Shape:
    """The sizes in front of the matrices."""
    return shape(x)[isinstance(x, Complex) : ROWS]


def precision(x: Term) -> float:
    """The distance from 1 to the next number of the type."""
    return float(np.finfo(x.dtype.numpy()).eps)


def indices(x: Term, axis: int) -> Term:
    """The indices of a matrix's rows, as a column, or of its columns, as a row."""
    count = np.arange(int(str(shape(x)[axis])), dtype=np.int64)
    return Term(x.builder, x.builder.constant(count[:, None] if axis == ROWS else count[None]))


def identity(x: Term, height: int, width: int) -> Term:
    """Ones on the diagonal, for the batch of another term."""
    b = x.builder
    ones = b.constant(np.eye(height, width, dtype=x.dtype.numpy()))
    return paired(Term(b, b.expand(ones, (*batch(x), height, width))), x)


def transposed(x: Term) -> Term:
    """Rows as columns."""
    rank = len(shape(x))
    return type(x)(x.builder, x.builder.transpose(x.value, [*range(rank - 2), rank - 1, rank - 2]))


def adjoint(x: Term) -> Term:
    """Rows as columns, of conjugate numbers."""
    return conjugate(transposed(x))


def hermitian(a: Term, *, lower: bool) -> Term:
    """The matrix that is its own adjoint, from one triangle; the imaginary parts of its diagonal are 0."""
    below, above = (a, adjoint(a)) if lower else (adjoint(a), a)
    rows, columns = indices(a, ROWS), indices(a, COLUMNS)
    whole = (rows >= columns).choose(below, above)
    return rows.equals(columns).choose(paired(real(a), a), whole) if isinstance(a, Complex) else whole


def product(a: Term, b: Term) -> Term:
    """The product of matrices."""
    if isinstance(a, Complex) and isinstance(b, Complex):
        return product(a, b.part(0)) + product(a.turned(), b.part(1))
    outer = broadcast_shapes(shape(a)[:ROWS], shape(b)[:ROWS])
    sizes = (*outer, shape(a)[ROWS], shape(b)[COLUMNS])
    return type(a)(a.builder, a.builder.node("MatMul", [a.value, b.value], a.dtype, sizes))


def picked(x: Term, axis: int, k: Term) -> Term:
    """The rows or columns of the given indices, a vector."""
    sizes = list(shape(x))
    sizes[axis] = shape(k)[0]
    node = x.builder.node("Gather", [x.value, k.value], x.dtype, tuple(sizes), axis=len(sizes) + axis)
    return type(x)(x.builder, node)


def order(x: Term, places: Term) -> Term:
    """The rows in an order of each matrix's own, a column of indices."""
    target = (*shape(x)[: len(shape(x)) - len(shape(places))], *shape(places)[:-1], shape(x)[COLUMNS])
    index = x.builder.expand(places.value, target)
    node = x.builder.node("GatherElements", [x.value, index], x.dtype, target, axis=len(target) + ROWS)
    return type(x)(x.builder, node)


def _reduced(op_type: str, x: Term, axes: Sequence[int]) -> Term:
    sizes = list(shape(x))
    for axis in axes:
        sizes[axis] = 1
    places = x.builder.integers([len(sizes) + axis for axis in axes])
    return type(x)(x.builder, x.builder.node(op_type, [x.value, places], x.dtype, tuple(sizes), keepdims=1))


def total(x: Term, *axes: int) -> Term:
    """Sums along axes, which stay with size 1."""
    return _reduced("ReduceSum", x, axes)


def largest(x: Term, *axes: int) -> Term:
    """The largest elements along axes, which stay with size 1."""
    return _reduced("ReduceMax", x, axes)


def elements(x: Term, rows: Sequence[int], columns: Sequence[int]) -> Term:
    """The elements at pairs of a row and a column, as a column."""
    height, width = (int(str(size)) for size in shape(x)[ROWS:])
    flat = type(x)(x.builder, x.builder.reshape(x.value, (*shape(x)[:ROWS], height * width, 1)))
    places = [row * width + column for row, column in zip(rows, columns, strict=True)]
    return picked(flat, ROWS, Term(x.builder, x.builder.integers(places)))


def diagonal(x: Term) -> Term:
    """The diagonal as a column."""
    places = range(min(int(str(size)) for size in shape(x)[ROWS:]))
    return elements(x, places, places)


def info(column: Term) -> oir.Value:
    """LAPACK's status of each matrix: one more than the first index at which a column of truth values holds, else 0."""
    b, outer = column.builder, shape(column)[:ROWS]
    if shape(column)[ROWS] == 0:
        return b.expand(b.scalar(0, DataType.INT32), outer)
    weights = column.to(DataType.INT32)
    (place,) = [b.node("ArgMax", [weights.value], DataType.INT64, (*outer, 1, 1), axis=len(outer), keepdims=1)]
    (found,) = [order(weights, Term(b, place))]
    status = found * (Term(b, b.cast(place, DataType.INT32)) + 1)
    return b.reshape(status.value, outer)


def flat(x: Term) -> list[oir.Value]:
    """The values of a column as a vector, or the two vectors of a complex one."""
    b = x.builder
    return [b.reshape(part, b.shape(part)[:-1]) for part in parts(x)]


def read_only(b: Builder, values: Sequence[Term]) -> list[Term]:
    """Terms of an outer graph for the use in a body."""
    return [type(value)(b, value.value) for value in values]


def steps(count: int, step: Step, read: Sequence[Term], state: Sequence[Term]) -> list[Term]:
    """The state after the steps 0, 1, ..., unrolled if they are few."""
    b = state[0].builder
    if count > UNROLLED:
        return loop(count, lambda k, *values: (None, step(k, *values)), read, state)
    for k in range(count):
        state = step(Term(b, b.integers([k])), *read, *state)
    return list(state)


def loop(
    most: int, step: Callable[..., tuple[Term | None, Sequence[Term]]], read: Sequence[Term], state: Sequence[Term]
) -> list[Term]:
    """The state after at most so many steps; a step also gives whether another one is needed, or None: always."""
    b = state[0].builder
    inner = b.nested()
    parameters = [inner.parameter(s.dtype, shape(s)) for s in state]
    counter, going = inner.parameter(DataType.INT64, ()), inner.parameter(DataType.BOOL, ())
    k = Term(inner, inner.reshape(counter, (1,)))
    more, after = step(k, *read_only(inner, read), *(type(s)(inner, p) for s, p in zip(state, parameters, strict=True)))
    body = inner.body(
        [counter, going, *parameters], [going if more is None else more.value, *[s.value for s in after]], "body"
    )
    results = b.node_outputs(
        "Loop",
        [b.scalar(most, DataType.INT64), None, *[s.value for s in state]],
        [(s.dtype, shape(s)) for s in state],
        body=body,
    )
    return [type(s)(b, r) for s, r in zip(state, results, strict=True)]
