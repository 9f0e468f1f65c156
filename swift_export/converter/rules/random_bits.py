"""rng_bit_generator: the counter-based generators Philox 4x32 and Threefry 2x32, bit by bit.

The generators are those of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). StableHLO leaves open
which bits go where and what the default is; here they are as in XLA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.frame import Frame, rule
from swift_export.converter.rules.spacing import Cut, taken
from swift_export.converter.rules.terms import SIGNED, UNSIGNED, Term

__all__: list[str] = []

DataType = oir.DataType

#: Philox's increments of the key and factors, and its number of rounds.
_WEYL, _FACTORS, _PHILOX_ROUNDS = (0x9E3779B9, 0xBB67AE85), (0xD2511F53, 0xCD9E8D57), 10
#: Threefry's distances of rotation, in turn, and the parity of its key.
_ROTATIONS, _PARITY = ((13, 15, 26, 6), (17, 29, 16, 24)), 0x1BD11BDA
_THREEFRY_GROUPS = 5


@rule("stablehlo.rng_bit_generator", attributes=["rng_algorithm"])
def rng_bit_generator(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The state behind the numbers drawn, and numbers of any integer type."""
    b, (operand,) = frame.builder, op.operands
    dtype, shape = frame.dtype(op.results[1]), tuple(op.results[1].type.shape)
    (length,) = frame.static(op, frame.shape(operand), "sizes of the state")
    if dtype not in SIGNED | UNSIGNED or frame.dtype(operand) != DataType.UINT64:
        kinds = f"{dtype.name} from {frame.dtype(operand).name}"
        raise frame.error(op, f"{kinds}: the op's rule takes integers from UINT64")
    frame.shapes[op.results[0]], frame.shapes[op.results[1]] = (length,), shape
    algorithm = str(op.attributes["rng_algorithm"]).split()[-1].rstrip(">")
    state = frame.full(operand)
    if 0 in shape:
        return [state, b.constant(np.zeros(shape, dtype.numpy()))]
    words = [Term(b, taken(b, state, {0: Cut(1, i, length - 1 - i)})) for i in range(length)]
    if algorithm == "THREE_FRY" and length == 2:
        drawn, after = _threefry_numbers(words, shape, wide=dtype.itemsize == 8)
    elif algorithm != "THREE_FRY" and length in (2, 3):
        drawn, after = _philox_numbers(words, shape, wide=dtype.itemsize == 8)
    else:
        raise frame.error(op, f"{algorithm} with a state of {length} numbers: expected 2, or 3 of PHILOX")
    return [_joined(b, [words[0], *after], 0), b.cast(drawn, dtype)]


def _halves(x: Term) -> list[Term]:
    """The low and the high 32 bits."""
    return [(x & 0xFFFFFFFF).to(DataType.UINT32), (x >> 32).to(DataType.UINT32)]


def _whole(low: Term, high: Term) -> Term:
    return low.to(DataType.UINT64) | (high.to(DataType.UINT64) << 32)


def _joined(b: Builder, terms: Sequence[Term], axis: int) -> oir.Value:
    shape = list(b.shape(terms[0].value))
    shape[axis] = shape[axis] * len(terms)
    return b.node("Concat", [term.value for term in terms], terms[0].dtype, tuple(shape), axis=axis)


def _philox_numbers(words: Sequence[Term], shape: Sequence[int], *, wide: bool) -> tuple[oir.Value, list[Term]]:
    """Four words of each value of a counter of 128 bits, one after the other."""
    b, total = words[0].builder, math.prod(shape)
    key, low = words[:2]
    high = words[2] if len(words) == 3 else key
    count = -(-total * (2 if wide else 1) // 4)

    def later(steps: Term) -> tuple[Term, Term]:
        moved = low + steps
        return moved, high + (moved < low).to(DataType.UINT64)

    counters = later(Term(b, b.constant(np.arange(count, dtype=np.uint64))))
    x = _philox([half for counter in counters for half in _halves(counter)], _halves(key))
    parts = [_whole(*x[:2]), _whole(*x[2:])] if wide else x
    columns = [Term(b, b.reshape(part.value, (count, 1))) for part in parts]
    flat = b.reshape(_joined(b, columns, 1), (count * len(parts),))
    numbers = taken(b, flat, {0: Cut(total, 0, count * len(parts) - total)})
    return b.reshape(numbers, tuple(shape)), list(later(low.constant(count)))[: len(words) - 1]


def _philox(x: list[Term], key: list[Term]) -> list[Term]:
    for turn in range(_PHILOX_ROUNDS):
        products = [_halves(x[2 * i].to(DataType.UINT64) * factor) for i, factor in enumerate(_FACTORS)]
        (low0, high0), (low1, high1) = products
        x = [high1 ^ x[1] ^ key[0], low1, high0 ^ x[3] ^ key[1], low0]
        if turn < _PHILOX_ROUNDS - 1:
            key = [part + step for part, step in zip(key, _WEYL, strict=True)]
    return x


def _threefry_numbers(words: Sequence[Term], shape: Sequence[int], *, wide: bool) -> tuple[oir.Value, list[Term]]:
    """Two words of each value of a counter of 64 bits: neighbours along the first even axis, else along the longest."""
    b, (key, start) = words[0].builder, words
    # Pairs along an axis; the counter counts in the order of the remaining elements.
    outer = list(shape) or [1]
    axis = next((i for i, size in enumerate(outer) if size % 2 == 0), outer.index(max(outer)))
    half = list(shape) if wide else [*outer[:axis], -(-outer[axis] // 2), *outer[axis + 1 :]]
    count = math.prod(half)
    counters = start + Term(b, b.constant(np.arange(count, dtype=np.uint64)))
    low, high = _threefry(_halves(counters), _halves(key))
    after = [start + count]
    if wide:
        return b.reshape(_whole(low, high).value, tuple(shape)), after
    pairs = [Term(b, b.reshape(x.value, (*half[: axis + 1], 1, *half[axis + 1 :]))) for x in (low, high)]
    doubled = (*half[:axis], 2 * half[axis], *half[axis + 1 :])
    numbers = b.reshape(_joined(b, pairs, axis + 1), doubled)
    return b.reshape(taken(b, numbers, {axis: Cut(outer[axis], 0, doubled[axis] - outer[axis])}), tuple(shape)), after


def _threefry(x: list[Term], key: list[Term]) -> list[Term]:
    keys = [*key, key[0] ^ key[1] ^ _PARITY]
    x = [x[0] + keys[0], x[1] + keys[1]]
    for group in range(_THREEFRY_GROUPS):
        for distance in _ROTATIONS[group % 2]:
            added = x[0] + x[1]
            x = [added, added ^ ((x[1] << distance) | (x[1] >> (32 - distance)))]
        x = [x[0] + keys[(group + 1) % 3], x[1] + keys[(group + 2) % 3] + (group + 1)]
    return x
