"""The signature of a model or an exported file: names, element types and shapes of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["UNNAMED", "Signature", "TensorSpec", "with_names"]

#: An unknown dimension that a file gives no name.
UNNAMED = "?"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: an integer for each fixed dimension, a name for each that is free."""

    name: str
    dtype: str
    dims: tuple[str | int, ...]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def with_names(specs: Sequence[TensorSpec], stated: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """``specs`` with the names of unknown dimensions that ``stated`` has for a tensor of the same name.

    Where it has none, the first unknown dimension is the batch, as in files that state no signature.
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
