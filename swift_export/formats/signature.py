"""The signature of a model or an exported file: names, element types and shapes of its inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Signature", "TensorSpec"]


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
