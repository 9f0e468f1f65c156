"""A picture of the preparation of a scan, for visual inspection before its features are used."""

from __future__ import annotations

from swift_export.scans.picture.page import draw_scan

__all__ = ["draw_scan"]
