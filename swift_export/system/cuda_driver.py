"""GPUs as the CUDA driver counts them, without a runtime: the driver's library is on every machine with a card."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["count_gpus"]


def count_gpus() -> int:
    """The number of GPUs that this process may use; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
