"""Fuses LSTM and GRU from loops whose body is exactly such a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.loops import body_of
from swift_export.converter.passes.match import (
    array,
    can_replace,
    constant_like,
    integers,
    made_by,
    new_value,
    replace,
    sizes,
)
from swift_export.converter.passes.nested import ROOT, detach, root
from swift_export.converter.passes.recurrent_cells import Cell, gru_cell, lstm_cell

__all__ = ["fuse_recurrences"]


@dataclass(frozen=True)
class Sequence:
    """The rows that a loop reads, one a step; the last one first if it goes ``backwards``."""

    rows: oir.Value
    row: oir.Value
    backwards: bool


def fuse_recurrences(graph: oir.Graph) -> int:
    """A loop over all rows of one array, whose state and rows are those of a cell -> ONNX's LSTM or GRU."""
    count = 0
    for loop in [node for node in graph if node.op_type == "Loop"]:
        body, sequence = body_of(loop), _sequence(loop)
        if sequence is None:
            continue
        states = list(body.inputs)[2:]
        values = (*states, sequence.row)
        if any(v.dtype != oir.DataType.FLOAT or len(sizes(v)) != len(sizes(sequence.row)) for v in values):
            continue
        if not all(isinstance(sizes(v)[-1], int) for v in values):
            continue
        ends = [_source(v) for v in list(body.outputs)[1:]]
        cell = None
        if len(states) == 1:
            cell = gru_cell(sequence.row, states[0], ends[0])
        elif len(states) == 2:
            cell = lstm_cell(sequence.row, (states[0], states[1]), (ends[0], ends[1]))
        # ONNX gives only the hidden state of each step.
        if cell is not None and all(row is cell.result for row in ends[len(states) :]):
            _write(graph, loop, sequence, cell)
            count += 1
    return count


def _source(value: oir.Value | None) -> oir.Value:
    """The value that a body returns, behind the copy that gives each output a node of its own."""
    assert value is not None
    copy = made_by(value, "Identity")
    return _source(copy.inputs[0]) if copy is not None else value


def _sequence(loop: oir.Node) -> Sequence | None:
    """The array of which a loop without condition reads all rows, if there is one."""
    body, condition = body_of(loop), loop.inputs[1]
    step, going = body.inputs[0], body.inputs[1]
    always = condition is None or (array(condition) is not None and bool(np.all(array(condition))))
    if not always or _source(body.outputs[0]) is not going:
        return None
    reads = [node for node in body if node.op_type == "Gather" and node.inputs[0] is not None]
    reads = [node for node in reads if node.inputs[1] is not None and node.inputs[1].graph is body]
    if len(reads) != 1:
        return None
    (rows, index), shape = reads[0].inputs, sizes(reads[0].outputs[0])
    assert rows is not None
    last = made_by(index, "Sub")
    backwards = last is not None and last.inputs[1] is step and _length(last.inputs[0], 1) == sizes(rows)[0]
    axis = reads[0].attributes.get("axis")
    first = axis is None or axis.as_int() == 0
    if (
        not first
        or len(sizes(rows)) != len(shape) + 1
        or len(shape) not in (1, 2)
        or _length(loop.inputs[0], 0) != sizes(rows)[0]
    ):
        return None
    if rows.graph is body or not (index is step or backwards):
        return None
    return Sequence(rows, reads[0].outputs[0], backwards)


def _length(value: oir.Value | None, more: int) -> int | str | None:
    """The size of an axis that a scalar holds, ``more`` added; None if it is not known to be one."""
    elements = array(value)
    if elements is not None:
        return int(elements.reshape(-1)[0]) + more if elements.size == 1 else None
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if node.op_type in ("Reshape", "Squeeze"):
        return _length(node.inputs[0], more)
    if node.op_type == "Add":
        number = integers(node.inputs[1])
        return _length(node.inputs[0], more + number[0]) if number is not None and len(number) == 1 else None
    if node.op_type == "Shape" and more == 0 and node.inputs[0] is not None:
        start, end = (node.attributes[k].as_int() if k in node.attributes else None for k in ("start", "end"))
        if start is not None and end == start + 1:
            return sizes(node.inputs[0])[start]
    return None


