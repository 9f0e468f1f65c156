"""Shortens chains of Transpose and Reshape to the fewest nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, count
from operator import sub

import onnx_ir as oir

from swift_export.converter.passes.factors import Factor, as_factor, product, quotient
from swift_export.converter.passes.match import (
    array,
    can_replace,
    constant_like,
    inputs,
    is_swapped,
    new_value,
    only_use,
    permutation,
    replace,
    sizes,
)
from swift_export.converter.passes.reshapes import mends, reshape_target

__all__ = ["MOVES", "Tracked", "chains", "is_free", "merge_moves"]

Shape = list[int | str]
#: A Reshape to a shape, or a Transpose by a permutation to a shape.
Step = tuple[list[int] | None, Shape]

MOVES = ("Reshape", "Squeeze", "Transpose", "Unsqueeze")


def merge_moves(graph: oir.Graph) -> int:
    """Transposes and reshapes in a row, each used only by the next -> at most Reshape, Transpose, Reshape.

    Applied if that takes fewer nodes, or as many with a Reshape instead of a Transpose, or with one that moves a single
    axis instead of several. So cancelling pairs vanish, a Transpose that only moves axes of size 1 becomes a
    Reshape, and transposes merge across a Reshape that splits or joins axes which stay together.
    """
    merged = 0
    # Whole chains before parts of them.
    for node in reversed(list(graph)):
        if not is_move(node):
            continue
        best: tuple[tuple[int, int, int], oir.Value, list[Step]] | None = None
        for source, nodes in chains(node):
            steps = _fewest(sizes(source), nodes)
            if steps is None or not (steps or can_replace(node.outputs[0], source)):
                continue
            gain = tuple(map(sub, _cost([_as_step(n) for n in nodes]), _cost(steps)))
            if gain > (best[0] if best is not None else (0, 0, 0)):
                best = gain, source, steps
        if best is not None:
            _, value, steps = best
            for perm, shape in steps:
                value = _step(graph, node, value, perm, shape)
            replace(graph, node.outputs[0], value)
            merged += 1
    return merged


def is_move(node: oir.Node) -> bool:
    return node.op_type in MOVES and not node.domain and not mends(node) and not is_free(node)


def is_free(node: oir.Node) -> bool:
    """Whether the transpose is free in runtimes: a product reads a transposed operand in place."""
    user = only_use(node.outputs[0])
    if user is None or user.op_type != "MatMul" or node.op_type != "Transpose":
        return False
    return is_swapped(node.outputs[0]) or (len(permutation(node)) == 2 and array(inputs(node)[0]) is not None)


def _as_step(node: oir.Node) -> Step:
    return permutation(node) if node.op_type == "Transpose" else None, sizes(node.outputs[0])


def _cost(steps: Sequence[Step]) -> tuple[int, int, int]:
    """The numbers of nodes, of transposes, and of transposes that move more than one axis.

    ONNX Runtime takes ten times as long for those, also if the axes have size 1.
    """
    perms = [perm for perm, _ in steps if perm is not None]
    return len(steps), len(perms), sum(not _moves_one_axis(perm) for perm in perms)


def _moves_one_axis(perm: list[int]) -> bool:
    rest = [[p for p in perm if p != moved] for moved in perm]
    return any(order == sorted(order) for order in rest)


def chains(node: oir.Node) -> list[tuple[oir.Value, list[oir.Node]]]:
    """Chains that end in a node, in order of length, each with its first operand."""
    found = [(inputs(node)[0], [node])]
    while True:
        value, nodes = found[-1]
        before = value.producer()
        if before is None or not is_move(before) or only_use(value) is None:
            return found
        found.append((inputs(before)[0], [before, *nodes]))


def _step(graph: oir.Graph, node: oir.Node, value: oir.Value, perm: list[int] | None, shape: Shape) -> oir.Value:
    if perm is not None:
        return new_value(graph, node, "Transpose", [value], shape, {"perm": perm})
    target = reshape_target(shape)
    assert target is not None
    return new_value(graph, node, "Reshape", [value, constant_like(graph, target)], shape)


class Tracked:
    """The movement of a value's elements: its axes split into pieces, and the pieces' new order."""

    def __init__(self, shape: Shape) -> None:
        self._numbers = count()
        self.factors: dict[int, Factor] = {}
        self.before = [[self._new(as_factor(size))] if size != 1 else [] for size in shape]
        self.now = [list(axis) for axis in self.before]

    def transpose(self, perm: Sequence[int]) -> None:
        """Put the axes in another order."""
        self.now = [self.now[p] for p in perm]

    def reshape(self, shape: Shape) -> bool:
        """Group the pieces into these axes, split further if needed; return False if that is impossible."""
        pieces = [piece for axis in self.now for piece in axis]
        axes: list[list[int]] = []
        for size in shape:
            axes.append([])
            wanted = as_factor(size)
            while wanted != Factor(1):
                if not pieces:
                    return False
                rest = quotient(wanted, self.factors[pieces[0]])
                if rest is None:
                    if not self._cut(pieces, wanted):
                        return False
                    rest = Factor(1)
                axes[-1].append(pieces.pop(0))
                wanted = rest
        self.now = axes
        return not pieces

    def _cut(self, pieces: list[int], outer: Factor) -> bool:
        """Split the first piece in two, with the outer one of this size."""
        inner = quotient(self.factors[pieces[0]], outer)
        if inner is None:
            return False
        both = [self._new(outer), self._new(inner)]
        for axis in (pieces, *self.before):
            if pieces[0] in axis and axis is not pieces:
                i = axis.index(pieces[0])
                axis[i : i + 1] = both
        pieces[:1] = both
        return True

    def _new(self, factor: Factor) -> int:
        piece = next(self._numbers)
        self.factors[piece] = factor
        return piece

    def way(self, shape: Shape, first: list[list[int]], second: list[list[int]], final: Shape) -> list[Step] | None:
        """Reshape to axes ``first``, transpose to axes ``second``, reshape to ``final``; identities are skipped."""
        if list(chain.from_iterable(first)) != list(chain.from_iterable(self.before)):
            return None
        if list(chain.from_iterable(second)) != list(chain.from_iterable(self.now)):
            return None
        ones = iter([i for i, axis in enumerate(first) if not axis])
        perm = [first.index(axis) if axis else next(ones) for axis in second]
        factors = [product(self.factors[piece] for piece in axis) for axis in first]
        known = [factor.size for factor in factors if factor is not None]
        if len(known) != len(factors):
            return None
        turned = [known[p] for p in perm]
        steps: list[Step] = [(None, known), (perm, turned), (None, final)]
        return [step for step, done in zip(steps, (known == shape, False, turned == final), strict=True) if not done]


def _fewest(shape: Shape, nodes: Sequence[oir.Node]) -> list[Step] | None:
    """The shortest chain from a value of this shape to the result of these nodes."""
    tracked, final = Tracked(shape), sizes(nodes[-1].outputs[0])
    for node in nodes:
        if node.op_type == "Transpose":
            tracked.transpose(permutation(node))
        elif not tracked.reshape(sizes(node.outputs[0])):
            return None
    before, now = tracked.before, tracked.now
    order = {piece: i for i, piece in enumerate(chain.from_iterable(before))}
    by_place_now = {piece: i for i, piece in enumerate(chain.from_iterable(now))}
    if list(order) == list(by_place_now):
        ways: list[list[Step] | None] = [[] if shape == final else [(None, final)]]
    else:
        runs = _runs(order, by_place_now)
        kept = sorted(filter(None, before), key=lambda axis: by_place_now[axis[0]])
        ready = sorted(filter(None, now), key=lambda axis: order[axis[0]])
        ways = [
            tracked.way(shape, before, _with_ones(kept, len(before) - len(kept), final), final),
            tracked.way(shape, _between(ready, now), now, final),
            tracked.way(shape, sorted(runs, key=lambda run: order[run[0]]), runs, final),
        ]
    # A Reshape allows at most one unknown size.
    possible = [w for w in ways if w is not None and all(perm or reshape_target(to) is not None for perm, to in w)]
    return min(possible, key=_cost, default=None)


def _runs(order: dict[int, int], now: Iterable[int]) -> list[list[int]]:
    """The pieces in their new order, merged if they were adjacent before."""
    runs: list[list[int]] = []
    for piece in now:
        if runs and order[runs[-1][-1]] + 1 == order[piece]:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _between(axes: list[list[int]], now: list[list[int]]) -> list[list[int]]:
    """The axes with those of size 1 where they are now."""
    rest = iter(axes)
    return [next(rest) if axis else [] for axis in now]


def _with_ones(axes: list[list[int]], ones: int, shape: Shape) -> list[list[int]]:
    """Insert the shape's axes of size 1 among the others."""
    placed: list[list[int]] = []
    rest = list(axes)
    for size in shape:
        if size == 1 and ones:
            placed.append([])
            ones -= 1
        elif rest:
            placed.append(rest.pop(0))
    return [*placed, *rest, *([[]] * ones)]
