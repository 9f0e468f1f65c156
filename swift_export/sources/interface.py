"""The interface of all inputs of ``convert``: each converts to ONNX and runs in its own framework."""

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
#: Names of unknown dimensions by input: equal names mean equal sizes.
DimNames = Mapping[str, Sequence[str | None]]


class SourceError(SwiftExportError):
    """An input of ``convert`` is missing, damaged, of another kind or of a newer version."""


class SizesError(SwiftExportError):
    """A source does not take these sizes of unknown dimensions."""


@dataclass(frozen=True)
class Options:
    """Options of the ONNX file; None leaves the choice to the source.

    ``platform`` selects one of several platforms that a source was lowered for, ``signature`` a SavedModel's signature.
    """

    opset: int | None = None
    target: str = TARGETS[0]
    platform: str | None = None
    signature: str | None = None
    dim_names: DimNames | None = None


class Reference(Protocol):
    """A source that runs in its own framework.

    ``floats`` lists the floating-point types that it computes in, by NumPy's names.
    """

    title: str
    floats: frozenset[str]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by the ONNX model's names; raises SizesError for shapes that the source does not take."""
        ...

    def as_written(self, inputs: Arrays) -> dict[str, np.ndarray] | None:
        """The same with each operator computed as the source has it; None if its framework cannot do that."""
        ...


@dataclass(frozen=True)
class Lowered:
    """A converted source, and the shapes of its inputs by name, with unknown dimensions as polynomials."""

    model: oir.Model
    shapes: Mapping[str, Shape]


class Source(Protocol):
    """One input file or folder."""

    @property
    def kind(self) -> str:
        """The kind of the input, in words."""
        ...

    @property
    def digest(self) -> str:
        """The SHA-256 of the content."""
        ...

    @property
    def exact(self) -> bool:
        """Whether only this project's lowering converts it, which refuses anything that it cannot express exactly."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Further remarks for the user, a few words each."""
        ...

    def to_onnx(self) -> Lowered:
        """The ONNX model; raises LoweringError for anything that ONNX cannot express exactly."""
        ...

    def reference(self) -> Reference:
        """The same function in its own framework, on the CPU."""
        ...
