"""Reading gzip files as people have them: in several members, zero-padded, or with other bytes behind the stream.

Python's ``gzip`` refuses a file whose last byte is followed by anything but zeros; the data before is whole and its
checksum right. This reader stops there instead, and says how much it left.
"""

from __future__ import annotations

import io
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["GZIP_MAGIC", "GzipStream"]

#: How a gzip file starts.
GZIP_MAGIC = b"\x1f\x8b"
#: The same with its only compression method, deflate: what a further member of a file has to start with.
_MEMBER = GZIP_MAGIC + b"\x08"
#: Bytes read from the file, and the most that are inflated, at once.
_INPUT, _OUTPUT = 2**15, 2**20


class GzipStream(io.RawIOBase):
    """The data of an open gzip file, front to back; meant to be wrapped in an `io.BufferedReader`.

    Reading raises EOFError where a member is cut off, and zlib.error where it is damaged; a member's checksum is
    compared when its end is reached. After the end, ``trailing`` is the number of bytes that were not read because
    they are neither zeros nor a further member.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.trailing = 0
        self._file = file
        self._member = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._ended = False

    def readable(self) -> bool:
        """True: the one thing that this stream can do."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Inflate into the buffer; 0 only at the end of the last member."""
        target = memoryview(buffer)
        size = min(target.nbytes, _OUTPUT)
        while not self._ended:
            data = self._pending or self._file.read(_INPUT)
            if not data:
                raise EOFError("it ends within its compressed stream")
            inflated = self._member.decompress(data, size)
            self._pending = self._member.unconsumed_tail
            if self._member.eof:
                self._go_on(self._member.unused_data)
            if inflated:
                target[: len(inflated)] = inflated
                return len(inflated)
        return 0

    def _go_on(self, rest: bytes) -> None:
        """Past the end of a member: skip zeros, then begin the next member or stop."""
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
