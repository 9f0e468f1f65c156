"""The interface of all runtimes: load an artifact on a device, call it with arrays, describe the runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from swift_export.errors import InputError, MachineError, SwiftExportError, UsageError

__all__ = [
    "DEVICES",
    "PRECISIONS",
    "AbsentDevice",
    "Adapter",
    "Arrays",
    "Computation",
    "Device",
    "InputSpec",
    "LoadError",
    "Precision",
    "Remote",
    "RuntimeInfo",
    "Session",
    "absent_gpu",
    "check_device",
    "check_inputs",
    "check_precision",
    "file_label",
    "is_out_of_memory",
]

#: How runtimes say that memory ran out, mostly that of a GPU.
_NO_MEMORY = re.compile(
    r"out ?of ?memory|RESOURCE_EXHAUSTED|\bOOM\b|(Failed|Unable) to allocate|bad_?alloc|_ALLOC_FAILED", re.IGNORECASE
)

Device = Literal["cpu", "gpu"]
DEVICES: tuple[Device, ...] = ("cpu", "gpu")

#: Number format of matrix products. tf32 is float32 whose factors a GPU may round to 10 bits of mantissa.
Precision = Literal["float32", "tf32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "float16", "bfloat16")

#: Arrays by the name of an input or output.
Arrays = Mapping[str, np.ndarray]


class AbsentDevice(MachineError):  # noqa: N818 - what is missing, not what went wrong
    """A requested device is missing in this machine or in this build of a runtime."""


class LoadError(SwiftExportError):
    """A file that its runtime cannot load."""


@dataclass(frozen=True)
class InputSpec:
    """An input as declared by the artifact; an axis of any length is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join('any' if n is None else str(n) for n in self.shape)})"


@dataclass(frozen=True)
class RuntimeInfo:
    """The runtime that computed, its device and its settings.

    ``device`` is the runtime's own name for it. ``arithmetic``, the number format of matrix products, determines the
    tolerance. ``settings`` are the switches that decide it, ``providers`` the components that the runtime used.
    """

    name: str
    version: str
    device: str
    arithmetic: str
    settings: Mapping[str, str]
    providers: tuple[str, ...]


class Computation(Protocol):
    """One forward pass with inputs already on the device."""

    def __call__(self) -> object:
        """Compute; return when done."""
        ...


class Session(Protocol):
    """A loaded artifact, with any number of inputs and outputs of any element type that the runtime supports."""

    info: RuntimeInfo
    inputs: tuple[InputSpec, ...]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name; raises InputError for another rank, shape or dtype than the artifact declares."""
        ...

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to the device, so that only the computation is timed."""
        ...


@runtime_checkable
class Remote(Protocol):
    """A session whose computation runs in another process."""

    pid: int


class Adapter(Protocol):
    """A module of this package that loads one kind of artifact."""

    def load(self, path: Path, device: Device, precision: Precision = "float32") -> Session:
        """Load a file to compute in ``precision``, which the registry lists for the runtime and the device.

        Raises MachineError if the device is absent or the precision unavailable, and the runtime's own errors for a
        damaged file.
        """
        ...


def file_label(path: Path) -> str:
    """A short name for messages; that of a SavedModel's folder, 1, would not identify it."""
    return f"{path.parent.name}/{path.name}" if path.is_dir() else path.name


def check_device(device: str) -> Device:
    """``device`` as a `Device`; raises UsageError for any other name."""
    for known in DEVICES:
        if device == known:
            return known
    raise UsageError(f"--device {device}: expected {' or '.join(DEVICES)}")


def check_precision(precision: str) -> Precision:
    """``precision`` as a `Precision`; raises UsageError for any other name."""
    for known in PRECISIONS:
        if precision == known:
            return known
    raise UsageError(f"--precision {precision}: expected {' or '.join(PRECISIONS)}")


def absent_gpu(runtime: str, found: str) -> AbsentDevice:
    """The error of a runtime without the requested GPU, instead of a silent fallback to the CPU."""
    return AbsentDevice(
        f"--device gpu: {runtime} has no CUDA GPU, only {found}; use --device cpu or a machine with one"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a runtime's error says that its device has no memory left; each has its own words and types."""
    said = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or _NO_MEMORY.search(said) is not None


def check_inputs(specs: Sequence[InputSpec], inputs: Arrays, where: str) -> None:
    """Raise InputError unless ``inputs`` match the artifact's declaration.

    This precedes the runtime: some convert silently (jax turns float64 into float32), or accept an axis of length 0,
    for which no model is made.
    """
    if sorted(inputs) != sorted(spec.name for spec in specs):
        expected = ", ".join(spec.name for spec in specs)
        raise InputError(f"{where}: expected the inputs {expected}, found {', '.join(inputs) or 'none'}")
    for spec in specs:
        array = inputs[spec.name]
        fits = array.ndim == len(spec.shape) and all(
            m > 0 if n is None else m == n for n, m in zip(spec.shape, array.shape, strict=True)
        )
        if not fits or str(array.dtype) != spec.dtype:
            found = InputSpec(spec.name, str(array.dtype), array.shape)
            raise InputError(f"{where}: {spec.name}: expected {spec}, found {found}")
