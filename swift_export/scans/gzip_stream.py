"""Reads real-world gzip files: with several members, zero padding, or other bytes after the stream.

Python's ``gzip`` rejects a file with trailing bytes other than zeros, although the data before them is complete and its
checksum correct. This reader stops there and reports the number of trailing bytes.
"""

from __future__ import annotations

import io
import os
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["GZIP_MAGIC", "GzipStream"]

#: The first bytes of a gzip file.
GZIP_MAGIC = b"\x1f\x8b"
#: The first bytes of a further member: the same plus the only compression method, deflate.
_MEMBER = GZIP_MAGIC + b"\x08"
#: Bytes read at once, and the limit of bytes inflated at once.
_INPUT, _OUTPUT = 2**15, 2**20


class GzipStream(io.RawIOBase):
    """The data of an open gzip file, read sequentially; intended for an `io.BufferedReader`.

    Reading raises EOFError if a member is truncated, and zlib.error if it is damaged. The checksum of a member is
    compared at its end. After the last member, ``trailing`` is the number of unread bytes that are neither zeros nor a
    member.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.trailing = 0
        self._file = file
        self._member = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._ended = False

    def readable(self) -> bool:
        """True, because this stream supports only reading."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Inflate into the buffer; returns 0 only at the end of the last member."""
        target = memoryview(buffer)
        size = min(target.nbytes, _OUTPUT)
        while not self._ended:
            data = self._pending or self._file.read(_INPUT)
            if not data:
                raise EOFError("the compressed stream is incomplete")
            inflated = self._member.decompress(data, size)
            self._pending = self._member.unconsumed_tail
            if self._member.eof:
                self._next_member(self._member.unused_data)
            if inflated:
                target[: len(inflated)] = inflated
                return len(inflated)
        return 0

    def _next_member(self, rest: bytes) -> None:
        """After the end of a member: skip zeros, then start the next member or stop."""
        rest = rest.lstrip(b"\0")
        while not rest:
            data = self._file.read(_INPUT)
            if not data:
                self._ended = True
                return
            rest = data.lstrip(b"\0")
        rest += self._file.read(max(len(_MEMBER) - len(rest), 0))
        if rest.startswith(_MEMBER):
            self._member, self._pending = zlib.decompressobj(wbits=31), rest
        else:
            self._ended = True
            self.trailing = len(rest) - self._file.tell() + self._file.seek(0, os.SEEK_END)
