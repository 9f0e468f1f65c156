"""Inputs of ``convert``: one module per kind, all with the protocol `Source`. JAX is imported on first use."""

from __future__ import annotations

from swift_export.sources.interface import (
    Arrays,
    DimNames,
    Lowered,
    Options,
    Reference,
    SizesError,
    Source,
    SourceError,
)

__all__ = ["Arrays", "DimNames", "Lowered", "Options", "Reference", "SizesError", "Source", "SourceError"]
