"""Up to how many requests are computed together: as many as is faster, measured when a model is loaded."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from swift_export.parity.measure.compare import compare
from swift_export.serving.serve_settings import Batching
from swift_export.serving.served_model import ServedModel
from swift_export.system.arrays import dtype_of, is_float

__all__ = ["best_batch"]

#: A batch has to be so much faster than its items one by one.
_GAIN = 1.05
#: How often each size is timed; for so many seconds at most.
_REPEATS, _ENOUGH_S = 5, 0.5
#: Items of a batch may differ so much from the same items alone: another order of sums.
_SAME = 1e-3
#: The size of an unknown dimension other than the batch.
_SOME = 4


def best_batch(model: ServedModel, batching: Batching, most: int) -> int:
    """The largest number of items to compute together, at most ``most``; 1: requests stay alone.

    With ``auto``, sizes are doubled as long as that is faster per item. In a model whose items are not independent,
    requests always stay alone: one client's input must not change another's result.
    """
    if batching == "off" or most == 1 or not model.batched:
        return 1
    one = _inputs(model, 1)
    try:
        if not _independent(model):
            return 1
    except Exception:  # made-up inputs may be invalid ones for the model, such as indices
        return 1
    if batching == "on":
        return most
    best, per_item = 1, _seconds(model, one)
    size = 2
    while size <= most:
        found = _seconds(model, _inputs(model, size)) / size
        if found * _GAIN > per_item:
            break
        best, per_item, size = size, found, 2 * size
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


def _seconds(model: ServedModel, arrays: dict[str, np.ndarray]) -> float:
    """The shortest time of a batch, with the copy that joins it."""
    items = len(next(iter(arrays.values())))
    times: list[float] = []
    while len(times) < _REPEATS and (sum(times) < _ENOUGH_S or not times):
        start = time.perf_counter()
        joined = arrays if items == 1 else {name: array.copy() for name, array in arrays.items()}
        model.infer(joined)
        times.append(time.perf_counter() - start)
    return min(times)
