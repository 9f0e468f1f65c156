"""The names of `swift_export.system.text` that messages about weights are made with."""

from __future__ import annotations

from swift_export.system.text import listed, shape_text, shown

__all__ = ["listed", "shape_text", "shown"]
