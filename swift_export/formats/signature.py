"""The signature of a model or an exported file: names, element types and shapes of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["UNNAMED", "Signature", "TensorSpec", "with_names"]

#: An unknown dimension without a name in the file.
UNNAMED = "?"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output, with an integer for each fixed dimension and a name for each free one."""

    name: str
    dtype: str
    dims: tuple[str | int, ...]

    def __str__(self) -> str:
        """Element type and shape, such as ``float32 (batch, 3)``."""
        return f"{self.dtype} ({', '.join(map(str, self.dims))})"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def with_names(specs: Sequence[TensorSpec], stated: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """``specs`` with the names of unknown dimensions from the tensor of the same name in ``stated``.

    If ``stated`` has no such tensor, as in files without a signature, the first unknown dimension is the batch.
    """
    known = {spec.name: spec for spec in stated}

    def named(spec: TensorSpec) -> TensorSpec:
        other = known.get(spec.name)
        if other is None or len(other.dims) != len(spec.dims):
            names: Sequence[str | int] = ["batch", *[UNNAMED] * len(spec.dims)]
        else:
            names = other.dims
        dims = [
            name if dim == UNNAMED and isinstance(name, str) else dim
            for dim, name in zip(spec.dims, names, strict=False)
        ]
        return replace(spec, dims=tuple(dims))

    return tuple(map(named, specs))
