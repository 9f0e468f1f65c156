"""What all kinds of input to ``convert`` have in common: they become ONNX, and they can be run as what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swift_export.converter.opsets import TARGETS
from swift_export.errors import SwiftExportError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as oir

    from swift_export.converter.dims import Shape

__all__ = ["Arrays", "DimNames", "Lowered", "Options", "Reference", "SizesError", "Source", "SourceError"]

#: Arrays by the name of an input or output.
Arrays = Mapping[str, "np.ndarray"]
#: Names of unknown dimensions by input: the same name means the same size.
DimNames = Mapping[str, Sequence[str | None]]


class SourceError(SwiftExportError):
    """An input of ``convert`` that is missing, damaged, of another kind or of a newer version."""


class SizesError(SwiftExportError):
    """Sizes of unknown dimensions that a source does not take."""


@dataclass(frozen=True)
class Options:
    """What may be chosen about the ONNX file; None leaves it to the source.

    ``platform`` picks one of several platforms that a source was lowered for, ``signature`` one of a SavedModel's.
    """

    opset: int | None = None
    target: str = TARGETS[0]
    platform: str | None = None
    signature: str | None = None
    dim_names: DimNames | None = None


class Reference(Protocol):
    """A source, run by its own framework.

    ``floats`` are all types of floating-point numbers that it computes in, under NumPy's names.
    """

    title: str
    floats: frozenset[str]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by the names of the ONNX model; raises SizesError for shapes that the source does not take."""
        ...


@dataclass(frozen=True)
class Lowered:
    """What a source became, and the shapes of its inputs by name, unknown dimensions as polynomials."""

    model: oir.Model
    shapes: Mapping[str, Shape]


class Source(Protocol):
    """One input file or folder."""

    @property
    def kind(self) -> str:
        """What it is, in words."""
        ...

    @property
    def digest(self) -> str:
        """The sha256 of its content."""
        ...

    @property
    def exact(self) -> bool:
        """Whether all of its way to ONNX is this project's lowering, which refuses what it cannot do exactly."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know beside its kind, a few words each."""
        ...

    def to_onnx(self) -> Lowered:
        """The ONNX model; raises LoweringError for what ONNX cannot express exactly."""
        ...

    def reference(self) -> Reference:
        """The same function in its own framework, on the CPU."""
        ...
