"""NVIDIA's management library: name, driver, memory and energy of the card, without a package and without CUDA.

The driver brings the library. Where it is absent, there is no card.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["Card", "find_card"]

_NAME_LENGTH = 96


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True, eq=False)
class Card:
    """The card on which runtimes compute; ``memory`` in bytes."""

    name: str
    driver: str
    memory: int
    _library: Any
    _handle: Any

    def used_bytes(self) -> int | None:
        """Memory in use by all processes; None if the driver does not tell."""
        memory = _memory_of(self._library, self._handle)
        return None if memory is None else int(memory.used)

    def free_bytes(self) -> int | None:
        """Free memory; None if the driver does not tell."""
        memory = _memory_of(self._library, self._handle)
        return None if memory is None else int(memory.free)

    def joules(self) -> float | None:
        """Energy used by the whole card since its driver was loaded; None before Volta, and on a part of a card."""
        millijoules = ctypes.c_ulonglong()
        if self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(millijoules)):
            return None
        return millijoules.value / 1000


@cache
def find_card() -> Card | None:
    """The first card that CUDA shows to this process; None without a card or a driver."""
    try:
        library = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        if library.nvmlInit_v2():
            return None
        handle = _first_visible(library, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if handle is None:
            return None
        memory = _memory_of(library, handle)
        name = _text(lambda text, length: library.nvmlDeviceGetName(handle, text, length))
        driver = _text(library.nvmlSystemGetDriverVersion)
    except (OSError, AttributeError):  # no library, or one without such a function
        return None
    return Card(name, driver, 0 if memory is None else int(memory.total), library, handle)


def _first_visible(library: Any, visible: str | None) -> ctypes.c_void_p | None:
    """The handle of CUDA's first device: numbers and UUIDs in its variable choose it."""
    handle = ctypes.c_void_p()
    chosen = "0" if visible is None else visible.split(",")[0].strip()
    if chosen.isdecimal():
        failed = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(chosen)), ctypes.byref(handle))
    else:
        failed = library.nvmlDeviceGetHandleByUUID(chosen.encode(), ctypes.byref(handle))
    return None if failed else handle


def _memory_of(library: Any, handle: Any) -> _Memory | None:
    memory = _Memory()
    return None if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) else memory


def _text(ask: Callable[[Any, ctypes.c_uint], int]) -> str:
    text = ctypes.create_string_buffer(_NAME_LENGTH)
    return "" if ask(text, ctypes.c_uint(_NAME_LENGTH)) else text.value.decode(errors="replace")
