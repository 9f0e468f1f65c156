"""Tensors of the Open Inference Protocol: what a request says of its inputs, and what an answer holds.

A tensor is a list of numbers in JSON, or bytes behind the JSON (the binary tensor extension). An input of a model of
float32 or float64 may also be sent in half the bytes: as FP16, BF16, or INT16 with the parameters ``scale`` and
``offset``, which mean ``value = scale * integer + offset``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swift_export.errors import InputError
from swift_export.serving.served_model import ServedModel
from swift_export.serving.shared_memory import Place, place_of
from swift_export.system.arrays import dtype_of, is_float
from swift_export.system.text import listed, shown

__all__ = [
    "DATATYPES",
    "InferRequest",
    "WireInput",
    "datatype_of",
    "encode_answer",
    "from_json",
    "parse_request",
    "raw_request",
    "request_of",
    "values_of",
]

#: The protocol's names of element types. BYTES, its strings, have no counterpart among exported models.
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
}
_NUMPY = {name: dtype for dtype, name in DATATYPES.items()}
#: The narrow types that a wide input may be sent in.
_NARROW = {"float16", "bfloat16", "int16"}
#: Elements of an answer that are written as JSON at once: other threads wait for so many.
_AT_ONCE = 16_384
#: Most tensors of a request and longest shape: models have fewer.
_MOST_TENSORS, _MOST_DIMS = 256, 32


@dataclass(frozen=True)
class WireInput:
    """An input of a request: as it is sent, and the element type that the model takes.

    ``data`` are the elements in JSON; None if ``size`` bytes follow instead, or are in shared memory at ``place``.
    """

    name: str
    dtype: str
    sent: str
    shape: tuple[int, ...]
    size: int
    data: Any = None
    scale: float = 1.0
    offset: float = 0.0
    place: Place | None = None


@dataclass(frozen=True)
class InferRequest:
    """What the JSON of a request says.

    ``outputs`` are the wanted ones, each with whether it is wanted as bytes; ``timeout_s`` is the client's own limit.
    ``items`` is the number of items in its batch, and ``places`` are where outputs go that go to shared memory.
    """

    id: str | None
    inputs: tuple[WireInput, ...]
    outputs: Mapping[str, bool]
    items: int
    timeout_s: float | None = None
    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The number of bytes behind the JSON."""
        return sum(one.size for one in self.inputs if one.data is None and one.place is None)


def datatype_of(dtype: str) -> str:
    """The protocol's name of an element type; raises InputError for one that it lacks."""
    if dtype not in DATATYPES:
        raise InputError(f"{dtype}: expected one of {', '.join(DATATYPES)}, which the protocol can send")
    return DATATYPES[dtype]


def parse_request(text: bytes | bytearray, model: ServedModel) -> InferRequest:
    """The request in the JSON of a body; raises InputError, with the part that is wrong."""
    where = model.name
    try:
        body = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: expected a request as JSON, found other text ({shown(error)})") from None
    return request_of(_object(body, where, "the request"), model)


def request_of(body: Mapping[str, Any], model: ServedModel) -> InferRequest:
    """The request in an object of JSON, in which ``data`` may also be arrays; raises like `parse_request`."""
    where = model.name
    parameters = _object(body.get("parameters", {}), where, "parameters")
    request_id = body.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InputError(f"{where}: id: expected text, found {shown(request_id)}")
    inputs = tuple(_input(entry, model) for entry in _list(body.get("inputs"), where, "inputs"))
    names = [one.name for one in inputs]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: inputs: expected each once, found {listed(names)}")
    items = model.check({one.name: one.shape for one in inputs})
    default = _flag(parameters, "binary_data_output", where)
    outputs, places = _outputs(body.get("outputs"), default, model)
    return InferRequest(request_id, inputs, outputs, items, _timeout(parameters, where), places)


def raw_request(size: int, model: ServedModel) -> InferRequest:
    """The request of a body without JSON: the bytes of the model's only input; all outputs are wanted as bytes.

    Raises InputError if the model has several inputs, or if no shape follows from the size.
    """
    (spec, *more) = model.inputs
    unknown = [dim for dim in spec.dims if isinstance(dim, str)]
    if more or len(unknown) > 1:
        raise InputError(f"{model.name}: expected a request with JSON: the body alone does not tell inputs and shapes")
    item = dtype_of(spec.dtype).itemsize * math.prod(dim for dim in spec.dims if isinstance(dim, int))
    count = size // item
    if size != item * count or count < 1 or (not unknown and count != 1):
        raise InputError(f"{model.name}: {spec.name}: expected {spec}, {item:,} bytes each, found {size:,} bytes")
    shape = tuple(count if isinstance(dim, str) else dim for dim in spec.dims)
    wire = WireInput(spec.name, spec.dtype, spec.dtype, shape, size)
    items = model.check({spec.name: shape})
    return InferRequest(None, (wire,), {output.name: True for output in model.outputs}, items)


