"""Compares a converted file with its source on random inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swift_export.converter.dims import Shape, Size
from swift_export.errors import CheckFailed
from swift_export.parity.measure.compare import Difference, compare
from swift_export.parity.measure.elements import draw
from swift_export.parity.measure.tolerances import Tolerance, allowed_for
from swift_export.runtimes.base import Session
from swift_export.sources import Reference, SizesError
from swift_export.system.progress import Progress, ignore_line
from swift_export.system.text import error_line

__all__ = ["Compared", "ConvertedReport", "check_converted", "open_converted"]

#: Sizes of unknown dimensions to try, in order: a source may take only some of them, such as multiples of a number.
_SIZES = (2, 3, 1, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
#: The number of different sizes to compare.
_ENOUGH = 2


@dataclass(frozen=True)
class Compared:
    """One output on one input. ``sizes`` are those of the unknown dimensions."""

    output: str
    sizes: Mapping[str, int]
    difference: Difference
    allowed: Tolerance

    @property
    def passed(self) -> bool:
        """Whether the output passes."""
        return self.difference.within(self.allowed)

    def __str__(self) -> str:
        where = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        limits = f"allowed {self.allowed.relative_l2:g} and {self.allowed.relative_max:g}"
        # Values that must be equal have no limits.
        figures = f"{self.difference}" if self.difference.mismatch else f"{self.difference} ({limits})"
        return f"output {self.output}{f' at {where}' if where else ''}: {figures}"


@dataclass(frozen=True)
class ConvertedReport:
    """All that was compared: ``runtime`` against ``reference``."""

    runtime: str
    reference: str
    compared: tuple[Compared, ...]

    @property
    def failures(self) -> tuple[Compared, ...]:
        """The comparisons beyond their limits."""
        return tuple(c for c in self.compared if not c.passed)

    def raise_for_failures(self) -> None:
        """Raise CheckFailed with the first failed comparison."""
        if self.failures:
            more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
            raise CheckFailed(f"{self.runtime} differs from {self.reference}: {self.failures[0]}{more}")


def open_converted(path: Path) -> Session:
    """The ONNX file at ``path`` in ONNX Runtime on the CPU; raises CheckFailed if it cannot be loaded."""
    from swift_export.runtimes import onnxruntime

    try:
        return onnxruntime.load(path, "cpu")
    except Exception as error:  # ONNX Runtime's errors have no common type
        raise CheckFailed(f"{onnxruntime.TITLE} does not load the file: {error_line(error, 400)}") from None


def check_converted(
    path: Path,
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, np.dtype],
    reference: Reference,
    *,
    seed: int = 0,
    on_progress: Progress = ignore_line,
) -> ConvertedReport:
    """Run the ONNX file at ``path`` and its source on random inputs of these shapes and types, and compare.

    Unknown dimensions take two different sizes. Raises CheckFailed if the file does not run, or if the source refuses
    all sizes.
    """
    session = open_converted(path)
    title = f"{session.info.name} {session.info.version}"
    symbols = list(dict.fromkeys(s for shape in shapes.values() for size in shape for s in _symbols(size)))
    allowed = allowed_for(reference.floats)
    compared: list[Compared] = []
    done: set[int] = set()
    refusal = ""
    for base, sizes in _assignments(symbols):
        if base in done:
            continue
        try:
            inputs = _inputs(shapes, dtypes, sizes, seed)
            on_progress(f"running {reference.title}")
            right = reference(inputs)
        except SizesError as error:
            refusal = str(error)
            continue
        on_progress(f"running {title}")
        try:
            found = session(inputs)
        except Exception as error:
            raise CheckFailed(f"{title} fails on the file: {error_line(error, 400)}") from None
        if sorted(found) != sorted(right):
            raise CheckFailed(f"expected the outputs {', '.join(right)}, found {', '.join(found)}")
        compared += _compared(found, right, sizes, allowed, reference, inputs)
        done.add(base)
        if len(done) == _ENOUGH or not symbols:
            break
    if not done:
        tried = f"no sizes of {', '.join(symbols)} up to {max(_SIZES)}" if symbols else "no random inputs"
        raise CheckFailed(f"{reference.title} takes {tried}: {refusal}")
    return ConvertedReport(title, reference.title, tuple(compared))


def _compared(
    found: Mapping[str, np.ndarray],
    right: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    allowed: Tolerance,
    reference: Reference,
    inputs: Mapping[str, np.ndarray],
) -> list[Compared]:
    """All outputs on one input. Where one differs, the source is asked again without its framework's simplifications.

    Frameworks reorder arithmetic, which moves the last bit. Behind a floor or a comparison that is another result,
    while a file that gives what the source has written is right.
    """

    def against(outputs: Mapping[str, np.ndarray]) -> list[Compared]:
        pairs = ((name, compare(array, outputs[name], same_non_finite=True)) for name, array in found.items())
        return [Compared(name, sizes, difference, allowed) for name, difference in pairs]

    first = against(right)
    if all(c.passed for c in first):
        return first
    written = reference.as_written(inputs)
    if written is None:
        return first
    return [a if a.passed or not c.passed else c for a, c in zip(first, against(written), strict=True)]


def _assignments(symbols: Sequence[str]) -> Iterator[tuple[int, dict[str, int]]]:
    """Sizes of the unknown dimensions: first different ones, so that confusions show; then equal ones."""
    for base in _SIZES:
        yield base, {symbol: base + i for i, symbol in enumerate(symbols)}
        if len(symbols) > 1:
            yield base, dict.fromkeys(symbols, base)


def _inputs(
    shapes: Mapping[str, Shape], dtypes: Mapping[str, np.dtype], sizes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = {}
    for name, shape in shapes.items():
        numbers = tuple(_number(size, sizes) for size in shape)
        if any(number < 1 for number, size in zip(numbers, shape, strict=True) if _symbols(size)):
            raise SizesError(f"{name} would have the shape {numbers}")
        inputs[name] = draw(rng, dtypes[name], numbers)
    return inputs


def _symbols(size: Size) -> list[str]:
    return [] if isinstance(size, int) else sorted(size.symbols)


def _number(size: Size, sizes: Mapping[str, int]) -> int:
    return size if isinstance(size, int) else size.at(sizes)
