"""Moves work out of loops that is equal in each step, and drops states and outputs that nothing reads."""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.match import (
    array,
    can_replace,
    constant_like,
    integers,
    made_by,
    replace,
    sizes,
)
from swift_export.converter.passes.nested import detach, with_bodies

__all__ = [
    "CONDITION",
    "COUNT_AND_CONDITION",
    "KEPT",
    "STEP_AND_CONDITION",
    "TURN",
    "body_of",
    "counted_loops",
    "drop_unread_states",
    "hoist_invariants",
    "length_of",
    "replace_turned",
    "source_of",
    "steps_of",
]

#: Ops that take empty arrays; others might read an element that is not there, or infer a size of nothing.
ANY_SIZE = frozenset(
    {"Abs", "Add", "And", "Cast", "Concat", "Cos", "Equal", "Erf", "Exp", "Expand", "Greater", "Less", "Log", "MatMul"}
    | {"Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Shape", "Sigmoid", "Sin", "Sqrt", "Sub", "Tanh", "Transpose"}
    | {"Unsqueeze", "Where"}
)

#: A Loop's inputs before its states, and the body's; the body's outputs before them.
COUNT_AND_CONDITION, STEP_AND_CONDITION, CONDITION = 2, 2, 1
#: Marks the body of a loop beside the op that replaces it, and nodes of that branch that stay as they are.
KEPT = "kept"
#: Start, end, axis and step of the Slice that turns the order of rows.
TURN = (-1, np.iinfo(np.int64).min, 0, -1)


def body_of(loop: oir.Node) -> oir.Graph:
    """The body of a Loop."""
    return loop.attributes["body"].as_graph()


def source_of(value: oir.Value | None) -> oir.Value:
    """The value that a body returns, behind the copy that gives each output a node of its own."""
    assert value is not None
    copy = made_by(value, "Identity")
    return source_of(copy.inputs[0]) if copy is not None else value


def steps_of(loop: oir.Node) -> int | str | None:
    """The number of steps, if that is known to be a number or the size of an axis, and no condition ends the loop."""
    body, condition = body_of(loop), loop.inputs[1]
    always = condition is None or (array(condition) is not None and bool(np.all(array(condition))))
    return length_of(loop.inputs[0], 0) if always and source_of(body.outputs[0]) is body.inputs[1] else None


def length_of(value: oir.Value | None, more: int) -> int | str | None:
    """The size of an axis that a scalar holds, ``more`` added; None if it is not known to be one."""
    elements = array(value)
    if elements is not None:
        return int(elements.reshape(-1)[0]) + more if elements.size == 1 else None
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if node.op_type in ("Reshape", "Squeeze"):
        return length_of(node.inputs[0], more)
    if node.op_type == "Add":
        number = integers(node.inputs[1])
        return length_of(node.inputs[0], more + number[0]) if number is not None and len(number) == 1 else None
    if node.op_type == "Shape" and more == 0 and node.inputs[0] is not None:
        start, end = (node.attributes[k].as_int() if k in node.attributes else None for k in ("start", "end"))
        if start is not None and end == start + 1:
            return sizes(node.inputs[0])[start]
    return None


def counted_loops(graph: oir.Graph) -> list[tuple[oir.Node, int | str]]:
    """The loops with a known number of steps, and that number; without those that stay beside an op."""
    loops = [node for node in graph if node.op_type == "Loop" and KEPT not in body_of(node).meta]
    return [(loop, steps) for loop in loops if (steps := steps_of(loop)) is not None]


def replace_turned(graph: oir.Graph, old: oir.Value, rows: oir.Value) -> None:
    """Read ``rows`` in place of those of ``old`` in the opposite order, which they are."""
    for node in [use.node for use in old.uses()]:
        cut = [integers(v) for v in node.inputs[1:]]
        if node.op_type == "Slice" and cut == [[n] for n in TURN] and can_replace(node.outputs[0], rows):
            replace(graph, node.outputs[0], rows)
            detach(node)


