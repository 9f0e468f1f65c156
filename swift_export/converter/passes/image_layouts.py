"""Puts whole groups of ops into the layout in which the fewest elements are moved around them.

ONNX's convolutions and pools take channels second; many frameworks put them last, so that each stands between two
transposes. Products of rows leave their results in another order than attention or a weight on the left takes them.
Elementwise ops and the like do not care: a group of them changes its layout if that moves fewer elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as oir

from swift_export.converter.passes.any_layout import Layout, in_layout, inverse, only_ones_move, operands
from swift_export.converter.passes.channel_forms import OPS
from swift_export.converter.passes.match import (
    array,
    attribute,
    axes_of,
    can_replace,
    constant_like,
    made_by,
    new_value,
    only_use,
    permutation,
    replace,
    sizes,
    swapped,
)
from swift_export.converter.passes.moves import is_free
from swift_export.converter.passes.nested import all_nodes, root

__all__ = ["choose_layouts"]

#: As many elements move in the time that one more node takes.
PER_NODE = 1000
#: What an unknown size counts for.
UNKNOWN = 2


def choose_layouts(graph: oir.Graph) -> int:
    """Transposes around a group of ops -> fewer of them, by another order of axes within the group.

    Returns 0 also after a change that did not help, as where groups share transposes, so that it ends.
    """
    layouts, before = _layouts(graph), _all_moved(graph)
    count = 0
    for rank in {len(layout) for layout in layouts}:
        for nodes in _groups(graph, rank):
            group = _Group(nodes, rank)
            cost, best = min((group.cost(layout), layout) for layout in layouts if len(layout) == rank)
            if cost < 0:
                group.change(graph, best)
                count += 1
    return count if count and _all_moved(graph) < before else 0


def _all_moved(graph: oir.Graph) -> int:
    """What all transposes cost, those of graphs around this one included."""
    turns = [node for node in all_nodes(root(graph)) if node.op_type == "Transpose" and not node.domain]
    return sum(_moved(sizes(turn.inputs[0]), permutation(turn)) for turn in turns if turn.inputs[0] is not None)


def _layouts(graph: oir.Graph) -> list[Layout]:
    """The orders of axes that transposes lead to, behind them and in front of them."""
    found: dict[Layout, None] = {}
    for node in graph:
        if node.op_type == "Transpose":
            found[tuple(permutation(node))] = None
            found[inverse(permutation(node))] = None
    return list(found)


def _groups(graph: oir.Graph, rank: int) -> list[list[oir.Node]]:
    """The ops of any layout, joined by the values that they pass on to one another; in order."""
    groups: dict[oir.Node, list[oir.Node]] = {}
    of_products = _of_products(graph)
    for node in graph:
        given = operands(node, rank)
        if given is None or node in of_products:
            continue
        joined = {
            id(group): group for v in given if (before := v.producer()) is not None and (group := groups.get(before))
        }
        whole = [member for group in joined.values() for member in group]
        whole.append(node)
        for member in whole:
            groups[member] = whole
    order = {node: place for place, node in enumerate(graph)}
    return [sorted(group, key=order.__getitem__) for group in {id(g): g for g in groups.values()}.values()]


def _of_products(graph: oir.Graph) -> set[oir.Node]:
    """The ops that add numbers to the columns of products, or scale them: their weights and biases take them in."""
    found: set[oir.Node] = set()
    for product in graph:
        value = product.outputs[0] if product.op_type == "MatMul" and not product.domain else None
        while value is not None and (node := only_use(value)) is not None and node.op_type in OPS and not node.domain:
            others = [v for v in node.inputs if v is not None and v is not value]
            if any(array(v) is None or any(size != 1 for size in sizes(v)[:-1]) for v in others):
                break
            found.add(node)
            value = node.outputs[0]
    return found


class _Group:
    """Ops that change their layout together, the values that they read, and those that others read."""

    def __init__(self, nodes: list[oir.Node], rank: int) -> None:
        self.nodes, members = nodes, set(nodes)
        self._members = members
        read = (value for node in nodes for value in operands(node, rank) or [])
        self.read = list(dict.fromkeys(value for value in read if value.producer() not in members))
        made = (value for node in nodes for value in node.outputs)
        self.made = [v for v in made if v.is_graph_output() or any(user not in members for user in v.consumers())]

    def cost(self, layout: Layout) -> int:
        """How many more elements are moved in this layout."""
        return sum(self._to_read(v, layout) for v in self.read) + sum(self._to_give(v, layout) for v in self.made)

    def _to_read(self, value: oir.Value, layout: Layout) -> int:
        source, order = _behind(value)
        alone = not value.is_graph_output() and all(user in self._members for user in value.consumers())
        return _moved(sizes(source), _then(order, inverse(layout))) - (_moved(sizes(source), order) if alone else 0)

    def _to_give(self, value: oir.Value, layout: Layout) -> int:
        moved, kept = 0, value.is_graph_output()
        now = [sizes(value)[axis] for axis in inverse(layout)]
        for user in self._others(value):
            if _is_turn(user, value):
                order = permutation(user)
                moved += _moved(now, _from(layout, order)) - (0 if is_free(user) else _moved(sizes(value), order))
            elif not (_keeps_order(user, value, layout) or _reads_in_place(user, value, layout)):
                kept = True
        return moved + (_moved(now, layout) if kept else 0)

    def _others(self, value: oir.Value) -> list[oir.Node]:
        """The ops outside of the group that read a value."""
        return [user for user in value.consumers() if user not in self._members]

    def change(self, graph: oir.Graph, layout: Layout) -> None:
        """Write the ops in another layout, and the transposes at the borders."""
        moved, outside, given = dict[oir.Value, oir.Value](), set(self.read), set(self.made)
        before = [turn for value in self.read if (turn := made_by(value, "Transpose")) is not None]
        for node in self.nodes:
            for value in [v for v in node.inputs if v is not None and v in outside and v not in moved]:
                source, order = _behind(value)
                moved[value] = _turned(graph, node, source, _then(order, inverse(layout)))
            results = in_layout(graph, node, layout, moved)
            moved.update(zip(node.outputs, results, strict=True))
        for node in reversed(self.nodes):
            for value in [value for value in node.outputs if value in given]:
                self._give(graph, node, value, moved[value], layout)
        graph.remove(self.nodes, safe=True)
        # What is not read any more would count in the next group's costs.
        # One may belong to a graph around this one.
        for turn in dict.fromkeys(before):
            if turn.graph is not None and not _is_read(turn):
                turn.graph.remove(turn, safe=True)

    def _give(self, graph: oir.Graph, node: oir.Node, value: oir.Value, made: oir.Value, layout: Layout) -> None:
        """Let all that read a value from outside of the group read it as it is now."""
        for user in dict.fromkeys(self._others(value)):
            old = user.outputs[0]
            if _is_turn(user, value):
                new = _turned(graph, user, made, _from(layout, permutation(user)))
                if new is made and not can_replace(old, made):
                    continue
            elif _keeps_order(user, value, layout):
                axes = sorted(layout[axis] for axis in axes_of(user) or [])
                operands = [made, constant_like(graph, np.asarray(axes, np.int64))]
                new = new_value(graph, user, user.op_type, operands, sizes(old), {"keepdims": 0})
            else:
                continue
            replace(graph, old, new)
            graph.remove(user, safe=True)
        if value.is_graph_output() or self._others(value):
            replace(graph, value, _turned(graph, node, made, layout))


def _behind(value: oir.Value) -> tuple[oir.Value, Layout]:
    """The value that a Transpose makes this one of, and its order; else the value itself, in order."""
    node = made_by(value, "Transpose")
    if node is not None and node.inputs[0] is not None:
        return node.inputs[0], tuple(permutation(node))
    return value, tuple(range(len(sizes(value))))


def _then(first: Sequence[int], second: Sequence[int]) -> Layout:
    """The order of axes after two transposes."""
    return tuple(first[axis] for axis in second)


def _from(layout: Layout, order: Sequence[int]) -> Layout:
    """The order in which a Transpose takes the axes of a value that has another layout."""
    return tuple(layout[axis] for axis in order)


def _turned(graph: oir.Graph, before: oir.Node, value: oir.Value, order: Layout) -> oir.Value:
    if list(order) == sorted(order):
        return value
    return new_value(graph, before, "Transpose", [value], [sizes(value)[axis] for axis in order], {"perm": list(order)})


def _moved(shape: Sequence[int | str], order: Sequence[int]) -> int:
    """What a Transpose costs; next to nothing if it is only a Reshape, which merges with others."""
    if list(order) == sorted(order):
        return 0
    if only_ones_move(shape, order):
        return 1
    return PER_NODE + math.prod(size if isinstance(size, int) else UNKNOWN for size in shape)


def _is_turn(node: oir.Node, value: oir.Value) -> bool:
    return node.op_type == "Transpose" and not node.domain and node.graph is value.graph


def _reads_in_place(node: oir.Node, value: oir.Value, layout: Layout) -> bool:
    """Whether a product reads a value of another layout as it is: transposed matrices."""
    return (
        node.op_type == "MatMul"
        and only_use(value) is node
        and len(layout) > 2
        and list(layout) == swapped(len(layout))
    )


def _is_read(node: oir.Node) -> bool:
    return bool(node.outputs[0].uses()) or node.outputs[0].is_graph_output()


def _keeps_order(node: oir.Node, value: oir.Value, layout: Layout) -> bool:
    """Whether a reduction of a value leaves the same axes in the same order in another layout."""
    if (
        node.domain
        or node.graph is not value.graph
        or not node.op_type.startswith("Reduce")
        or attribute(node, "keepdims", 1) == 1
    ):
        return False
    axes = axes_of(node)
    left = [layout[axis] for axis in range(len(layout)) if axis not in axes] if axes is not None else [1, 0]
    return left == sorted(left)
