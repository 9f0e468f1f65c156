"""Up to how many requests are computed together: as many as is faster, measured when a model is loaded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import numpy as np

from swift_export.parity.measure.compare import compare
from swift_export.serving.serve_settings import Batching
from swift_export.serving.served_model import ServedModel
from swift_export.system.arrays import dtype_of, is_float
from swift_export.system.machine import free_memory

__all__ = ["best_batch"]

#: A batch has to be so much faster than its items one by one.
_GAIN = 1.05
#: How often sizes are timed, in turn, and the seconds after which that is enough.
_REPEATS, _ENOUGH_S = 5, 2.0
#: Items of a batch may differ so much from the same items alone: another order of sums.
_SAME = 1e-3
#: The size of an unknown dimension other than the batch.
_SOME = 4
#: Memory of one inference, in sizes of its inputs, as `Backbone` assumes it for clips.
_INPUTS_HELD = 8


def best_batch(model: ServedModel, batching: Batching, most: int) -> int:
    """The largest number of items to compute together, at most ``most``; 1: requests stay alone.

    With ``auto``, sizes are doubled as long as that is faster per item, and memory suffices. In a model whose items are
    not independent, requests always stay alone: one client's input must not change another's result.
    """
    if batching == "off" or most == 1 or not model.batched:
        return 1
    try:
        if not _independent(model):
            return 1
    except Exception:  # made-up inputs may be invalid ones for the model, such as indices
        return 1
    if batching == "on":
        return most
    best = 1
    while 2 * best <= most and _fits(model, 2 * best) and _is_faster(model, 2 * best, best):
        best *= 2
    return best


def _inputs(model: ServedModel, items: int) -> dict[str, np.ndarray]:
    """Inputs of ``items`` different items: noise, and integers 0 and 1."""
    draw = np.random.default_rng(0)
    made = {}
    for spec in model.inputs:
        shape = (items, *(dim if isinstance(dim, int) else _SOME for dim in spec.dims[1:]))
        dtype = dtype_of(spec.dtype)
        values = draw.random(shape, np.float32) if is_float(dtype) else draw.integers(0, 2, shape)
        made[spec.name] = values.astype(dtype)
    return made


def _independent(model: ServedModel) -> bool:
    """Whether two items give the same together as alone."""
    both = _inputs(model, 2)
    together = model.infer(both)
    for number in range(2):
        alone = model.infer({name: array[number : number + 1] for name, array in both.items()})
        if not _same(alone, {name: array[number : number + 1] for name, array in together.items()}):
            return False
    return True


def _same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> bool:
    differences = [compare(found[name], expected[name], same_non_finite=True) for name in expected]
    return all(not d.mismatch and d.relative_max <= _SAME for d in differences)


def _fits(model: ServedModel, items: int) -> bool:
    free, size = free_memory(), sum(array.nbytes for array in _inputs(model, 1).values())
    return free is None or _INPUTS_HELD * items * size <= free // 2


def _is_faster(model: ServedModel, larger: int, smaller: int) -> bool:
    """Whether batches of ``larger`` items take less time per item, with the copy that joins them."""
    batches = {size: _inputs(model, size) for size in (larger, smaller)}
    times: dict[int, list[float]] = {larger: [], smaller: []}
    began = time.perf_counter()
    while len(times[smaller]) < _REPEATS and (len(times[smaller]) < 2 or time.perf_counter() - began < _ENOUGH_S):
        for size, arrays in batches.items():
            start = time.perf_counter()
            model.infer(arrays if size == 1 else {name: array.copy() for name, array in arrays.items()})
            times[size].append(time.perf_counter() - start)
    # The shortest alone may be chance on a busy machine.
    shorter = [of(times[larger]) / larger * _GAIN <= of(times[smaller]) / smaller for of in (min, median)]
    return all(shorter)
