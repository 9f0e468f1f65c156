"""The command line. Commands import their modules when they run, so that ``--help`` is fast."""

from __future__ import annotations

import sys

try:
    from swift_export.cli.entry import main
except KeyboardInterrupt:  # before `main` handles it
    print("swift-export: interrupted", file=sys.stderr)
    sys.exit(130)

__all__ = ["main"]
