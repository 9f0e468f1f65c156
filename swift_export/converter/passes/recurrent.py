"""Fuses LSTM and GRU from loops whose body is exactly such a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.affine_forms import Forms
from swift_export.converter.passes.independent import Independent
from swift_export.converter.passes.loops import (
    KEPT,
    TURN,
    body_of,
    length_of,
    replace_turned,
    source_of,
    steps_of,
)
from swift_export.converter.passes.match import (
    constant_like,
    made_by,
    new_value,
    replace,
    sizes,
)
from swift_export.converter.passes.nested import ROOT, root
from swift_export.converter.passes.recurrent_cells import Cell, gru_cell, lstm_cell
from swift_export.converter.passes.recurrent_masks import Lengths, Mask
from swift_export.converter.passes.shared_rows import share_rows

__all__ = ["fuse_recurrences"]

#: The largest sum of magnitudes, and magnitude of a weight, so that no product or sum of them overflows.
LARGEST = 1e15


@dataclass(frozen=True)
class Sequence:
    """The rows that a loop reads, one a step; the last one first if it goes ``backwards``."""

    rows: oir.Value
    row: oir.Value
    backwards: bool


def fuse_recurrences(graph: oir.Graph) -> int:
    """A loop over all rows of one array, whose state and rows are those of a cell -> ONNX's LSTM or GRU."""
    count = 0
    for loop in [node for node in graph if node.op_type == "Loop" and KEPT not in body_of(node).meta]:
        body, sequence = body_of(loop), _sequence(loop)
        if sequence is None:
            continue
        states = list(body.inputs)[2:]
        values = (*states, sequence.row)
        if any(v.dtype != oir.DataType.FLOAT or len(sizes(v)) != len(sizes(sequence.row)) for v in values):
            continue
        if not all(isinstance(sizes(v)[-1], int) for v in values):
            continue
        ends = [source_of(v) for v in list(body.outputs)[1:]]
        mask = Mask.of(states, ends[: len(states)])
        after = ends[: len(states)] if mask is None else mask.ends
        cell = None
        if len(states) == 1:
            cell = gru_cell(sequence.row, states[0], after[0])
        elif len(states) == 2:
            cell = lstm_cell(sequence.row, (states[0], states[1]), (after[0], after[1]))
        if cell is None or not cell.is_small(LARGEST):
            continue
        # ONNX gives only the hidden state of each step.
        hidden = ends[states.index(cell.states[0])]
        zeroed = [mask is not None and mask.zeroes(row, cell.result) for row in ends[len(states) :]]
        if not all(zero or row is hidden for zero, row in zip(zeroed, ends[len(states) :], strict=True)):
            continue
        lengths = None
        if mask is not None:
            found = Independent(graph, loop, sizes(sequence.rows)[0])
            if not Lengths.exist(found, mask, sequence.row):
                continue
            lengths = Lengths(graph, loop, found, mask)
        _write(graph, loop, sequence, cell, lengths, zeroed)
        count += 1
    return count


def _sequence(loop: oir.Node) -> Sequence | None:
    """The array of which a loop without condition reads all rows, if there is one."""
    body, steps = body_of(loop), steps_of(loop)
    step = body.inputs[0]
    reads = [node for node in body if node.op_type == "Gather" and node.inputs[0] is not None]
    reads = [node for node in reads if node.inputs[1] is not None and node.inputs[1].graph is body]
    reads = [node for node in reads if node.outputs[0].dtype == oir.DataType.FLOAT]
    if len(reads) != 1:
        return None
    (rows, index), shape = reads[0].inputs, sizes(reads[0].outputs[0])
    assert rows is not None
    last = made_by(index, "Sub")
    backwards = last is not None and last.inputs[1] is step and length_of(last.inputs[0], 1) == sizes(rows)[0]
    axis = reads[0].attributes.get("axis")
    first = axis is None or axis.as_int() == 0
    if not first or len(sizes(rows)) != len(shape) + 1 or len(shape) not in (1, 2) or steps != sizes(rows)[0]:
        return None
    if rows.graph is body or not (index is step or backwards):
        return None
    return Sequence(rows, reads[0].outputs[0], backwards)


def _write(
    graph: oir.Graph, loop: oir.Node, sequence: Sequence, cell: Cell, lengths: Lengths | None, zeroed: list[bool]
) -> None:
    """The op where it gives the loop's numbers, else the loop.

    ONNX Runtime's LSTM and GRU lose NaN, and end the process if there are no rows. So they take arrays with elements
    whose sums are far from overflow; the test costs one pass over the rows.
    """
    body, before = body_of(loop), list(loop.inputs)[2:]
    states = list(body.inputs)[2:]
    initial = [before[states.index(state)] for state in cell.states]
    body.meta[KEPT] = True
    outputs = [oir.val(None, v.dtype, v.shape) for v in loop.outputs]
    fused, stepwise = (oir.Graph([], [], nodes=[], name=name) for name in ("fused", "stepwise"))
    for branch in (fused, stepwise):
        branch.meta[ROOT] = root(graph)
    end = oir.node("Identity", [sequence.rows], metadata_props=dict(loop.metadata_props))
    fused.append(end)
    rows, *ends = _run(fused, end, sequence, cell, initial, lengths)
    by_state = dict(zip(cell.states, ends, strict=True))
    fused.outputs.extend(by_state[state] for state in states)
    for zero in zeroed:
        given, op_type = [rows], "Identity"
        if lengths is not None and not zero:
            # Behind the end of a sequence, ONNX gives zeros: the state stays, or has not changed yet.
            start = initial[0]
            assert start is not None
            given, op_type = [lengths.skipped, start if sequence.backwards else ends[0], rows], "Where"
        # Each output has a node of its own.
        fused.outputs.append(new_value(fused, end, op_type, given, sizes(rows), dtype=rows.dtype))
    fused.remove(end, safe=True)
    condition = _fit(graph, loop, sequence.rows, [v for v in initial if v is not None])
    if lengths is not None:
        condition = new_value(graph, loop, "And", [condition, lengths.fit], [])
    node = oir.node(
        "If",
        [condition],
        {"then_branch": fused, "else_branch": stepwise},
        outputs=outputs,
        metadata_props=dict(loop.metadata_props),
    )
    graph.insert_before(loop, node)
    graph.remove(loop)
    stepwise.append(loop)
    share_rows(stepwise, loop, [v for n in fused if n.op_type == cell.op_type for v in n.inputs[1:3] if v is not None])
    for i, (old, new) in enumerate(zip(loop.outputs, outputs, strict=True)):
        backwards = i >= len(states) and sequence.backwards
        _replace(graph, node, old, new, backwards=backwards)
        stepwise.outputs.append(_turned(stepwise, None, old) if backwards else old)


