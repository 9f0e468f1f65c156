"""Bodies of requests, read piece by piece into the memory where they stay.

A clip of 71 MB is held once: its array is made when the JSON before it is known, and filled as the bytes arrive. What
is too large, too slow, too short or not in the stated encoding is refused while it arrives.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from swift_export.errors import InputError
from swift_export.serving.refusals import ClientGone, TooLarge, TooSlow, Unsupported
from swift_export.system.text import shown

__all__ = ["ENCODINGS", "Body", "FillRest", "Receive"]

#: The next message of a client, as of ASGI.
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
#: Fills memory with the rest of a body if that has its size.
FillRest = Callable[[memoryview], Awaitable[bool]]

#: The encodings of bodies, each with zlib's number for its header.
ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
#: Most bytes that are decoded at once; a small body can hold gigabytes.
_PIECE = 1 << 20
#: Pieces from this size are decoded in another thread, and memory of this size is filled without copies.
_LARGE = 1 << 14


class Body:
    """The body of a request, decoded. ``limit`` is its largest size in bytes, decoded or not.

    All methods raise ClientGone if the client hangs up, TooLarge beyond the limit, TooSlow after ``deadline`` (of the
    loop's clock), and InputError for a body that ends too early or is not in its encoding.
    """

    def __init__(
        self,
        receive: Receive,
        headers: Mapping[str, str],
        limit: int,
        deadline: float,
        where: str,
        fill_rest: FillRest | None = None,
    ):
        self._receive, self._limit, self._deadline, self._where = receive, limit, deadline, where
        encoding = headers.get("content-encoding", "identity").strip().lower() or "identity"
        if encoding != "identity" and encoding not in ENCODINGS:
            raise Unsupported(
                f"{where}: content-encoding: expected {', '.join(ENCODINGS)} or none, found {shown(encoding)}"
            )
        self._bits = ENCODINGS.get(encoding)
        self.length = _length(headers, where)
        if self.length is not None and self.length > limit:
            raise self._too_large(f"{self.length:,}")
        self._fill_rest = None if self._bits else fill_rest
        self._pieces = self._decoded() if self._bits else self._received()
        self._left = memoryview(b"")
        self.received = 0
        self.arrived = False

    @property
    def size(self) -> int | None:
        """The number of bytes in the body, if the client states it; not of an encoded one."""
        return None if self._bits else self.length

    async def fill(self, target: memoryview, what: str) -> None:
        """Fill ``target`` with the next bytes; ``what`` they are is named if there are too few."""
        filled = 0
        while filled < len(target):
            if not self._left and await self._filled(target[filled:]):
                return
            if not self._left and not await self._next():
                raise InputError(f"{self._where}: {what}: expected {len(target):,} bytes, found {filled:,}")
            taken = min(len(self._left), len(target) - filled)
            target[filled : filled + taken] = self._left[:taken]
            self._left = self._left[taken:]
            filled += taken

    async def read(self, size: int, what: str) -> bytearray:
        """The next ``size`` bytes."""
        target = bytearray(size)
        await self.fill(memoryview(target), what)
        return target

    async def piece(self) -> memoryview:
        """The next bytes, as they arrive; empty at the end."""
        if not self._left:
            await self._next()
        piece, self._left = self._left, memoryview(b"")
        return piece

    async def rest(self, limit: int) -> bytearray:
        """All bytes to the end; raises TooLarge for more than ``limit``."""
        found = bytearray()
        while self._left or await self._next():
            found += self._left
            self._left = memoryview(b"")
            if len(found) > limit:
                raise TooLarge(
                    f"{self._where}: expected at most {limit:,} bytes of JSON, found more; send tensors as binary data"
                )
        return found

    async def end(self) -> None:
        """Raise InputError if there is more."""
        if self._left or await self._next():
            raise InputError(f"{self._where}: expected the end of the body after its tensors, found more bytes")

    async def _next(self) -> bool:
        """Take the next piece; False at the end."""
        with self._in_time():
            async with asyncio.timeout_at(self._deadline):
                async for piece in self._pieces:
                    if piece:
                        self._left = memoryview(piece)
                        return True
        return False

    async def _filled(self, target: memoryview) -> bool:
        """Fill ``target`` without further copies, if that is possible."""
        if self._fill_rest is None or len(target) < _LARGE:
            return False
        with self._in_time():
            async with asyncio.timeout_at(self._deadline):
                found = await self._fill_rest(target)
        if found:
            self.received += len(target)
        return found

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise TooSlow(f"{self._where}: expected the whole body within the time limit, found a part") from None

    async def _received(self) -> AsyncIterator[bytes]:
        while not self.arrived:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            self.received += len(piece)
            self.arrived = not message.get("more_body", False)
            if self.received > self._limit:
                raise self._too_large("more")
            yield piece

    async def _decoded(self) -> AsyncIterator[bytes]:
        """The decoded pieces; in another thread where that takes long."""
        assert self._bits
        decoder = zlib.decompressobj(self._bits)
        total = 0
        async for piece in self._received():
            rest = piece
            while rest and not decoder.eof:
                try:
                    if len(rest) > _LARGE:
                        out = await asyncio.to_thread(decoder.decompress, rest, _PIECE)
                    else:
                        out = decoder.decompress(rest, _PIECE)
                except zlib.error as error:
                    raise InputError(f"{self._where}: expected a body in its content-encoding, found {error}") from None
                total += len(out)
                if total > self._limit:
                    raise self._too_large("more when decoded")
                rest = decoder.unconsumed_tail
                yield out
            if decoder.unused_data or (rest and decoder.eof):
                raise InputError(f"{self._where}: expected the end of the body, found bytes behind its encoded data")
        # What the decoder still holds fits one piece: it was asked for all that there is.
        if not decoder.eof:
            raise InputError(f"{self._where}: expected a whole body in its content-encoding, found one that breaks off")

    def _too_large(self, found: str) -> TooLarge:
        return TooLarge(f"{self._where}: expected a body of at most {self._limit:,} bytes, found {found}")


def _length(headers: Mapping[str, str], where: str) -> int | None:
    stated = headers.get("content-length")
    if stated is None:
        return None
    if not stated.isascii() or not stated.isdigit() or len(stated) > 18:
        raise InputError(f"{where}: content-length: expected a number, found {shown(stated)}")
    return int(stated)
