"""The server's addresses: the Open Inference Protocol over HTTP, and metrics."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from swift_export._version import __version__
from swift_export.errors import SwiftExportError
from swift_export.serving.access import Access
from swift_export.serving.batching import Batcher
from swift_export.serving.descriptions import extensions, model_config, model_index, model_metadata
from swift_export.serving.guarded_http import FILL
from swift_export.serving.inference import HEADER_LENGTH, Reply, infer
from swift_export.serving.page_files import add_page
from swift_export.serving.refusals import Busy, ClientGone, Stopping, Unauthorized, Unknown, logged, status_of
from swift_export.serving.region_routes import add_regions
from swift_export.serving.repository import Loaded, Repository
from swift_export.serving.scan_desk import ScanDesk
from swift_export.serving.scan_models import ScanModels
from swift_export.serving.scan_routes import add_scans
from swift_export.serving.serve_log import ServeLog
from swift_export.serving.serve_metrics import CONTENT_TYPE, ServeMetrics
from swift_export.serving.serve_settings import ServeSettings
from swift_export.serving.served_model import ServedModel
from swift_export.serving.shared_memory import Regions
from swift_export.serving.trace_context import trace_of
from swift_export.system.text import error_line, shown

__all__ = ["Service", "create_app"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: The status for a client that hung up, which it never sees: for metrics and the log.
_GONE = 499


class Service:
    """What all addresses share. ``draining`` is true once the server has been told to end."""

    def __init__(self, repository: Repository, settings: ServeSettings, log: ServeLog | None = None):
        self.repository = repository
        self.settings = settings
        self.log = log or ServeLog()
        self.batcher = Batcher(settings)
        self.metrics = ServeMetrics()
        self.access = Access(settings)
        self.regions = Regions(settings.shared_memory)
        self.draining = False
        for source in repository.sources:
            self.metrics.watch_depth(source.name, partial(self.batcher.depth, source.name))
        for model in repository.models.values():
            self.loaded(Loaded(model.name, model))
        repository.listeners.append(self.loaded)
        # Afterwards: reading how scans are prepared takes longer than telling of a load.
        models = ScanModels(repository, settings.runtime)
        self.scans = ScanDesk(models, settings, self.batcher, self.metrics, lambda: self.draining)

    @property
    def ready(self) -> bool:
        """Whether requests are accepted."""
        return self.repository.ready and not self.draining

    def loaded(self, loaded: Loaded) -> None:
        """Record an attempt to load a model, in any thread."""
        self.metrics.loaded(loaded)
        if loaded.model is None:
            kept = self.repository.models.get(loaded.name)
            self.log.event("load failed", "error", model=loaded.name, error=loaded.error, serving=kept and kept.version)
            return
        model, info = loaded.model, loaded.model.session.info
        self.log.event(
            "loaded",
            model=model.name,
            version=model.version,
            runtime=f"{info.name} {info.version}",
            golden=model.golden,
            best_batch=model.best_batch,
        )
        if model.note:
            self.log.event("weights", "warning", model=model.name, note=model.note)


def create_app(repository: Repository, settings: ServeSettings, log: ServeLog | None = None) -> FastAPI:
    """The application for the models of ``repository``; its state holds the `Service`."""
    service = Service(repository, settings, log)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        repository.watch()
        yield
        repository.close()
        service.batcher.close()
        service.regions.close()

    # Pages of FastAPI's own would load scripts from elsewhere.
    app = FastAPI(title="swift-export", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.service = service
    app.add_exception_handler(HTTPException, _unknown_address)
    app.add_middleware(_Gate, service=service)
    _add_health(app, service)
    _add_models(app, service)
    add_regions(app, service.regions, settings.timeout_s)
    add_scans(app, service.scans)
    add_page(app)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/v2")
    async def server() -> dict[str, Any]:
        return {"name": "swift-export", "version": __version__, "extensions": extensions(service.regions.enabled)}

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)


def _add_models(app: FastAPI, service: Service) -> None:
    repository = service.repository

    def found(request: Request, name: str, version: str | None) -> ServedModel:
        model = repository.find(name, version)
        request.state.model = model.name
        return model

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
        return model_metadata(found(request, name, version))

    @app.get("/v2/models/{name}/config")
    @app.get("/v2/models/{name}/versions/{version}/config")
    async def config(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
        return model_config(found(request, name, version), service.settings.max_batch)

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready")
    async def model_ready(request: Request, name: str, version: str | None = None) -> JSONResponse:
        model = found(request, name, version)
        return JSONResponse({"name": model.name, "ready": service.ready}, 200 if service.ready else 503)

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer")
    async def model_infer(request: Request, name: str, version: str | None = None) -> Response:
        if service.draining:
            raise Stopping("the server ends; try another one")
        model = found(request, name, version)
        fill_rest = request.scope.get("extensions", {}).get(FILL, {}).get("rest")
        reply = await infer(
            model,
            service.batcher,
            service.settings,
            service.metrics,
            service.regions,
            request.receive,
            request.headers,
            None if request.client is None else request.client.host,
            fill_rest,
        )
        return _Answer(reply, model.name, service.metrics)

    @app.post("/v2/repository/index")
    async def index() -> list[dict[str, str]]:
        return model_index(repository)


class _Answer(Response):
    """The answer to an inference, sent part by part without joining them."""

    def __init__(self, reply: Reply, model: str, metrics: ServeMetrics):
        binary = reply.header_length is not None
        headers = {"content-length": str(reply.size)}
        if binary:
            headers[HEADER_LENGTH] = str(reply.header_length)
        super().__init__(None, headers=headers, media_type="application/octet-stream" if binary else "application/json")
        self._reply, self._model, self._metrics = reply, model, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        began = time.monotonic()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        *parts, last = self._reply.parts
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": last})
        self._metrics.stage(self._model, "send", time.monotonic() - began)


async def _unknown_address(request: Request, error: Exception) -> Response:
    """The answer for an address or a method that there is not."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _refusal(Unknown(f"{shown(request.url.path)}: expected an address of the server, found none"))
    why = str(error.detail)
    if error.status_code == 405 and error.headers:
        why = f"{shown(request.url.path)}: expected {error.headers['Allow']}, found {shown(request.method)}"
    return JSONResponse({"error": why}, error.status_code, error.headers)


