"""A pickle reader that builds only data.

Python's unpickler imports and calls the names in a pickle. This reader is a separate machine for the same language. It
builds lists, dictionaries, numbers and text, and turns every name, call and object into a description (``Global``,
``Inert``). No instruction gives a pickle access to Python: nothing is imported or called, and no attribute is set. The
caller decides which descriptions have a meaning (such as a tensor).

Time and memory are linear in the size of the pickle: no instruction copies earlier values, only plain scalars are
hashed, and nothing is traversed recursively.

Instructions: CPython's Lib/pickletools.py. Supported are protocols 2 to 5, which torch writes, without the textual
instructions of protocol 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from swift_export.system.text import shown

__all__ = ["Global", "Inert", "PickleError", "described", "read_pickle"]

MAX_INSTRUCTIONS = 2_000_000

_LONGEST_KEY = 1024
_LONGEST_NAME = 1024


class PickleError(ValueError):
    """A pickle that is malformed, oversized or uses an instruction that torch does not write."""


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"<{self.module}.{self.name}>"


@dataclass(eq=False, slots=True)
class Inert:
    """The description of an object in a pickle: its class or function, arguments, state and contents."""

    origin: Any
    args: Any
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.origin) if isinstance(self.origin, Global) else "<object>"

    __repr__ = __str__


def described(value: Any) -> str:
    """A value described for a message, such as ``a dict`` or ``<posix.system>``."""
    return shown(value) if isinstance(value, (Global, Inert)) else f"a {type(value).__name__}"


def read_pickle(
    data: bytes, call: Callable[[Global, Any], Any], persistent: Callable[[Any], Any], name: Callable[[Global], None]
) -> Any:
    """The value that a pickle describes.

    ``call(global, args)`` returns the meaning of a call, and ``persistent(id)`` that of an external reference;
    ``name(global)`` may reject a name by raising. Raises PickleError for a malformed pickle.
    """
    machine = _Machine(data, call, persistent, name)
    try:
        return machine.run()
    except (IndexError, struct.error):
        raise PickleError("its pickle ends too early, or reads from an empty stack") from None
    except UnicodeDecodeError:
        raise PickleError("its pickle contains text that is not UTF-8") from None


class _Machine:
    def __init__(
        self,
        data: bytes,
        call: Callable[[Global, Any], Any],
        persistent: Callable[[Any], Any],
        name: Callable[[Global], None],
    ) -> None:
        self.data, self.position = data, 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.call, self.persistent, self.name = call, persistent, name

    def run(self) -> Any:
        for _ in range(MAX_INSTRUCTIONS):
            code = self.data[self.position]
            self.position += 1
            if code == _STOP:
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None:
                raise PickleError(f"its pickle has the instruction {code:#04x}, which torch does not write")
            step(self)
        raise PickleError(f"its pickle has more than {MAX_INSTRUCTIONS} instructions")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise PickleError(f"its pickle claims {count} bytes, but only {len(self.data) - self.position} remain")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise IndexError
        piece = self.take(end - self.position)
        self.position += 1
        return piece.decode("utf-8")

    def to_mark(self) -> list[Any]:
        """Remove and return the values above the last mark."""
        above, self.stack = self.stack, self.marks.pop()
        return above

    def popped(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def push_global(self, module: Any, name: Any) -> None:
        if not all(isinstance(text, str) and len(text) <= _LONGEST_NAME for text in (module, name)):
            raise PickleError("its pickle has a class name that is not a short text")
        found = Global(module, name)
        self.name(found)
        self.push(found)

    def push_call(self, origin: Any, args: Any) -> None:
        self.push(self.call(origin, args) if isinstance(origin, Global) else Inert(origin, args))

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target = target.items
        if not isinstance(target, list):
            raise PickleError(f"its pickle appends to {described(target)}")
        target.extend(values)

    def update(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target = target.entries
        if not isinstance(target, dict) or len(pairs) % 2:
            raise PickleError(f"its pickle sets items of {described(target)}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[key if _is_cheap_key(key) else Inert(None, key)] = value

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, dict):  # attributes of an OrderedDict (a state_dict's _metadata) are ignored
            raise PickleError(f"its pickle sets the state of {described(target)}")

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise PickleError(f"its pickle refers to object {key}, which does not exist")
        self.push(self.memo[key])

    def start(self) -> None:
        protocol = self.unsigned(1)
        if not 2 <= protocol <= 5:
            raise PickleError(f"its pickle has protocol {protocol}, expected 2 to 5")

    def dictionary(self) -> None:
        pairs = self.to_mark()
        self.push({})
        self.update(pairs)

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []


def _is_cheap_key(key: Any) -> bool:
    """Whether a value can be a dictionary key here. Others become an Inert, which hashes by identity.

    Hashing a nested tuple, or repeated comparison of long texts or numbers, can take arbitrarily long or overflow the
    C stack.
    """
    if isinstance(key, (str, bytes)):
        return len(key) <= _LONGEST_KEY
    if isinstance(key, int):
        return key.bit_length() <= 64
    return key is None or isinstance(key, float)


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _constant(value: object) -> Callable[[_Machine], None]:
    return lambda m: m.push(value)


def _fixed(width: int, convert: Callable[[bytes], object]) -> Callable[[_Machine], None]:
    return lambda m: m.push(convert(m.take(width)))


def _counted(width: int, convert: Callable[[bytes], object]) -> Callable[[_Machine], None]:
    return lambda m: m.push(convert(m.take(m.unsigned(width))))


_STOP = ord(".")

_STEPS: dict[int, Callable[[_Machine], object]] = {
    0x80: _Machine.start,
    0x95: lambda m: m.take(8),  # the length of a frame, useful only to stream readers
    # scalars
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("K"): _fixed(1, lambda b: b[0]),
    ord("M"): _fixed(2, lambda b: int.from_bytes(b, "little")),
    ord("J"): _fixed(4, _signed),
    ord("G"): _fixed(8, lambda b: struct.unpack(">d", b)[0]),
    0x8A: _counted(1, _signed),
    0x8B: _counted(4, _signed),
    ord("X"): _counted(4, _text),
    0x8C: _counted(1, _text),
    0x8D: _counted(8, _text),
    ord("B"): _counted(4, bytes),
    ord("C"): _counted(1, bytes),
    0x8E: _counted(8, bytes),
    0x96: _counted(8, bytes),
    # containers; a set is read as a list, because its members need not be hashable here
    ord("("): _Machine.mark,
    ord("0"): lambda m: m.stack.pop() if m.stack else m.to_mark(),
    ord("1"): _Machine.to_mark,
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord(")"): _constant(()),
    0x85: lambda m: m.push(m.popped(1)),
    0x86: lambda m: m.push(m.popped(2)),
    0x87: lambda m: m.push(m.popped(3)),
    ord("t"): lambda m: m.push(tuple(m.to_mark())),
    ord("]"): lambda m: m.push([]),
    0x8F: lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.to_mark()),
    0x91: lambda m: m.push(m.to_mark()),
    ord("a"): lambda m: m.extend([m.stack.pop()]),
    ord("e"): lambda m: m.extend(m.to_mark()),
    0x90: lambda m: m.extend(m.to_mark()),
    ord("}"): lambda m: m.push({}),
    ord("d"): _Machine.dictionary,
    ord("s"): lambda m: m.update(list(m.popped(2))),
    ord("u"): lambda m: m.update(m.to_mark()),
    # memo
    ord("q"): lambda m: m.remember(m.unsigned(1)),
    ord("r"): lambda m: m.remember(m.unsigned(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.unsigned(1)),
    ord("j"): lambda m: m.recall(m.unsigned(4)),
    # names and objects: descriptions only
    ord("c"): lambda m: m.push_global(m.line(), m.line()),
    0x93: lambda m: m.push_global(*m.popped(2)),
    ord("R"): lambda m: m.push_call(*m.popped(2)),
    0x81: lambda m: m.push_call(*m.popped(2)),
    0x92: lambda m: m.push_call(*m.popped(3)[:2]),
    ord("b"): _Machine.build,
    ord("Q"): lambda m: m.push(m.persistent(m.stack.pop())),
}
