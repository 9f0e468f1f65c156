"""The server's log: one line of JSON for each event, without any data of a request."""

from __future__ import annotations

import json
import logging
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from swift_export.system.text import error_line, one_line

__all__ = ["ServeLog", "log_libraries"]

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


class _Library(logging.Handler):
    """Passes on what a library logs."""

    def __init__(self, log: ServeLog):
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as an event."""
        raised = record.exc_info[1] if record.exc_info else None
        facts = {} if raised is None else {"error": f"{type(raised).__name__}: {error_line(raised)}"}
        self._log.event("library", record.levelname.lower(), library=record.name, message=record.getMessage(), **facts)


def log_libraries(log: ServeLog) -> None:
    """Write what the web server's libraries log to ``log``, in this process."""
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [_Library(log)]
        logger.propagate = False