def _fit(graph: oir.Graph, before: oir.Node, rows: oir.Value, initial: list[oir.Value]) -> oir.Value:
    """Whether there are rows, all of them and the initial states of numbers that are not too large."""
    parts: list[oir.Value] = []
    boolean = oir.DataType.BOOL
    if not all(isinstance(size, int) and size > 0 for size in sizes(rows)):
        filled = new_value(graph, before, "Size", [rows], [], dtype=oir.DataType.INT64)
        zero = constant_like(graph, np.asarray(0, np.int64))
        parts.append(new_value(graph, before, "Greater", [filled, zero], [], dtype=boolean))
    most = constant_like(graph, np.asarray(LARGEST, np.float32))
    for value in (rows, *initial):
        repeated = made_by(value, "Expand")
        form = Forms().of(value) or (Forms().of(repeated.inputs[0]) if repeated is not None else None)
        if value is rows or form is None or not np.abs(form.rows).max(initial=0) <= LARGEST:
            magnitude = new_value(graph, before, "Abs", [value], sizes(value))
            total = new_value(graph, before, "ReduceSum", [magnitude], [], {"keepdims": 0})
            parts.append(new_value(graph, before, "LessOrEqual", [total, most], [], dtype=boolean))
    whole = parts[0]
    for part in parts[1:]:
        whole = new_value(graph, before, "And", [whole, part], [])
    return whole


def _run(
    graph: oir.Graph,
    before: oir.Node,
    sequence: Sequence,
    cell: Cell,
    initial: list[oir.Value | None],
    lengths: Lengths | None,
) -> list[oir.Value]:
    """All rows (steps, batch, units) and the last states; without the axis of the batch if there is none."""
    steps, *batch = sizes(sequence.rows)[:-1]
    lone = [] if batch else [1]
    states = [[1, *(batch or [1]), cell.units] for _ in initial]
    outputs = [oir.val(None, oir.DataType.FLOAT, shape) for shape in ([steps, 1, *(batch or [1]), cell.units], *states)]
    # ONNX has an axis for directions: behind the steps in rows, in front in states.
    behind, front = (constant_like(graph, np.asarray([a, *(a + 1 for _ in lone)], np.int64)) for a in (1, 0))
    starts = [new_value(graph, before, "Unsqueeze", [v, front], states[0]) for v in initial if v is not None]
    rows = sequence.rows
    if lone:
        second = constant_like(graph, np.asarray([1], np.int64))
        rows = new_value(graph, before, "Unsqueeze", [rows, second], [steps, 1, *sizes(rows)[1:]])
    weights = [constant_like(graph, w[None].astype(np.float32)) for w in (cell.inputs, cell.recurrent, cell.bias)]
    attributes = {"hidden_size": cell.units, "direction": "reverse" if sequence.backwards else "forward"}
    node = oir.node(
        cell.op_type,
        [rows, *weights, lengths.values if lengths is not None else None, *starts],
        attributes | cell.attributes,
        outputs=outputs,
        metadata_props=dict(before.metadata_props),
    )
    graph.insert_before(before, node)
    return [
        new_value(graph, before, "Squeeze", [outputs[0], behind], [steps, *batch, cell.units]),
        *[new_value(graph, before, "Squeeze", [v, front], [*batch, cell.units]) for v in outputs[1:]],
    ]


def _replace(graph: oir.Graph, maker: oir.Node, old: oir.Value, new: oir.Value, *, backwards: bool) -> None:
    """The result of ``maker`` in place of a loop's: rows in the order of the array; states as they are."""
    if backwards:
        replace_turned(graph, old, new)
    if old.uses() or old.is_graph_output():
        replace(graph, old, _turned(graph, maker, new) if backwards else new)


def _turned(graph: oir.Graph, after: oir.Node | None, rows: oir.Value) -> oir.Value:
    """The rows in the opposite order, behind a node or at the end of a graph."""
    cut = [constant_like(graph, np.asarray([n], np.int64)) for n in TURN]
    node = oir.node("Slice", [rows, *cut], outputs=[oir.val(None, rows.dtype, rows.shape)])
    if after is None:
        graph.append(node)
    else:
        graph.insert_after(after, node)
    return node.outputs[0]