def values_of(wire: WireInput, raw: np.ndarray) -> np.ndarray:
    """An input as the model takes it, from the array that was sent."""
    if wire.sent == wire.dtype:
        return raw
    if wire.sent != "int16":
        return raw.astype(wire.dtype)
    values = raw.astype(wire.dtype)
    values *= values.dtype.type(wire.scale)
    values += values.dtype.type(wire.offset)
    return values


def from_json(wire: WireInput, where: str) -> np.ndarray:
    """The array of an input in JSON, nested or flat; raises InputError for other elements, or another number."""
    sent = dtype_of(wire.sent)
    try:
        array = np.asarray(wire.data)
        kinds = {"b": "b", "i": "iu", "u": "iu"}.get(sent.kind, "iuf")
        if array.dtype.kind not in kinds:
            raise ValueError(f"values of another type, {array.dtype}")
        if sent.kind in "iu" and array.size and not _holds(sent, array):
            raise ValueError("numbers out of its range")
        with np.errstate(over="ignore"):
            narrow = array.astype(sent)
        if sent.kind not in "biu" and np.isinf(narrow).sum() > np.isinf(array).sum():
            raise ValueError("numbers out of its range")
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: {wire.name}: expected {DATATYPES[wire.sent]}, found {shown(error)}") from None
    if narrow.size != math.prod(wire.shape):
        raise InputError(
            f"{where}: {wire.name}: expected {math.prod(wire.shape):,} elements for its shape, found {narrow.size:,}"
        )
    return narrow.reshape(wire.shape)


def encode_answer(
    model: ServedModel, request: InferRequest, outputs: Mapping[str, np.ndarray], parameters: Mapping[str, Any]
) -> tuple[int | None, list[bytes | memoryview]]:
    """The parts of an answer's body, and the length of its JSON if bytes follow.

    Raises InputError for values that JSON does not have.
    """
    head: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        head["id"] = request.id
    head["parameters"] = dict(parameters)
    described: list[bytes] = []
    behind: list[bytes | memoryview] = []
    for name, binary in request.outputs.items():
        array = np.ascontiguousarray(outputs[name])
        entry: dict[str, Any] = {"name": name, "datatype": datatype_of(array.dtype.name), "shape": list(array.shape)}
        if place := request.places.get(name):
            entry["parameters"] = place.described(array.nbytes)
            described.append(json.dumps(entry).encode())
        elif binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
            # Of a type that NumPy lacks, the bytes.
            behind.append(array.reshape(-1).view(np.uint8).data)
            described.append(json.dumps(entry).encode())
        else:
            start = json.dumps(entry)[:-1].encode()
            described.append(b"".join([start, b', "data": [', *_numbers(model.name, name, array), b"]}"]))
    text = b"".join([json.dumps(head)[:-1].encode(), b', "outputs": [', b", ".join(described), b"]}"])
    return (len(text) if behind else None), [text, *behind]


def _numbers(where: str, name: str, array: np.ndarray) -> Iterator[bytes]:
    if is_float(array.dtype):
        if not np.isfinite(array).all():
            raise InputError(f"{where}: {name}: has values that JSON lacks, NaN or infinite; ask for it as binary data")
        array = array.astype(np.float64)
    flat = array.reshape(-1)
    for start in range(0, flat.size, _AT_ONCE):
        text = json.dumps(flat[start : start + _AT_ONCE].tolist())[1:-1]
        yield (", " if start else "").encode() + text.encode()


