"""The zip archive that ``torch.save`` writes, mapped into memory.

torch stores every member uncompressed, so the bytes of a tensor are contiguous in the file. This reader rejects
compressed members, so that no small file can expand into a large one. It checks every offset and size against the file
before use.

Format: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.3 (zip64).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swift_export.errors import WeightsError
from swift_export.system.text import shown

_ByteOrder = Literal["<", ">"]

__all__ = ["TorchArchive"]

MAX_MEMBERS = 100_000
MAX_DIRECTORY = 32 * 2**20
MAX_SMALL_MEMBER = 64 * 2**20

_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_FULL32 = 0xFFFFFFFF

#: Other files that users pass by mistake, recognised by their first bytes.
_LOOKALIKES = (
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch's legacy format; load it with torch and torch.save it again"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself (git lfs pull)"),
    (b"<", "a web page; download the raw file"),
    (b"\x80", "a bare pickle; torch.save it again as a checkpoint"),
)


@dataclass(frozen=True)
class _Member:
    header: int
    size: int
    crc: int


class TorchArchive:
    """The members of a ``torch.save`` archive under torch's names (``data.pkl``, ``data/0``).

    Raises WeightsError for anything but such an archive. The file is mapped, not loaded: only requested bytes are read.
    """

    def __init__(self, path: Path) -> None:
        self.name = shown(path, limit=4096)
        if not path.is_file():
            raise WeightsError(f"{self.name}: expected a checkpoint file, found {_kind(path)}")
        try:
            with path.open("rb") as file:
                self._map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:  # mmap raises this for an empty file
            raise WeightsError(f"{self.name}: expected a PyTorch checkpoint, found an empty file") from None
        except OSError as error:
            raise WeightsError(f"{self.name}: cannot be read ({error.strerror})") from None
        self.size = len(self._map)
        if bytes(self._map[:4]) != b"PK\x03\x04":
            raise WeightsError(f"{self.name}: expected a PyTorch zip archive, found {_lookalike(self._map)}")
        members = self._directory()
        roots = [
            name.removesuffix("data.pkl") for name in members if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise WeightsError(
                f"{self.name}: expected a PyTorch checkpoint with one data.pkl, found a zip archive with {len(roots)}"
            )
        self._verified: set[str] = set()
        self._members = {name.removeprefix(roots[0]): m for name, m in members.items() if name.startswith(roots[0])}
        self.byte_order = self._read_byte_order()

    def member_size(self, name: str) -> int | None:
        """Size of a member in bytes, or None if it does not exist."""
        member = self._members.get(name)
        return None if member is None else member.size

    def read(self, name: str) -> bytes:
        """The bytes of a small member, verified by its checksum."""
        if (self.member_size(name) or 0) > MAX_SMALL_MEMBER:
            raise self._broken(f"{name}: expected at most {MAX_SMALL_MEMBER} bytes, found {self.member_size(name)}")
        return bytes(self.view(name))

    def view(self, name: str) -> memoryview:
        """The bytes of a member inside the mapped file, verified by its checksum."""
        member = self._members.get(name)
        if member is None:
            raise self._broken(f"{shown(name)} is missing")
        if member.header + _LOCAL.size > self.size:
            raise self._broken(f"{shown(name)} is outside the file")
        signature, *_, name_length, extra_length = _LOCAL.unpack_from(self._map, member.header)
        start = member.header + _LOCAL.size + name_length + extra_length
        if signature != b"PK\x03\x04" or start + member.size > self.size:
            raise self._broken(f"{shown(name)} is outside the file")
        data = self._map[start : start + member.size]
        # torch writes zeros if checksums are disabled (set_crc32_options).
        if member.crc and name not in self._verified and zlib.crc32(data) != member.crc:
            raise self._broken(f"the checksum of {shown(name)} does not match its bytes")
        self._verified.add(name)
        return data

    def _broken(self, problem: str) -> WeightsError:
        return WeightsError(f"{self.name}: damaged, or not a checkpoint: {problem}; get the file again")

    def _read_byte_order(self) -> _ByteOrder:
        """``<`` or ``>``. Files from before torch 2.1 do not state it and are little-endian."""
        if "byteorder" not in self._members:
            return "<"
        orders: dict[bytes, _ByteOrder] = {b"little": "<", b"big": ">"}
        order = orders.get(self.read("byteorder"))
        if order is None:
            raise self._broken("its byteorder is neither little nor big")
        return order

    def _directory(self) -> dict[str, _Member]:
        """The central directory, with every entry checked."""
        count, length, at = self._end_record()
        if count > MAX_MEMBERS or length > MAX_DIRECTORY:
            raise self._broken(f"its directory has {count} members and {length} bytes, more than any checkpoint")
        if at + length > self.size or count * _ENTRY.size > length:
            raise self._broken("its zip directory is outside the file")
        directory = self._map[at : at + length]
        members: dict[str, _Member] = {}
        position = 0
        for _ in range(count):
            if position + _ENTRY.size > length:
                raise self._broken("its zip directory ends too early")
            entry = _ENTRY.unpack_from(directory, position)
            signature, flags, method, crc = entry[0], entry[3], entry[4], entry[7]
            packed, size, name_length, extra_length, comment_length = entry[8:13]
            names = position + _ENTRY.size
            extras = names + name_length
            position = extras + extra_length + comment_length
            if signature != b"PK\x01\x02" or position > length:
                raise self._broken("its zip directory is garbled")
            name = bytes(directory[names:extras]).decode("utf-8", "backslashreplace")
            if method or flags & 1:
                kind = "compressed" if method else "encrypted"
                raise WeightsError(
                    f"{self.name}: {shown(name)} is {kind}, but torch.save stores members uncompressed; "
                    "get the original file"
                )
            size, packed, header = _wide(size, packed, entry[16], directory[extras : extras + extra_length])
            if packed != size or header + _LOCAL.size + size > self.size:
                raise self._broken(f"{shown(name)} claims {size} bytes at {header}, the file has {self.size}")
            if name in members:
                raise self._broken(f"{shown(name)} appears twice")
            members[name] = _Member(header, size, crc)
        return members

    def _end_record(self) -> tuple[int, int, int]:
        """(members, bytes, offset) of the central directory, from the record at the end of the file."""
        tail = bytes(self._map[max(0, self.size - _END.size - 0xFFFF) :])
        found = tail.rfind(b"PK\x05\x06")
        if found < 0 or found + _END.size > len(tail):
            raise WeightsError(
                f"{self.name}: truncated: the end of the zip archive is missing; download or copy it again"
            )
        count, length, at = _END.unpack_from(tail, found)[4:7]
        end = self.size - len(tail) + found
        locator = end - _END64_LOCATOR.size
        if locator < 0 or bytes(self._map[locator : locator + 4]) != b"PK\x06\x07":
            return count, length, at
        end64 = _END64_LOCATOR.unpack_from(self._map, locator)[2]
        if end64 + _END64.size > self.size or bytes(self._map[end64 : end64 + 4]) != b"PK\x06\x06":
            raise self._broken("its zip64 record is outside the file")
        count, length, at = _END64.unpack_from(self._map, end64)[7:10]
        return count, length, at


def _wide(size: int, packed: int, header: int, extra: memoryview) -> tuple[int, int, int]:
    """Sizes and offset; those that exceed 32 bits come from the zip64 extra field."""
    wanted = [n == _FULL32 for n in (size, packed, header)]
    position = 0
    while any(wanted) and position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1 and length >= 8 * sum(wanted) and position + 4 + length <= len(extra):
            values = iter(struct.unpack_from(f"<{sum(wanted)}Q", extra, position + 4))
            size, packed, header = (
                next(values) if wide else n for n, wide in zip((size, packed, header), wanted, strict=True)
            )
            break
        position += 4 + length
    return size, packed, header


def _lookalike(data: memoryview) -> str:
    start = bytes(data[:32])
    for signature, description in _LOOKALIKES:
        if start.startswith(signature):
            return description
    return "another type of file"


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a device or pipe" if path.exists() else "no such file"