def _refusal(error: SwiftExportError) -> JSONResponse:
    headers = {}
    if isinstance(error, Busy):
        headers["retry-after"] = str(error.retry_s)
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, Stopping):
        headers["connection"] = "close"
    return JSONResponse({"error": str(error)}, status_of(error), headers)


class _Gate:
    """Lets requests in or refuses them, turns errors into answers, and records every answer."""

    def __init__(self, app: Application, service: Service):
        self._app, self._service = app, service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, service, method = time.monotonic(), self._service, scope["method"]
        if method == "HEAD":  # the answer of GET, whose body uvicorn leaves out
            scope = {**scope, "method": "GET"}
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        trace = trace_of(headers.get("traceparent"))
        scope.setdefault("state", {})
        status: int | None = None
        facts: dict[str, Any] = {}

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"traceparent", trace.header.encode())]
            await send(message)

        try:
            service.access.check(scope["path"], headers.get("authorization"), headers.get("host"))
            await self._app(scope, receive, send_on)
        except ClientGone:
            status = _GONE
        except SwiftExportError as error:
            facts["error"] = logged(error)
            await _refusal(error)(scope, receive, send_on)
        except Exception as error:
            facts["error"] = f"{type(error).__name__}: {error_line(error)}"
            if status is not None:
                raise
            answer = JSONResponse({"error": "the server failed; its log tells why"}, 500)
            await answer(scope, receive, send_on)
        finally:
            if "error" in scope["state"]:  # of an answer that had begun
                facts["error"] = scope["state"]["error"]
            route = getattr(scope.get("route"), "path", "other")
            model = scope["state"].get("model", "")
            service.metrics.answered(route, model, status or 500)
            service.log.event(
                "request",
                "info" if (status or 500) < 500 else "error",
                method=method,
                route=route,
                **({"model": model} if model else {}),
                status=status,
                ms=round(1000 * (time.monotonic() - began), 1),
                trace=trace.trace_id,
                span=trace.span,
                **facts,
            )
