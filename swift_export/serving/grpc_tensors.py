"""Requests and answers for inference as messages of gRPC. Raw tensors stay where they are in the message's bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from swift_export.errors import InputError
from swift_export.serving.inference import array_of, check_items
from swift_export.serving.protocol.message_classes import message_class
from swift_export.serving.protocol.wire import append_bytes, split_bytes
from swift_export.serving.refusals import TooLarge
from swift_export.serving.served_model import ServedModel
from swift_export.serving.tensors import InferRequest, datatype_of, from_json, request_of
from swift_export.system.arrays import dtype_of
from swift_export.system.text import shown

__all__ = ["InferMessage", "encode_message", "parse_message"]

#: The fields of raw tensors in a request and in an answer.
_RAW_INPUTS, _RAW_OUTPUTS = 7, 6
#: Most bytes of a request but its raw tensors: protobuf takes many times as many for small parts.
_MOST_REST = 4 * 2**20
#: The field of contents, and the array's type, for each type that need not be raw.
_CONTENTS = {
    "BOOL": ("bool_contents", np.bool_),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", np.int32)),
    "INT64": ("int64_contents", np.int64),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", np.uint32)),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
}


class InferMessage:
    """A request's message: its raw tensors, as views of the message's bytes, and the rest, parsed.

    Raises InputError for bytes that are no request, TooLarge if too many are not raw.
    """

    def __init__(self, data: bytes):
        try:
            rest, self.raw = split_bytes(data, _RAW_INPUTS)
            if len(rest) > _MOST_REST:
                raise TooLarge(
                    f"expected at most {_MOST_REST:,} bytes beside raw_input_contents, found {len(rest):,}; send "
                    "tensors as raw_input_contents"
                )
            self.rest = message_class("ModelInferRequest").FromString(rest)
        except (ValueError, DecodeError) as error:
            raise InputError(f"expected ModelInferRequest, found other bytes ({shown(error)})") from None
        self.model_name: str = self.rest.model_name
        self.model_version: str = self.rest.model_version


async def parse_message(
    message: InferMessage, model: ServedModel, max_batch: int
) -> tuple[InferRequest, dict[str, np.ndarray]]:
    """The request, and those of its inputs that are in the message, as the model takes them.

    Raises InputError with the part that is wrong, TooLarge for too large a batch.
    """
    rest, where = message.rest, model.name
    asked = {
        **({"id": rest.id} if rest.id else {}),
        "parameters": _parameters(rest.parameters, where),
        "inputs": [_described(entry, where) for entry in rest.inputs],
        "outputs": [
            {"name": entry.name, "parameters": _parameters(entry.parameters, f"{where}: {shown(entry.name)}")}
            for entry in rest.outputs
        ],
    }
    asked["parameters"]["binary_data_output"] = True
    sent = [entry for entry in asked["inputs"] if "shared_memory_region" not in entry["parameters"]]
    raw: dict[str, memoryview] = {}
    if message.raw:
        if len(message.raw) != len(sent):
            raise InputError(
                f"{where}: raw_input_contents: expected {len(sent)}, one for each input, found {len(message.raw)}"
            )
        for entry, content in zip(sent, message.raw, strict=True):
            if "data" in entry:
                raise InputError(
                    f"{where}: {shown(entry['name'])}: expected either contents or raw contents, found both"
                )
            entry["parameters"]["binary_data_size"] = len(content)
            raw[entry["name"]] = content
    elif absent := [shown(entry["name"]) for entry in sent if "data" not in entry]:
        raise InputError(f"{where}: {absent[0]}: expected raw_input_contents or contents, found neither")
    request = request_of(asked, model)
    check_items(model, request, max_batch)
    arrays: dict[str, np.ndarray] = {}
    for wire in request.inputs:
        if wire.place is not None:
            continue
        if wire.name in raw:
            array = np.frombuffer(raw[wire.name], dtype_of(wire.sent))
            # A runtime may need elements at their own boundaries, where a message has them by chance alone.
            if not array.flags.aligned:
                array = await asyncio.to_thread(array.copy)
            arrays[wire.name] = await array_of(wire, array.reshape(wire.shape))
        else:
            arrays[wire.name] = await array_of(wire, await asyncio.to_thread(from_json, wire, where))
    return request, arrays


def encode_message(
    model: ServedModel, request: InferRequest, outputs: Mapping[str, np.ndarray], parameters: Mapping[str, int]
) -> bytes:
    """The bytes of an answer."""
    answer = message_class("ModelInferResponse")(
        model_name=model.name, model_version=model.version, id=request.id or ""
    )
    for key, value in parameters.items():
        answer.parameters[key].int64_param = value
    raw: list[bytes | memoryview] = []
    for name in request.outputs:
        array = np.ascontiguousarray(outputs[name])
        entry = answer.outputs.add(name=name, datatype=datatype_of(array.dtype.name), shape=array.shape)
        if place := request.places.get(name):
            for key, value in place.described(array.nbytes).items():
                _set(entry.parameters[key], value)
            raw.append(b"")  # clients count them
        else:
            raw.append(array.reshape(-1).view(np.uint8).data)
    return append_bytes(answer.SerializeToString(), _RAW_OUTPUTS, raw)


def _described(entry: Any, where: str) -> dict[str, Any]:
    """An input as JSON describes it."""
    where = f"{where}: {shown(entry.name)}"
    parameters = _parameters(entry.parameters, where)
    parameters.pop("binary_data_size", None)
    found = {"name": entry.name, "datatype": entry.datatype, "shape": list(entry.shape), "parameters": parameters}
    filled = [field.name for field, _ in entry.contents.ListFields()]
    if filled:
        name, kind = _CONTENTS.get(entry.datatype, ("raw_input_contents", None))
        if filled != [name] or kind is None:
            raise InputError(f"{where}: expected {name} for {shown(entry.datatype)}, found {shown(filled[0])}")
        values = getattr(entry.contents, name)
        found["data"] = np.fromiter(values, kind, len(values))
    return found


def _parameters(entries: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Parameters by name, as JSON has them."""
    found = {}
    for key, value in entries.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise InputError(f"{where}: {shown(key)}: expected a value, found none")
        found[key] = getattr(value, choice)
    return found


def _set(parameter: Any, value: str | int) -> None:
    if isinstance(value, str):
        parameter.string_param = value
    else:
        parameter.int64_param = value