def _input(entry: Any, model: ServedModel) -> WireInput:
    where = model.name
    entry = _object(entry, where, "an input")
    name = _text(entry, "name", f"{where}: an input")
    spec = next((spec for spec in model.inputs if spec.name == name), None)
    if spec is None:
        raise InputError(
            f"{where}: expected the inputs {listed(spec.name for spec in model.inputs)}, found {shown(name)}"
        )
    where = f"{where}: {name}"
    datatype = _text(entry, "datatype", where)
    sent = _NUMPY.get(datatype)
    narrowed = sent in _NARROW and spec.dtype in ("float32", "float64")
    if sent is None or not (sent == spec.dtype or narrowed):
        raise InputError(f"{where}: expected {datatype_of(spec.dtype)}, {spec}, found {shown(datatype)}")
    shape = _shape(entry.get("shape"), where)
    parameters = _object(entry.get("parameters", {}), where, "parameters")
    place = place_of(parameters, where)
    scale, offset = 1.0, 0.0
    if narrowed and sent == "int16":
        scale, offset = _number(parameters, "scale", where), _number(parameters, "offset", where, 0.0)
        if not abs(scale) * 2**15 + abs(offset) <= float(np.finfo(spec.dtype).max):
            raise InputError(f"{where}: expected a scale and an offset for values of {spec.dtype}, found larger ones")
    size = dtype_of(sent).itemsize * math.prod(shape)
    stated = parameters.get("binary_data_size") if place is None else place.size
    data = entry.get("data")
    if (stated is None) == (data is None):
        found = "neither" if data is None else "both"
        raise InputError(f"{where}: expected either data or the parameter binary_data_size, found {found}")
    if stated is not None and (isinstance(stated, bool) or stated != size):
        raise InputError(f"{where}: expected {size:,} bytes for {datatype} {list(shape)}, found {shown(stated)}")
    return WireInput(name, spec.dtype, sent, shape, size, data, scale, offset, place)


def _outputs(entries: Any, default: bool, model: ServedModel) -> tuple[dict[str, bool], dict[str, Place]]:
    known = [spec.name for spec in model.outputs]
    if entries is None or entries == []:
        return dict.fromkeys(known, default), {}
    wanted: dict[str, bool] = {}
    places: dict[str, Place] = {}
    for entry in _list(entries, model.name, "outputs"):
        entry = _object(entry, model.name, "an output")
        name = _text(entry, "name", f"{model.name}: an output")
        if name not in known:
            raise InputError(f"{model.name}: expected outputs among {listed(known)}, found {shown(name)}")
        if name in wanted:
            raise InputError(f"{model.name}: outputs: expected each once, found {name} twice")
        parameters = _object(entry.get("parameters", {}), f"{model.name}: {name}", "parameters")
        if "classification" in parameters:
            raise InputError(
                f"{model.name}: {name}: classification: expected none, this server gives the tensor itself"
            )
        place = place_of(parameters, f"{model.name}: {name}")
        if place is not None:
            places[name] = place
        wanted[name] = place is not None or _flag(parameters, "binary_data", f"{model.name}: {name}", default)
    return wanted, places


def _timeout(parameters: Mapping[str, Any], where: str) -> float | None:
    """The client's limit, which Triton's clients send in microseconds; none if 0."""
    if "timeout" not in parameters:
        return None
    micros = _number(parameters, "timeout", where)
    if micros < 0:
        raise InputError(f"{where}: timeout: expected microseconds, found {shown(micros)}")
    return micros / 1e6 or None


def _holds(sent: np.dtype, array: np.ndarray) -> bool:
    limits = np.iinfo(sent)
    return int(array.min()) >= limits.min and int(array.max()) <= limits.max


def _object(found: Any, where: str, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise InputError(f"{where}: {what}: expected an object, found {shown(found)}")
    return found


def _list(found: Any, where: str, what: str) -> Sequence[Any]:
    if not isinstance(found, list) or not found or len(found) > _MOST_TENSORS:
        what_is = f"a list of {len(found):,}" if isinstance(found, list) else shown(found)
        raise InputError(f"{where}: {what}: expected a list of 1 to {_MOST_TENSORS} tensors, found {what_is}")
    return found


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    found = entry.get(key)
    if not isinstance(found, str):
        raise InputError(f"{where}: {key}: expected text, found {shown(found)}")
    return found


def _shape(found: Any, where: str) -> tuple[int, ...]:
    right = isinstance(found, list) and len(found) <= _MOST_DIMS
    if not right or not all(type(size) is int and 0 <= size < 2**40 for size in found):
        raise InputError(f"{where}: shape: expected a list of sizes, found {shown(found)}")
    return tuple(found)


def _number(parameters: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    found = parameters.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e300:
        raise InputError(f"{where}: {key}: expected a number, found {shown(found)}")
    return float(found)


def _flag(parameters: Mapping[str, Any], key: str, where: str, default: bool = False) -> bool:
    found = parameters.get(key, default)
    if not isinstance(found, bool):
        raise InputError(f"{where}: {key}: expected true or false, found {shown(found)}")
    return found
