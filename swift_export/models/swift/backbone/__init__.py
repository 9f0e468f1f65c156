"""The backbone: its architecture (light to import) and its Equinox module (imports jax on first use)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swift_export.models.swift.config import SwiFTConfig, WindowPlan, parameter_shapes

if TYPE_CHECKING:
    from swift_export.models.swift.backbone.swift import SwiFT

__all__ = ["SwiFT", "SwiFTConfig", "WindowPlan", "parameter_shapes"]


def __getattr__(name: str) -> Any:
    if name == "SwiFT":
        from swift_export.models.swift.backbone.swift import SwiFT

        return SwiFT
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
