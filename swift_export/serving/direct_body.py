"""The rest of a large body, straight from the socket into the memory where it stays.

Uvicorn hands on a body in pieces, each copied four times on the way: longer than it takes on the network of a machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from swift_export.serving.refusals import ClientGone

__all__ = ["DirectBody"]


class DirectBody(asyncio.BufferedProtocol):
    """Stands in for a connection's protocol until ``target`` is full.

    ``pause`` stops the reading, and is called as soon as it is: what follows is for others. ``lost`` is called if the
    connection ends.
    """

    def __init__(self, target: memoryview, pause: Callable[[], None], lost: Callable[[Exception | None], None]):
        self._target, self._pause, self._lost = target, pause, lost
        self.filled = 0
        self.full: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        return self._target[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count the bytes that have arrived."""
        self.filled += nbytes
        if self.filled == len(self._target):
            self._pause()
            if not self.full.done():
                self.full.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has hung up."""
        if not self.full.done():
            self.full.set_exception(ClientGone())
        self._lost(exc)
