"""One small rule an op; importing a module of this folder registers its rules."""

from swift_export.lowering.onnx.rules import (
    calls,
    chlo,
    contraction,
    control,
    conversion,
    elementwise,
    indexing,
    layout,
    padding,
    reduction,
    scatter,
    slices,
    sorting,
    sources,
    windows,
)

__all__ = [
    "calls",
    "chlo",
    "contraction",
    "control",
    "conversion",
    "elementwise",
    "indexing",
    "layout",
    "padding",
    "reduction",
    "scatter",
    "slices",
    "sorting",
    "sources",
    "windows",
]
