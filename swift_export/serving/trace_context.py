"""The trace of a request: W3C's ``traceparent``, as OpenTelemetry sends it."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

__all__ = ["Trace", "trace_of"]

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True)
class Trace:
    """The trace that a request belongs to, the caller's span in it (None: the trace begins here), and this request's.

    See https://www.w3.org/TR/trace-context.
    """

    trace_id: str
    parent: str | None
    span: str
    flags: str

    @property
    def header(self) -> str:
        """The ``traceparent`` of the answer."""
        return f"00-{self.trace_id}-{self.span}-{self.flags}"


def trace_of(header: str | None) -> Trace:
    """The trace in a ``traceparent``, or a new one without a valid header, as the specification demands."""
    found = _TRACEPARENT.fullmatch(header or "")
    span = secrets.token_hex(8)
    # Version ff is forbidden, zeros are invalid, and version 00 has four fields.
    valid = (
        found
        and found[1] != "ff"
        and found[2].strip("0")
        and found[3].strip("0")
        and not (found[1] == "00" and found[5])
    )
    if not found or not valid:
        return Trace(secrets.token_hex(16), None, span, "00")
    return Trace(found[2], found[3], span, found[4])
