"""A source that runs in a runtime, and the floating-point types of a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jax.extend.mlir import ir

from swift_export.converter import mlir
from swift_export.errors import MachineError
from swift_export.formats.element_types import FLOATING, from_mlir
from swift_export.sources.interface import Arrays, SizesError
from swift_export.system.arrays import as_complex
from swift_export.system.text import error_line

if TYPE_CHECKING:
    import numpy as np

    from swift_export.runtimes.base import Session

__all__ = ["SessionReference", "float_types"]


class SessionReference:
    """A `Reference` that runs in a runtime's session.

    ``refusals`` are the errors of a call for shapes that the source does not take, ``failures`` its errors if the
    runtime cannot compute the source. ``pairs`` gives the type of each complex input, whose numbers come as
    pairs of real ones. ``plain`` makes a session that computes each operator as the source has it.
    """

    def __init__(
        self,
        session: Session,
        title: str,
        floats: frozenset[str],
        refusals: tuple[type[Exception], ...],
        failures: tuple[type[Exception], ...] = (),
        pairs: Mapping[str, str] | None = None,
        plain: Callable[[], Session] | None = None,
    ) -> None:
        self.title = title
        self.floats = floats
        self._session = session
        self._refusals, self._failures = refusals, failures
        self._pairs = pairs or {}
        self._plain = plain

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        try:
            return self._session(as_complex(inputs, self._pairs))
        except self._refusals as error:
            raise SizesError(error_line(error)) from None
        except self._failures as error:
            raise MachineError(f"--check: {self.title} cannot run the source: {error_line(error)}") from None

    def as_written(self, inputs: Arrays) -> dict[str, np.ndarray] | None:
        """Outputs by name, without the runtime's own simplifications; None if it cannot do without."""
        if self._plain is None:
            return None
        try:
            return self._plain()(as_complex(inputs, self._pairs))
        except (*self._refusals, *self._failures):
            return None


def float_types(module: Any) -> frozenset[str]:
    """All floating-point types of a module's values, by NumPy's names; complex numbers have those of their parts."""
    blocks = [block for function in mlir.functions(module).values() for block in function.regions[0].blocks]
    parameters = [parameter for block in blocks for parameter in block.arguments]
    results = [result for op in mlir.walk(module.operation) for result in op.results]
    kinds = [value.type for value in (*parameters, *results)]
    elements = [kind.element_type for kind in kinds if isinstance(kind, ir.RankedTensorType)]
    found = {from_mlir(str(kind.element_type if isinstance(kind, ir.ComplexType) else kind)) for kind in elements}
    return frozenset(found & set(FLOATING))
