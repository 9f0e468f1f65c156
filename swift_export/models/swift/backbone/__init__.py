"""The backbone: its architecture (light to import) and its Equinox module (imports jax on first use)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift_export.models.swift.config import SwiFTConfig, WindowPlan, parameter_shapes
from swift_export.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from swift_export.models.swift.backbone.swift import SwiFT

__all__ = ["SwiFT", "SwiFTConfig", "WindowPlan", "parameter_shapes"]

__getattr__ = lazy_names(__name__, {"SwiFT": "swift"})
