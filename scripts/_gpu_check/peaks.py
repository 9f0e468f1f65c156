"""What the device can do at most: large matrix products in every precision, large copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from _gpu_check.outcomes import COPY, UPLOAD
from swift_export.runtimes._xla import find_device
from swift_export.runtimes.base import check_device

__all__ = ["measure_peaks"]

_ROUNDS = 5
_CALLS = 10


def measure_peaks(device: str) -> dict[str, float]:
    """FLOP/s by precision, and bytes per second of `COPY` and `UPLOAD`; the best of a few rounds."""
    place = find_device(check_device(device))
    large = device == "gpu"
    n = 8192 if large else 256
    found = {}
    for name, dtype, precision in (
        ("float32", jnp.float32, "highest"),
        ("tf32", jnp.float32, "default"),
        ("float16", jnp.float16, "default"),
        ("bfloat16", jnp.bfloat16, "default"),
    ):
        # Random numbers: on equal ones a card uses less power, and is an eighth faster than on any data.
        factor = jax.device_put(jax.random.normal(jax.random.key(0), (n, n), dtype), place)
        found[name] = 2 * n**3 / _seconds(jax.jit(lambda a, p=precision: jnp.dot(a, a, precision=p)), factor)
    numbers = jax.device_put(jnp.zeros(2**28 if large else 2**18, jnp.float32), place)
    found[COPY] = 2 * numbers.nbytes / _seconds(jax.jit(lambda a: a + 1), numbers)
    array = np.zeros(2**26 if large else 2**16, np.float32)
    found[UPLOAD] = array.nbytes / _seconds(lambda a: jax.device_put(a, place), array, calls=1)
    return found


def _seconds(function: Callable[[Any], Any], argument: Any, calls: int = _CALLS) -> float:
    """Seconds of one call. Several are queued, so that the time to start one does not count."""
    jax.block_until_ready(function(argument))
    rounds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            result = function(argument)
        jax.block_until_ready(result)
        rounds.append((time.perf_counter() - start) / calls)
    return min(rounds)
