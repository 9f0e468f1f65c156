"""A web server on 127.0.0.1 that serves a few files, well or badly, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """Files by path and how to serve them.

    ``cut`` closes the connection after so many bytes of a body; ``ranges`` says whether parts can be had; ``length``
    whether the size is told; ``headers`` are added to answers for their path, ``statuses`` are answered instead.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None
    ranges: bool = True
    length: bool = True
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.asked.append((self.command, self.path, wanted))
        content = site.files.get(self.path)
        status = site.statuses.get(self.path, 200 if content is not None else 404)
        start, total = 0, len(content or b"")
        if status == 200 and wanted and site.ranges:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            status = 206 if start < total else 416
        self.send_response(status)
        for name, value in site.headers.get(self.path, {}).items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        piece = content[start:] if status in (200, 206) and content is not None else b""
        if site.length:
            self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        if body:
            self.wfile.write(piece if site.cut is None else piece[: site.cut])
        self.close_connection = True


@contextlib.contextmanager
def serve(site: Site) -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def nobody() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
