"""What the server measures of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from swift_export._version import __version__
from swift_export.serving.repository import Loaded

__all__ = ["CONTENT_TYPE", "ServeMetrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_PREFIX = "swift_export"


class ServeMetrics:
    """Counters of one server. Labels are names of loaded models and of the server's own, never a client's text."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            f"{_PREFIX}_requests",
            "Answered requests, by route and status.",
            ["route", "model", "status"],
            registry=registry,
        )
        self._stages = Histogram(
            f"{_PREFIX}_stage_seconds",
            "Time of a request in each stage: receive, queue, compute, send; of a scan: receive, scan.",
            ["model", "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            f"{_PREFIX}_batch_items",
            "Items of the batch of each request.",
            ["model"],
            buckets=_SIZES,
            registry=registry,
        )
        self._received = Counter(f"{_PREFIX}_received_bytes", "Bytes of inputs.", ["model"], registry=registry)
        self._loads = Counter(f"{_PREFIX}_loads", "Attempts to load a model.", ["model", "result"], registry=registry)
        self._failing = Gauge(
            f"{_PREFIX}_reload_failing", "1 if the last attempt to load a model failed.", ["model"], registry=registry
        )
        self._info = Gauge(
            f"{_PREFIX}_model_info",
            "The loaded version of a model.",
            ["model", "version", "runtime"],
            registry=registry,
        )
        self._depth = Gauge(
            f"{_PREFIX}_queue_depth", "Requests received, waiting or computed.", ["model"], registry=registry
        )
        self._versions: dict[str, tuple[str, str]] = {}
        Gauge(f"{_PREFIX}_build_info", "The server.", ["version"], registry=registry).labels(__version__).set(1)

    def answered(self, route: str, model: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(route, model, str(status)).inc()

    def stage(self, model: str, stage: str, seconds: float) -> None:
        """Record the time of a request in a stage."""
        self._stages.labels(model, stage).observe(seconds)

    def batch(self, model: str, items: int) -> None:
        """Record the size of the batch of a request."""
        self._batches.labels(model).observe(items)

    def received(self, model: str, size: int) -> None:
        """Count the bytes of a request's inputs."""
        self._received.labels(model).inc(size)

    def loaded(self, loaded: Loaded) -> None:
        """Record an attempt to load a model."""
        failed = loaded.model is None
        self._loads.labels(loaded.name, "failed" if failed else "loaded").inc()
        self._failing.labels(loaded.name).set(failed)
        if loaded.model is not None:
            if loaded.name in self._versions:
                self._info.remove(loaded.name, *self._versions[loaded.name])
            self._versions[loaded.name] = (loaded.model.version, loaded.model.session.info.name)
            self._info.labels(loaded.name, *self._versions[loaded.name]).set(1)

    def watch_depth(self, model: str, depth: Callable[[], int]) -> None:
        """Let ``depth`` tell the length of a model's queue."""
        self._depth.labels(model).set_function(depth)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        text: bytes = generate_latest(self._registry)
        return text
