"""The hardware and the versions behind a measurement, without anything that identifies the machine."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["processor", "vectors", "versions"]

_VECTORS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON"))
_CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The family of the processor and its widest vectors."""
    (model, *_) = re.findall(r"^model name\s*:(.*)$", _cpuinfo(), re.MULTILINE) or [""]
    family = " ".join(dict.fromkeys(re.findall(r"Intel|AMD|Xeon|EPYC|Core|Ryzen|Neoverse", model)))
    return " with ".join(filter(None, [family or platform.machine(), vectors()]))


def vectors() -> str:
    """The widest vector instructions of the processor; empty if they are unknown."""
    (flags, *_) = re.findall(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.MULTILINE) or [""]
    return next((name for flag, name in _VECTORS if flag in flags.split()), "")


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those of these packages that are installed."""
    out = {}
    for package in packages:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def _cpuinfo() -> str:
    return _CPUINFO.read_text() if _CPUINFO.exists() else ""