def _write(graph: oir.Graph, loop: oir.Node, sequence: Sequence, cell: Cell) -> None:
    """The op in place of the loop; in a branch of its own if there may be no rows, which ONNX Runtime cannot take."""
    body, before = body_of(loop), list(loop.inputs)[2:]
    initial = [before[list(body.inputs).index(state) - 2] for state in cell.states]
    shape = sizes(sequence.rows)[:-1]
    whole = [*shape, cell.units]
    if all(isinstance(size, int) and size > 0 for size in shape):
        rows, *ends = _run(graph, loop, sequence, cell, initial)
    else:
        filled = new_value(graph, loop, "Size", [sequence.rows], [], dtype=oir.DataType.INT64)
        zero = constant_like(graph, np.asarray(0, np.int64))
        test = new_value(graph, loop, "Greater", [filled, zero], [], dtype=oir.DataType.BOOL)
        some, none = (oir.Graph([], [], nodes=[], name=name) for name in ("rows", "no_rows"))
        for branch in (some, none):
            branch.meta[ROOT] = root(graph)
            mark = oir.node("Identity", [sequence.rows], metadata_props=dict(loop.metadata_props))
            branch.append(mark)
            if branch is some:
                branch.outputs.extend(_run(branch, mark, sequence, cell, initial))
            else:
                branch.outputs.extend(_empty(branch, mark, sequence, whole, initial))
            branch.remove(mark, safe=True)
        outputs = [oir.val(None, v.dtype, v.shape) for v in some.outputs]
        attributes = {"then_branch": some, "else_branch": none}
        node = oir.node("If", [test], attributes, outputs=outputs, metadata_props=dict(loop.metadata_props))
        graph.insert_before(loop, node)
        rows, *ends = outputs
    by_state = dict(zip(cell.states, ends, strict=True))
    for state, output in zip(list(body.inputs)[2:], loop.outputs, strict=False):
        replace(graph, output, by_state[state])
    for output in list(loop.outputs)[len(before) :]:
        _replace_rows(graph, loop, output, rows, backwards=sequence.backwards)
    detach(loop)
    graph.remove(loop)


def _run(
    graph: oir.Graph, before: oir.Node, sequence: Sequence, cell: Cell, initial: list[oir.Value | None]
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
        [rows, *weights, None, *starts],
        attributes | cell.attributes,
        outputs=outputs,
        metadata_props=dict(before.metadata_props),
    )
    graph.insert_before(before, node)
    return [
        new_value(graph, before, "Squeeze", [outputs[0], behind], [steps, *batch, cell.units]),
        *[new_value(graph, before, "Squeeze", [v, front], [*batch, cell.units]) for v in outputs[1:]],
    ]


def _empty(
    graph: oir.Graph, before: oir.Node, sequence: Sequence, shape: list[int | str], initial: list[oir.Value | None]
) -> list[oir.Value]:
    """No rows, and the states as they were."""
    rank, rows = len(shape), [sequence.rows]
    lengths = new_value(graph, before, "Shape", rows, [rank - 1], {"end": -1}, dtype=oir.DataType.INT64)
    units = constant_like(graph, np.asarray(shape[-1:], np.int64))
    whole = new_value(graph, before, "Concat", [lengths, units], [rank], {"axis": 0})
    zero = constant_like(graph, np.asarray(0, np.float32))
    nothing = new_value(graph, before, "Expand", [zero, whole], shape)
    return [nothing, *[new_value(graph, before, "Identity", [v], sizes(v)) for v in initial if v is not None]]


def _replace_rows(graph: oir.Graph, loop: oir.Node, old: oir.Value, rows: oir.Value, *, backwards: bool) -> None:
    """Rows in the order of the array in place of rows in the order of the steps."""
    if not backwards:
        replace(graph, old, rows)
        return
    low = np.iinfo(np.int64).min
    for use in list(old.uses()):
        node = use.node
        turned = node.op_type == "Slice" and [integers(v) for v in node.inputs[1:]] == [[-1], [low], [0], [-1]]
        if turned and can_replace(node.outputs[0], rows):
            replace(graph, node.outputs[0], rows)
    cut = [constant_like(graph, np.asarray([n], np.int64)) for n in (-1, low, 0, -1)]
    replace(graph, old, new_value(graph, loop, "Slice", [rows, *cut], sizes(rows)))