def hoist_invariants(graph: oir.Graph) -> int:
    """Nodes of a loop's body that read nothing of the body -> in front of the loop; a state that stays -> its value.

    ONNX's ops have no effects. In front of a loop that may have no steps, they must not fail on empty arrays either.
    """
    count = 0
    for loop in [node for node in graph if node.op_type == "Loop"]:
        body = body_of(loop)
        for i, state in enumerate(list(body.inputs)[STEP_AND_CONDITION:]):
            kept = made_by(body.outputs[CONDITION + i], "Identity")
            initial = loop.inputs[COUNT_AND_CONDITION + i]
            if kept is not None and kept.inputs[0] is state and initial is not None and state.uses():
                count += 1
                state.replace_all_uses_with(initial)
        for node in list(body):
            read = {value for inner in with_bodies(node) for value in inner.inputs if value is not None}
            own = {value for inner in with_bodies(node) for value in inner.outputs}
            if any(value.graph is body for value in read - own) or any(v.is_graph_output() for v in node.outputs):
                continue
            if not (_runs(loop) or _cannot_fail(node)):
                continue
            body.remove(node)
            graph.insert_before(loop, node)
            count += 1
    return count


def _runs(loop: oir.Node) -> bool:
    """Whether a loop has at least one step."""
    count, condition = array(loop.inputs[0]), array(loop.inputs[1])
    return count is not None and count.item() > 0 and (loop.inputs[1] is None or bool(condition))


def _cannot_fail(node: oir.Node) -> bool:
    """Whether a node takes arrays of any size: those without unknown sizes have the sizes that it needs."""
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    return node.op_type in ANY_SIZE or all(isinstance(size, int) for v in values for size in sizes(v))


def drop_unread_states(graph: oir.Graph) -> int:
    """Drop the states of loops that only states like them read, and rows that nothing reads."""
    count = 0
    for loop in [node for node in graph if node.op_type == "Loop"]:
        body = body_of(loop)
        states = len(loop.inputs) - COUNT_AND_CONDITION
        wanted = {i for i, output in enumerate(loop.outputs) if output.uses() or output.is_graph_output()}
        while True:
            read = _read(body, [body.outputs[0], *[body.outputs[CONDITION + i] for i in sorted(wanted)]])
            more = {i for i in range(states) if body.inputs[STEP_AND_CONDITION + i] in read} - wanted
            if not more:
                break
            wanted |= more
        # A loop that nothing reads is removed as a whole.
        if wanted and len(wanted) < len(loop.outputs):
            _keep(graph, loop, sorted(wanted), states)
            count += 1
    return count


def _keep(graph: oir.Graph, loop: oir.Node, kept: list[int], states: int) -> None:
    """Replace a loop by one with only these outputs; the first ``states`` of all are its states."""
    body = body_of(loop)
    for i in reversed(range(len(loop.outputs))):
        if i not in kept:
            body.outputs.pop(CONDITION + i)
            if i < states:
                body.inputs.pop(STEP_AND_CONDITION + i)
    inputs = [*loop.inputs[:COUNT_AND_CONDITION], *[loop.inputs[COUNT_AND_CONDITION + i] for i in kept if i < states]]
    if len(inputs) == COUNT_AND_CONDITION and inputs[1] is None:
        # ONNX requires a condition if there is no state.
        inputs[1] = constant_like(graph, np.asarray(True))
    outputs = [oir.val(None, loop.outputs[i].dtype, loop.outputs[i].shape) for i in kept]
    properties = dict(loop.metadata_props)
    graph.insert_before(loop, oir.node("Loop", inputs, {"body": body}, outputs=outputs, metadata_props=properties))
    for i, output in zip(kept, outputs, strict=True):
        replace(graph, loop.outputs[i], output)
    graph.remove(loop, safe=True)


def _read(body: oir.Graph, values: list[oir.Value]) -> set[oir.Value]:
    """All values of a body on which these depend."""
    found: set[oir.Value] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if value in found:
            continue
        found.add(value)
        producer = value.producer()
        if producer is not None and producer.graph is body:
            waiting += [v for inner in with_bodies(producer) for v in inner.inputs if v is not None]
    return found
