"""HTTP/1.1 by uvicorn and httptools, with limits on clients that are slow, endless or deaf."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from swift_export.serving.direct_body import DirectBody

__all__ = ["FILL", "HEADERS_S", "MOST_HEADERS", "GuardedHttp"]

#: Seconds for the headers of a request; for the rest of a body that was refused already; and for reading an answer.
HEADERS_S, REST_S, READ_S = 10.0, 30.0, 60.0
#: The extension of ASGI by which an application fills memory with the rest of a body.
FILL = "swift_export.fill"
#: Most bytes of headers.
MOST_HEADERS = 2**16


class GuardedHttp(HttpToolsProtocol):
    """One connection. Bodies have their own limits, where they are read."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes, self._in_head, self._whole = 0, True, False
        #: Bytes of the body that have not arrived; only of a body of known length.
        self._rest = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the headers of the first request."""
        super().connection_made(transport)
        self._start(HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse more; refuse endless headers."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEADERS and not self.transport.is_closing():
            self._refuse(431, f"expected at most {MOST_HEADERS} bytes of headers, found more")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._whole = True, False
        self._start(HEADERS_S)

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        self._stop()
        self._in_head, self._head_bytes = False, 0
        # Of a body that is sent in pieces or after a request for it, nobody knows what is the rest.
        lengths = [value for name, value in self.headers if name == b"content-length"]
        self._rest = int(lengths[0]) if lengths and not self.expect_100_continue and self.scheme == "http" else 0
        self.scope.setdefault("extensions", {})[FILL] = {"rest": self.fill}
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._rest -= len(body)
        super().on_body(body)

    async def fill(self, target: memoryview) -> bool:
        """Fill ``target`` if it is exactly what is left of the body; False if not, and nothing has happened.

        Raises ClientGone if the client hangs up. If it is cancelled, the connection ends with the answer.
        """
        cycle = self.cycle
        if len(target) != self._rest or cycle.body or self._whole or cycle.disconnected or self.transport.is_closing():
            return False
        sink = DirectBody(target, self.flow.pause_reading, self.connection_lost)
        self._stand_in(sink)
        try:
            await sink.full
        except BaseException:
            # The parser is still in the middle of the body.
            cycle.keep_alive = False
            raise
        finally:
            if not cycle.disconnected:
                self._stand_in(self)
        # For the parser, the body never ends: it makes room for another one.
        self.parser = httptools.HttpRequestParser(self)
        self.on_message_complete()
        return True

    def _stand_in(self, protocol: asyncio.BaseProtocol) -> None:
        """Let ``protocol`` receive what arrives from now on."""
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()

    def on_message_complete(self) -> None:
        """Its body is there."""
        self._whole = True
        if self.cycle is not None and self.cycle.response_complete:
            # Uvicorn has dropped its own timer when the rest of the body came.
            self._start(self.timeout_keep_alive)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Its answer is written. The client may still send the body; only for a while."""
        super().on_response_complete()
        if not self._whole and not self.transport.is_closing():
            self._start(REST_S)

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        super().pause_writing()
        self._start(READ_S)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        self._stop()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of all refusals."""
        self._refuse(400, "expected a request of HTTP/1.1, found other data")

    def _refuse(self, status: int, why: str) -> None:
        reason = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}[status]
        body = f'{{"error": "{why}"}}'
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n{body}".encode())
        self.transport.close()

    def _start(self, seconds: float) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes:
            self._refuse(408, f"expected the headers within {HEADERS_S:g} seconds")
        else:
            self.transport.abort()
