"""The Open Inference Protocol over gRPC: the same models, queues, limits and words as over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from swift_export._version import __version__
from swift_export.errors import InputError, SwiftExportError
from swift_export.serving.descriptions import extensions, model_config, model_index, model_metadata
from swift_export.serving.grpc_tensors import InferMessage, encode_message, parse_message
from swift_export.serving.inference import compute
from swift_export.serving.protocol.message_classes import METHODS, SERVICE, message_class
from swift_export.serving.refusals import Busy, Stopping, TooLarge, TooSlow, status_of
from swift_export.serving.trace_context import Trace, trace_of
from swift_export.serving.web import Service
from swift_export.system.text import error_line

__all__ = ["GrpcService"]

#: The code for each status of HTTP that a refusal has.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
#: Methods that need no token, as over HTTP, by the address there.
_PROBES = {"ServerLive": "/v2/health/live", "ServerReady": "/v2/health/ready"}
#: Most bytes of a message that holds no tensors.
_MOST_SMALL = 2**16
#: Outputs from this size are written in another thread.
_LARGE = 2**16

Answer = Callable[[Any], dict[str, Any]]


class GrpcService(grpc.GenericRpcHandler):
    """The methods of the protocol.

    Each is served as if it took a stream of messages, which is the same on the wire: so a call is let in or refused
    before the server reads a message, which may be a clip of 71 MB.
    """

    def __init__(self, service: Service):
        self._service = service
        self._places = service.settings.queue * len(service.repository.sources)
        self._small: dict[str, Answer] = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": service.ready},
            "ServerMetadata": lambda _: self._about(),
            "ModelReady": lambda asked: {"ready": self._ready(asked)},
            "ModelMetadata": self._metadata,
            "ModelConfig": lambda asked: {"config": model_config(self._model(asked), service.settings.max_batch)},
            "RepositoryIndex": lambda _: {"models": model_index(service.repository)},
            "SystemSharedMemoryStatus": lambda asked: {
                "regions": {found["name"]: found for found in service.regions.status(asked.name)}
            },
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
        }

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; None for one that there is not."""
        path, _, method = handler_call_details.method.rpartition("/")
        if path != f"/{SERVICE}" or method not in METHODS:
            return None

        async def handler(_: Any, context: Any) -> bytes:
            return await self._call(method, context)

        return grpc.stream_unary_rpc_method_handler(handler)

    async def _call(self, method: str, context: Any) -> bytes:
        """Answer a call: errors become status codes, and the end is recorded."""
        began, service = time.monotonic(), self._service
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        trace = trace_of(metadata.get("traceparent"))
        facts: dict[str, Any] = {}
        code, message = grpc.StatusCode.UNKNOWN, ""
        more: tuple[tuple[str, str], ...] = ()
        try:
            await context.send_initial_metadata((("traceparent", trace.header),))
            service.access.check(_PROBES.get(method, method), metadata.get("authorization"), None)
            answer: bytes = await (self._infer if method == "ModelInfer" else self._answer)(method, context, facts)
            code = grpc.StatusCode.OK
            return answer
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except SwiftExportError as error:
            code, message = _CODES.get(status_of(error), grpc.StatusCode.INTERNAL), str(error)
            if isinstance(error, Busy):
                more = (("grpc-retry-pushback-ms", str(1000 * error.retry_s)),)
            facts["error"] = message
        except Exception as error:
            code, message = grpc.StatusCode.INTERNAL, "the server failed; its log tells why"
            facts["error"] = f"{type(error).__name__}: {error_line(error)}"
        finally:
            self._record(method, code, time.monotonic() - began, trace, facts)
        await context.abort(code, message, more)
        raise AssertionError  # abort raises

    def _record(self, method: str, code: Any, took_s: float, trace: Trace, facts: Mapping[str, Any]) -> None:
        fault = code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
        self._service.metrics.answered(f"/{SERVICE}/{method}", facts.get("model", ""), code.name)
        self._service.log.event(
            "request",
            "error" if fault else "info",
            method="gRPC",
            route=f"/{SERVICE}/{method}",
            status=code.name,
            ms=round(1000 * took_s, 1),
            trace=trace.trace_id,
            span=trace.span,
            **facts,
        )

    async def _answer(self, method: str, context: Any, facts: dict[str, Any]) -> bytes:
        """Answer a method that takes and returns no tensors."""
        taken, returned = METHODS[method]
        data = await self._message(context)
        if len(data) > _MOST_SMALL:
            raise TooLarge(f"{method}: expected a message of at most {_MOST_SMALL:,} bytes, found {len(data):,}")
        try:
            asked = message_class(taken).FromString(data)
        except DecodeError:
            raise InputError(f"{method}: expected {taken}, found other bytes") from None
        if method.startswith("SystemSharedMemory"):
            self._service.regions.allow(_client(context))
        answer: bytes = message_class(returned)(**self._small[method](asked)).SerializeToString()
        return answer

    async def _infer(self, method: str, context: Any, facts: dict[str, Any]) -> bytes:
        service = self._service
        loop, began, settings = asyncio.get_running_loop(), time.monotonic(), service.settings
        if service.draining:
            raise Stopping("the server ends; try another one")
        with self._place():
            data = await self._message(context)
            message = InferMessage(data)
            model = service.repository.find(message.model_name, message.model_version)
            facts["model"] = model.name
            with service.batcher.reserve(model):
                request, arrays = await parse_message(message, model, settings.max_batch)
                service.metrics.received(model.name, len(data))
                service.metrics.stage(model.name, "receive", time.monotonic() - began)
                del data, message  # of 71 MB; the arrays keep what they need
                limits = (settings.timeout_s, request.timeout_s, context.time_remaining())
                deadline = loop.time() + min(limit for limit in limits if limit is not None)
                answered, parameters = await compute(
                    model,
                    request,
                    arrays,
                    lambda inputs: service.batcher.submit(model, inputs, deadline),
                    service.metrics,
                    service.regions,
                    _client(context),
                )
            encode = partial(encode_message, model, request, answered.outputs, parameters)
            large = sum(array.nbytes for array in answered.outputs.values()) >= _LARGE
            return await asyncio.to_thread(encode) if large else encode()

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place for a message, before it is known for which model it is; raises Busy if all are taken."""
        if not self._places:
            raise Busy("expected fewer requests at the same time; try again later")
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    async def _message(self, context: Any) -> bytes:
        """The message of a call; raises TooSlow if it does not arrive in time, InputError if there is none."""
        limit = self._service.settings.timeout_s
        try:
            async with asyncio.timeout(limit):
                data = await context.read()
        except TimeoutError:
            raise TooSlow("expected the whole message within the time limit, found less") from None
        if not isinstance(data, bytes):
            # The end of the stream; of a client that hung up, the end of the call follows at once.
            await asyncio.sleep(0.05)
            raise InputError("expected a message, found none")
        return data

    def _model(self, asked: Any) -> Any:
        return self._service.repository.find(asked.name, asked.version)

    def _ready(self, asked: Any) -> bool:
        self._model(asked)
        return self._service.ready

    def _metadata(self, asked: Any) -> dict[str, Any]:
        described = model_metadata(self._model(asked))
        described.pop("parameters", None)  # for which the protocol over gRPC has no field
        return described

    def _register(self, asked: Any) -> dict[str, Any]:
        self._service.regions.register(asked.name, asked.key, asked.offset, asked.byte_size)
        return {}

    def _unregister(self, asked: Any) -> dict[str, Any]:
        self._service.regions.unregister(asked.name)
        return {}

    def _about(self) -> dict[str, Any]:
        known = extensions(self._service.regions.enabled)
        return {"name": "swift-export", "version": __version__, "extensions": known}


def _client(context: Any) -> str | None:
    """The client's address, of a peer such as ipv4:127.0.0.1:4321 or ipv6:[::1]:4321."""
    kind, _, address = unquote(context.peer()).partition(":")
    return address.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else None
