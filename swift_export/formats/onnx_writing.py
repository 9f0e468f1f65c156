"""Writes ONNX files: in one piece, or with the weights in a second file if one piece would be too large.

Weights are copied from memory to the disk one by one, so that writing takes no memory for all of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import onnx
import onnx_ir as oir

from swift_export.errors import LoweringError

__all__ = ["ONE_PIECE", "data_of", "weightless", "write_model"]

#: An ONNX file is one protobuf message, which is limited to 2 GiB.
ONE_PIECE = 2**31 - 1
#: Bytes of the smallest constant that counts as a weight.
SMALL = 1024
#: Bytes from which a weight begins at a multiple of a page of memory, on any system; readers map such weights.
LARGE, PAGE = 2**20, 2**16
#: Smaller weights begin at a multiple of this, which every element type divides.
ALIGNMENT = 64

#: Numbers of fields in onnx.proto.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9

#: Weights by the name of their initializer.
Weights = Mapping[str, oir.TensorProtocol]


def write_model(model: oir.Model, path: Path, *, limit: int | None = None) -> Path | None:
    """Write a model to ``path``; its weights to a second file beside it if one of ``limit`` bytes cannot hold them.

    The limit is `ONE_PIECE` unless a smaller one is given. The second file is returned. Its name, ``STEM.DIGEST.data``,
    contains the beginning of its SHA-256, so that a model never reads the weights of another one that was written to
    the same place.

    Raises LoweringError if the graph without weights exceeds the limit.
    """
    limit = ONE_PIECE if limit is None else limit
    proto, weights = weightless(model)
    for tensor in proto.graph.initializer:
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    pieces = list(_pieces(proto, weights))
    if _size(pieces) <= limit:
        with path.open("wb") as file:
            for piece in pieces:
                _write(file, piece)
        return None
    if (size := len(_serialized(proto))) > limit:
        raise LoweringError(
            f"graph: expected at most {limit / 1e9:.2f} GB without its weights, the limit of an ONNX file, found "
            f"{size / 1e9:.2f} GB"
        )
    data = _write_data(proto, weights, path)
    path.write_bytes(_serialized(proto))
    return data


def data_of(path: Path) -> list[Path]:
    """The files that `write_model` wrote beside the model at ``path``."""
    if not path.is_file():
        return []
    path = path.resolve()
    named = re.compile(rf"{re.escape(path.stem)}\.[0-9a-f]{{16}}\.data")
    found = [file for file in path.parent.iterdir() if named.fullmatch(file.name)]
    content = path.read_bytes() if found else b""
    return [file for file in found if file.name.encode() in content]


def weightless(model: oir.Model) -> tuple[onnx.ModelProto, dict[str, oir.TensorProtocol]]:
    """A model without the elements of its weights, and the weights by name."""
    weights: dict[str, oir.TensorProtocol] = {}
    try:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and tensor.dtype != oir.DataType.STRING and tensor.nbytes >= SMALL:
                weights[name] = tensor
                empty = oir.ExternalTensor(
                    "-", None, None, tensor.dtype, shape=oir.Shape(tensor.shape.numpy()), name=name
                )
                empty.metadata_props.update(tensor.metadata_props)
                value.const_value = empty
        return oir.to_proto(model), weights
    finally:
        for name, tensor in weights.items():
            model.graph.initializers[name].const_value = tensor


def _pieces(proto: onnx.ModelProto, weights: Weights) -> Iterator[bytes | oir.TensorProtocol]:
    """The parts of the serialized model in order; weights stand for their elements."""
    inner: list[bytes | oir.TensorProtocol] = [_part(proto.graph, lambda number: number < _INITIALIZER)]
    for tensor in proto.graph.initializer:
        weight = weights.get(tensor.name)
        if weight is None:
            content = _serialized(tensor)
            inner += [_head(_INITIALIZER, len(content)), content]
            continue
        before = _part(tensor, lambda number: number < _RAW_DATA) + _head(_RAW_DATA, weight.nbytes)
        after = _part(tensor, lambda number: number > _RAW_DATA)
        inner += [_head(_INITIALIZER, len(before) + weight.nbytes + len(after)), before, weight, after]
    inner.append(_part(proto.graph, lambda number: number > _INITIALIZER))
    yield _part(proto, lambda number: number < _GRAPH)
    yield _head(_GRAPH, _size(inner))
    yield from inner
    yield _part(proto, lambda number: number > _GRAPH)


def _size(pieces: Sequence[bytes | oir.TensorProtocol]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece.nbytes for piece in pieces)


def _part(message: Any, wanted: Callable[[int], bool]) -> bytes:
    """The serialized fields of these numbers; a message's fields are serialized in the order of their numbers."""
    part = type(message)()
    part.CopyFrom(message)
    for field in message.DESCRIPTOR.fields:
        if not wanted(field.number):
            part.ClearField(field.name)
    return _serialized(part)


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _head(field: int, size: int) -> bytes:
    """The beginning of a field of this size: its number with the kind of its content, and the size."""
    return _varint(field << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


class _Digesting:
    """A file to write to, and the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self.digest.update(content)
        self.size += len(content)


def _write_data(proto: onnx.ModelProto, weights: Weights, path: Path) -> Path:
    """Write the weights to a file beside ``path``, and their places into the model."""
    places = {}
    with (draft := path.with_name("data")).open("wb") as opened:
        file = _Digesting(opened)
        for name, weight in weights.items():
            file.write(bytes(-file.size % (PAGE if weight.nbytes >= LARGE else ALIGNMENT)))
            places[name] = file.size, weight.nbytes
            _write(file, weight)
    data = draft.rename(path.with_name(f"{path.stem}.{file.digest.hexdigest()[:16]}.data"))
    for tensor in proto.graph.initializer:
        if tensor.name in places:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            offset, length = places[tensor.name]
            for key, value in (("location", data.name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
    return data


def _write(file: Any, piece: bytes | oir.TensorProtocol) -> None:
    if isinstance(piece, oir.Tensor | oir.ExternalTensor):
        piece.tofile(file)
    else:
        file.write(piece if isinstance(piece, bytes) else piece.tobytes())
