"""``python -m swift_export`` is the command ``swift-export``."""

from __future__ import annotations

import sys

from swift_export.cli import main

if __name__ == "__main__":
    sys.exit(main())
