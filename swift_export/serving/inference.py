"""One request for inference: received, computed in its turn, and answered."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from swift_export.errors import InputError
from swift_export.serving.batching import Answered, Batcher
from swift_export.serving.bodies import Body, FillRest, Receive
from swift_export.serving.refusals import ClientGone, TooLarge
from swift_export.serving.serve_metrics import ServeMetrics
from swift_export.serving.serve_settings import ServeSettings
from swift_export.serving.served_model import ServedModel
from swift_export.serving.shared_memory import Regions, read, write
from swift_export.serving.tensors import (
    InferRequest,
    WireInput,
    encode_answer,
    from_json,
    parse_request,
    raw_request,
    values_of,
)
from swift_export.system.arrays import dtype_of
from swift_export.system.text import shown

__all__ = ["HEADER_LENGTH", "MOST_JSON", "Reply", "Submit", "array_of", "body_limit", "check_items", "compute", "infer"]

#: The header with the length of the JSON before binary tensors.
HEADER_LENGTH = "inference-header-content-length"
#: Most bytes of JSON: its numbers take ten times the memory, and other requests wait while it is read.
MOST_JSON = 16 * 2**20
#: Largest inputs of a model whose dimensions do not tell how large they can be.
_MOST_UNKNOWN = 256 * 2**20
#: Inputs from this size are converted in another thread.
_LARGE = 1 << 16

#: Computes inputs.
Submit = Callable[[dict[str, np.ndarray]], Awaitable[Answered]]


@dataclass(frozen=True)
class Reply:
    """The body of an answer in parts, and the length of its JSON if bytes follow."""

    parts: list[bytes | memoryview]
    header_length: int | None

    @property
    def size(self) -> int:
        """The number of bytes of all parts."""
        return sum(map(len, self.parts))


def body_limit(model: ServedModel, max_batch: int) -> int:
    """The largest body that can be a request: ``max_batch`` items as bytes, and JSON."""
    total = 0
    for spec in model.inputs:
        batched = model.batched and bool(spec.dims)
        sizes = spec.dims[1:] if batched else spec.dims
        if not all(isinstance(dim, int) for dim in sizes):
            return _MOST_UNKNOWN
        items = max_batch if batched else 1
        total += items * dtype_of(spec.dtype).itemsize * math.prod(dim for dim in sizes if isinstance(dim, int))
    return total + MOST_JSON


async def infer(
    model: ServedModel,
    batcher: Batcher,
    settings: ServeSettings,
    metrics: ServeMetrics,
    regions: Regions,
    receive: Receive,
    headers: Mapping[str, str],
    client: str | None,
    fill_rest: FillRest | None = None,
) -> Reply:
    """Answer a request of the client at an address.

    Raises the refusals of bodies, queues and shared memory, InputError for a bad request, MachineError if the runtime
    fails, and ClientGone if the client hangs up.
    """
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    with batcher.reserve(model):
        limit = body_limit(model, settings.max_batch)
        body = Body(receive, headers, limit, loop.time() + settings.timeout_s, model.name, fill_rest)
        request, arrays = await _received(body, model, headers, settings.max_batch)
        metrics.stage(model.name, "receive", time.monotonic() - began)
        metrics.received(model.name, body.received)
        deadline = loop.time() + min(settings.timeout_s, request.timeout_s or settings.timeout_s)
        answered, parameters = await compute(
            model,
            request,
            arrays,
            lambda inputs: _while_connected(batcher, model, inputs, deadline, receive),
            metrics,
            regions,
            client,
        )
    small = all(request.outputs.values()) or sum(a.nbytes for a in answered.outputs.values()) < _LARGE
    if small:
        length, parts = encode_answer(model, request, answered.outputs, parameters)
    else:
        length, parts = await asyncio.to_thread(encode_answer, model, request, answered.outputs, parameters)
    if sum(map(len, parts)) < _LARGE:
        parts = [b"".join(parts)]
    return Reply(parts, length)


async def compute(
    model: ServedModel,
    request: InferRequest,
    arrays: dict[str, np.ndarray],
    submit: Submit,
    metrics: ServeMetrics,
    regions: Regions,
    client: str | None,
) -> tuple[Answered, dict[str, Any]]:
    """Compute a request whose inputs in its body are in ``arrays``, and return the parameters of its answer, too.

    Inputs in shared memory are read, and outputs that go there are written.
    """
    inputs = [wire for wire in request.inputs if wire.place is not None]
    if inputs or request.places:
        regions.allow(client)
    found = regions.find(*(wire.place for wire in inputs if wire.place), *request.places.values())
    for wire in inputs:
        assert wire.place is not None
        raw = np.empty(wire.shape, dtype_of(wire.sent))
        await asyncio.to_thread(read, found[wire.place], wire.place, raw.reshape(-1).view(np.uint8).data)
        arrays[wire.name] = await array_of(wire, raw)
    answered = await submit(arrays)
    for name, place in request.places.items():
        source = np.ascontiguousarray(answered.outputs[name]).reshape(-1).view(np.uint8).data
        await asyncio.to_thread(write, found[place], place, source)
    metrics.stage(model.name, "queue", answered.queued_s)
    metrics.stage(model.name, "compute", answered.computed_s)
    metrics.batch(model.name, answered.batch_items)
    return answered, {"batch": answered.batch, "batch_items": answered.batch_items, "batch_offset": answered.offset}


def check_items(model: ServedModel, request: InferRequest, max_batch: int) -> None:
    """Raise TooLarge for a batch of more than ``max_batch`` items, and inputs of no known size that are too large."""
    if model.batched and request.items > max_batch:
        raise TooLarge(
            f"{model.name}: expected at most {max_batch} items in a request, found {request.items}; send several, or "
            "start the server with a larger --max-batch"
        )
    size, limit = sum(wire.size for wire in request.inputs), body_limit(model, max_batch)
    if size > limit:
        raise TooLarge(f"{model.name}: expected inputs of at most {limit:,} bytes, found {size:,}")


async def array_of(wire: WireInput, raw: np.ndarray) -> np.ndarray:
    """An input as the model takes it, from the array that was sent; in another thread where that takes long."""
    if wire.sent == wire.dtype or raw.nbytes < _LARGE:
        return values_of(wire, raw)
    return await asyncio.to_thread(values_of, wire, raw)


async def _received(
    body: Body, model: ServedModel, headers: Mapping[str, str], max_batch: int
) -> tuple[InferRequest, dict[str, np.ndarray]]:
    """The request and its inputs, as the model takes them."""
    stated = headers.get(HEADER_LENGTH)
    if stated is None:
        text = await body.rest(MOST_JSON)
        request = parse_request(text, model)
    elif (length := _header_length(stated, model)) == 0:
        if body.size is None:
            raise InputError(f"{model.name}: expected a content-length of a body without JSON, found none")
        request = raw_request(body.size, model)
    else:
        request = parse_request(await body.read(length, "JSON"), model)
    check_items(model, request, max_batch)
    if stated is None and request.size:
        raise InputError(f"{model.name}: expected the header {HEADER_LENGTH}, as bytes follow the JSON, found none")
    if body.size is not None and stated is not None and body.size != int(stated) + request.size:
        raise InputError(
            f"{model.name}: expected {request.size:,} bytes of tensors behind {int(stated):,} bytes of JSON, found "
            f"{body.size - int(stated):,}"
        )
    arrays: dict[str, np.ndarray] = {}
    for wire in request.inputs:
        if wire.place is not None:
            continue
        if wire.data is None:
            raw = np.empty(wire.shape, dtype_of(wire.sent))
            await body.fill(raw.reshape(-1).view(np.uint8).data, wire.name)
        elif wire.size < _LARGE:
            raw = from_json(wire, model.name)
        else:
            raw = await asyncio.to_thread(from_json, wire, model.name)
        arrays[wire.name] = await array_of(wire, raw)
    await body.end()
    return request, arrays


async def _while_connected(
    batcher: Batcher, model: ServedModel, arrays: dict[str, np.ndarray], deadline: float, receive: Receive
) -> Answered:
    """Compute a request; withdraw it if the client hangs up."""
    computing = asyncio.ensure_future(batcher.submit(model, arrays, deadline))
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        # Python would keep the arrays alive with this call's arguments.
        del arrays
        await asyncio.wait((computing, gone), return_when=asyncio.FIRST_COMPLETED)
        if not computing.done():
            raise ClientGone
        return computing.result()
    finally:
        for task in (computing, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _header_length(stated: str, model: ServedModel) -> int:
    if not stated.isascii() or not stated.isdigit() or len(stated) > 12 or int(stated) > MOST_JSON:
        raise InputError(f"{model.name}: {HEADER_LENGTH}: expected at most {MOST_JSON:,} bytes, found {shown(stated)}")
    return int(stated)
