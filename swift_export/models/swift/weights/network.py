"""Opens a URL within a time limit, regardless of the state of the network."""

from __future__ import annotations

import contextlib
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from swift_export.errors import UsageError, WeightsError
from swift_export.system.text import shown

__all__ = ["UnreachableError", "host_of", "open_url"]

#: Seconds without data after which a transfer is aborted.
STALL_SECONDS = 30


class UnreachableError(WeightsError):
    """A server did not answer in time, or returned an error. ``status`` is its HTTP status, if any."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def host_of(url: str) -> str:
    """The host of a URL, for messages (never its user or password)."""
    return shown(urlsplit(url).hostname or url)


def open_url(url: str, seconds: float, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """The response of the server, with an unread body; raises UnreachableError unless it starts within ``seconds``.

    The request runs in a separate thread, because a name lookup can hang longer than any socket timeout. Proxies come
    from the environment.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{shown(url)}: expected an http or https address")
    answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()
    abandoned = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, headers=dict(headers or {}))
        try:
            response = urllib.request.urlopen(request, timeout=STALL_SECONDS)
        except (OSError, HTTPException, ValueError) as error:
            answers.put(error)
        else:
            answers.put(response)
            if abandoned.is_set():
                response.close()

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        abandoned.set()
        with contextlib.suppress(queue.Empty):  # an answer that arrived in between
            late = answers.get_nowait()
            if isinstance(late, HTTPResponse):
                late.close()
        raise UnreachableError(f"{host_of(url)} did not answer within {seconds:.1f} s") from None
    if isinstance(answer, urllib.error.HTTPError):
        answer.close()
        raise UnreachableError(f"{host_of(url)} answered {answer.code} {shown(answer.reason)}", answer.code)
    if isinstance(answer, Exception):
        reason = answer.reason if isinstance(answer, urllib.error.URLError) else answer
        raise UnreachableError(f"{host_of(url)} cannot be reached ({shown(reason)})")
    return answer
