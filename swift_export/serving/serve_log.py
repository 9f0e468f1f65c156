"""The server's log: one line of JSON for each event, without any data of a request."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from swift_export.system.text import one_line

__all__ = ["ServeLog"]

#: Most characters of a text in a line.
_MOST = 500


class ServeLog:
    """Writes lines to a stream, by default stderr; ``quiet`` leaves out answers of requests without a fault."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False):
        self.quiet = quiet
        self._stream = stream
        self._lock = threading.Lock()

    def event(self, event: str, level: str = "info", **facts: Any) -> None:
        """Write one event. Texts are cut, and escaped to printable ASCII."""
        if self.quiet and level == "info":
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        safe = {key: one_line(value, _MOST) if isinstance(value, str) else value for key, value in facts.items()}
        line = json.dumps({"time": time, "level": level, "event": event, **safe})
        # A log that nobody reads any more, or a full disk, must not end the server.
        with self._lock, suppress(OSError, ValueError):
            print(line, file=self._stream or sys.stderr, flush=True)
