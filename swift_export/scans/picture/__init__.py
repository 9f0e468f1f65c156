"""A picture of how a scan became windows, to be looked at before any feature is trusted."""

from __future__ import annotations

from swift_export.scans.picture.page import draw_scan

__all__ = ["draw_scan"]
