"""Tensors in the bytes of a message, without copies.

protobuf would copy each tensor twice: once when a message is parsed or made, once when it is read or serialized. Its
encoding is simple enough to do without: a message is a sequence of fields, each with a number and a type, and tensors
are fields of bytes at its top level. See https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["append_bytes", "split_bytes"]

#: How the value of a field is written.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Most fields at the top level, among them the tensors of a request: models have fewer.
_MOST_FIELDS = 2048


def split_bytes(message: bytes, number: int) -> tuple[bytes, list[memoryview]]:
    """A message without the fields of ``number``, and these fields' bytes.

    Raises ValueError for bytes that are no message.
    """
    view, place, kept, start, count = memoryview(message), 0, [], 0, 0
    found: list[memoryview] = []
    while place < len(view):
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS} fields")
        began = place
        tag, place = _varint(view, place)
        kind = tag & 7
        if kind == _BYTES:
            size, place = _varint(view, place)
            place += size
        elif kind == _VARINT:
            size, place = 0, _varint(view, place)[1]
        elif kind in (_FIXED32, _FIXED64):
            size, place = 0, place + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError(f"a field of the unknown type {kind}")
        if place > len(view):
            raise ValueError("a field that breaks off")
        if tag >> 3 == number and kind == _BYTES:
            found.append(view[place - size : place])
            kept.append(view[start:began])
            start = place
    kept.append(view[start:])
    return b"".join(kept), found


def append_bytes(message: bytes, number: int, values: Sequence[bytes | memoryview]) -> bytes:
    """A message with fields of ``number`` behind its own, written once."""
    parts: list[bytes | memoryview] = [message]
    for value in values:
        parts += [_as_varint(number << 3 | _BYTES) + _as_varint(len(value)), value]
    return b"".join(parts)


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """The number at ``place``, seven bits a byte, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            raise ValueError("a field that breaks off")
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than ten bytes")


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
