"""The command line. Commands import their modules when they run, so that ``--help`` is fast."""

from __future__ import annotations

from swift_export.cli.entry import main

__all__ = ["main"]
