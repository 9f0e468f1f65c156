"""Writes the files that ``torch.save`` writes, byte by byte, and such as it never would.

Independent of the reader under test: the pickle is assembled instruction by instruction, the archive comes from
``zipfile``.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


@dataclass(eq=False)
class Tensor:
    """A tensor whose storage holds ``array``'s values; whatever else is given is claimed in the pickle instead."""

    array: np.ndarray
    kind: str | None = None
    length: Any = None
    offset: Any = 0
    shape: Any = None
    strides: Any = None
    key: str | None = None
    subclass: bool = False


@dataclass(frozen=True)
class Name:
    module: str
    name: str


@dataclass(eq=False)
class Call:
    """``function(*args)``, then optionally items and state as a pickle sets them."""

    function: Any
    args: tuple[Any, ...] = ()
    entries: Mapping[Any, Any] | None = None
    state: Any = None
    opcode: bytes = b"R"


@dataclass(frozen=True)
class Raw:
    """Instructions as they are."""

    code: bytes


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


class Writer:
    """Collects the storages that the pickle it writes refers to."""

    def __init__(self) -> None:
        self.storages: dict[str, np.ndarray] = {}

    def code(self, value: Any) -> bytes:
        match value:
            case Raw(code):
                return code
            case None | True | False:
                return {None: b"N", True: b"\x88", False: b"\x89"}[value]
            case int() if -(2**31) <= value < 2**31:
                return b"J" + struct.pack("<i", value)
            case int():
                data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
                return b"\x8b" + struct.pack("<I", len(data)) + data
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                data = value.encode("utf-8", "surrogatepass")
                return b"X" + struct.pack("<I", len(data)) + data
            case bytes():
                return b"B" + struct.pack("<I", len(value)) + value
            case tuple():
                return b"(" + b"".join(map(self.code, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.code, value)) + b"e"
            case dict():
                return b"}" + self.items(value)
            case Name(module, name):
                return b"c" + f"{module}\n{name}\n".encode()
            case Call():
                code = self.code(value.function) + self.code(value.args) + value.opcode
                code += self.items(value.entries) if value.entries is not None else b""
                return code + (self.code(value.state) + b"b" if value.state is not None else b"")
            case Tensor():
                return self.tensor(value)
        raise TypeError(type(value))

    def items(self, entries: Mapping[Any, Any]) -> bytes:
        return b"(" + b"".join(self.code(k) + self.code(v) for k, v in entries.items()) + b"u"

    def tensor(self, tensor: Tensor) -> bytes:
        key = tensor.key or str(len(self.storages))
        self.storages.setdefault(key, tensor.array)
        shape = tensor.array.shape if tensor.shape is None else tensor.shape
        strides = contiguous(shape) if tensor.strides is None else tensor.strides
        length = tensor.array.size if tensor.length is None else tensor.length
        kind = Name("torch", tensor.kind or STORAGES[tensor.array.dtype.newbyteorder("=").name])
        reference = self.code(("storage", kind, key, "cpu", length)) + b"Q"
        hooks = Call(Name("collections", "OrderedDict"))
        rest = b"".join(map(self.code, (tensor.offset, shape, strides, False, hooks)))
        arguments = b"(" + reference + rest + b"t"
        rebuild = self.code(Name("torch._utils", "_rebuild_tensor_v2"))
        if not tensor.subclass:
            return rebuild + arguments + b"R"
        wrapper = self.code(Name("torch._tensor", "_rebuild_from_type_v2"))
        return wrapper + b"(" + rebuild + self.code(Name("my.package", "Tensor")) + arguments + b"}tR"


def dumps(value: Any) -> bytes:
    """Protocol 2 pickle of a value; the storages of its tensors are lost."""
    return b"\x80\x02" + Writer().code(value) + b"."


def write(path: Path, content: Any, *, extra: Mapping[str, bytes] | None = None, **settings: Any) -> Path:
    """A whole checkpoint file; ``settings`` are those of ``write_archive``."""
    writer = Writer()
    pickle = content if isinstance(content, bytes) else b"\x80\x02" + writer.code(content) + b"."
    members = {"data.pkl": pickle, "byteorder": b"little", **(extra or {})}
    members |= {f"data/{key}": array.tobytes() for key, array in writer.storages.items()}
    members["version"] = b"3\n"
    return write_archive(path, members, **settings)


def write_archive(
    path: Path, members: Mapping[str, bytes], *, root: str = "archive/", compression: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(root + name, data)
    return path


def checkpoint(state: Mapping[str, np.ndarray], hyper_parameters: Any, **more: Any) -> dict[str, Any]:
    """The content of a Lightning checkpoint."""
    tensors = {key: value if isinstance(value, Call) else Tensor(np.asarray(value)) for key, value in state.items()}
    return {
        "epoch": 8,
        "global_step": 94896,
        "pytorch-lightning_version": "1.6.5",
        "state_dict": Call(Name("collections", "OrderedDict"), entries=tensors),
        "hyper_parameters": hyper_parameters,
        **more,
    }
