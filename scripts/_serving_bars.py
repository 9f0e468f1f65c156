"""Acceptance limits of the server: time and memory beyond the session, throughput, and a storm of clients."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from _client_storm import GOOD, Storm
from _commands import command
from _serving_processes import LENGTH, Served, alone, memory_of, saturate, served, time_alone
from _stock_clients import stock_clients

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"

__all__ = ["serving_bars"]

Bar = tuple[str, str, str, bool]

_CLIP, _FEATURES = (1, 1, 96, 96, 96, 20), (1, 288, 2, 2, 2, 20)
_CALLS, _QUEUED = 7, 8
_ROUNDS, _CLIPS = 5, 6
#: As many as the processors that the limits are for.
_INSTANCES = 2
_REQUESTS, _CLIENTS = 2000, 16
_MEGABYTE = 1e6


def serving_bars(scratch: Path) -> Iterator[Bar]:
    """Name, limit, measured value and verdict of each figure."""
    artifact = scratch / "artifact"
    command("onnx", "--variant", "contrastive", "--weights", "synthetic", "--no-check", "-o", artifact)
    with alone(artifact) as session:
        with served(artifact, "--batching", "off") as server:
            yield from _memory(server, session)  # first: the allocator keeps part of what gRPC takes
            yield from _beyond(server)
            one = _throughput(server, session)
        with served(artifact, "--batching", "off", "--instances", str(_INSTANCES)) as server:
            both = _throughput(server, session)
            more = server.memory("VmHWM") - memory_of(session.pid, "VmHWM")
        text = (
            f"{100 * both:.0f}% with --instances {_INSTANCES} (memory +{more / _MEGABYTE:.0f} MB), "
            f"{100 * one:.0f}% without; clients on the same processors"
        )
        yield "throughput at saturation, against the session alone", ">= 95%", text, both >= 0.95
    tiny = scratch / "tiny"
    command("onnx", "--weights", GOLDEN / "tiny-full" / "checkpoint.ckpt", "--no-check", "-o", tiny)
    yield from _storm(tiny)


def _beyond(server: Served) -> Iterator[Bar]:
    """Time of a request beyond its inference."""
    clip = np.random.default_rng(0).standard_normal(_CLIP, np.float32)
    clients: dict[str, tuple[float, Callable[[np.ndarray], object]]] = {"http.client": (0.25, server.infer)}
    with ExitStack() as stack:
        if find_spec("tritonclient"):
            stock = stock_clients(server.port, server.grpc_port, server.name, clip, _FEATURES)
            clients |= stack.enter_context(stock)
        for name, (limit, send) in clients.items():
            send(clip)
            beyond = []
            for _ in range(_CALLS):
                before = server.stages()["compute"]
                start = time.perf_counter()
                send(clip)
                took = time.perf_counter() - start
                beyond.append(took - (server.stages()["compute"] - before))
            found = median(beyond)
            text = f"{found:.3f} s, at best {min(beyond):.3f} s"
            what = f"a clip of 70.8 MB by {name}, time beyond inference"
            yield what, f"<= {limit:.2f} s", text, found <= limit


def _memory(server: Served, session: subprocess.Popen[str]) -> Iterator[Bar]:
    """Memory of the server, at its peak, beyond that of the same session alone."""
    clip = np.random.default_rng(1).standard_normal(_CLIP, np.float32)
    known = memory_of(session.pid, "VmHWM")
    server.infer(clip)
    one = server.memory("VmHWM") - known
    what = "`serve`: memory beyond the session, one request over HTTP"
    yield what, "<= 200 MB", f"{one / _MEGABYTE:.0f} MB", one <= 200e6
    with ThreadPoolExecutor(_QUEUED + 1) as clients:
        list(clients.map(server.infer, [clip] * (_QUEUED + 1)))
    queued = server.memory("VmHWM") - known
    yield f"the same, {_QUEUED} queued", "<= 700 MB", f"{queued / _MEGABYTE:.0f} MB", queued <= 700e6


def _throughput(server: Served, session: subprocess.Popen[str]) -> float:
    """Clips a second of a server with clients waiting, against the session alone, in turn."""
    clip = np.random.default_rng(2).standard_normal(_CLIP, np.float32)
    ratios = []
    for _ in range(_ROUNDS):
        direct = time_alone(session, _CLIPS)
        ratios.append(direct / saturate(server.infer, clip, _CLIPS))
    return median(ratios)


def _storm(tiny: Path) -> Iterator[Bar]:
    """A storm of clients, and the end of the server during another one."""
    from swift_export.serving.served_model import load_model

    direct = load_model(tiny, "direct")
    with served(tiny, "--timeout", "10", "--batching", "on", "--max-batch", "2") as server:
        storm = Storm(server.port, server.name, "bold", (1, 48, 48, 48, 8))
        storm.run(_REQUESTS // 4, _CLIENTS, seed=1)  # until the allocator has what so many clients take
        before, open_files = server.memory("VmRSS"), server.descriptors
        storm = Storm(server.port, server.name, "bold", (1, 48, 48, 48, 8))
        storm.run(_REQUESTS, _CLIENTS)
        good = storm.check(lambda x: direct.infer({"bold": x})["features"])
        time.sleep(2)
        growth, leaked = server.memory("VmRSS") / before - 1, server.descriptors - open_files
        faults = len(storm.faults) + (good != sum(storm.outcomes[kind, 200] for kind in GOOD))
        text = f"{good} good answers, {faults} faults, memory {100 * growth:+.1f}%, {leaked:+d} descriptors"
        met = not faults and growth <= 0.05 and leaked <= 0 and server.process.poll() is None
        limit = "good ones bit-identical, bad ones 4xx, memory within 5%, no leak"
        yield f"{_REQUESTS} requests of {_CLIENTS} clients, most of them bad", limit, text, met
        for fault in storm.faults[:5]:
            print(fault, file=sys.stderr)
        yield _ended(server)


def _ended(server: Served) -> Bar:
    """SIGTERM while clients send: each of them gets an answer, or finds nobody there."""
    told: list[int] = []

    def client() -> None:
        clip = np.zeros((1, 1, 48, 48, 48, 8), np.float32).tobytes()
        for _ in range(10_000):
            try:
                told.append(server.call("POST", f"/v2/models/{server.name}/infer", clip, {LENGTH: "0"})[0])
            except (ConnectionError, http.client.HTTPException):
                return

    threads = [threading.Thread(target=client) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    status = server.process.wait(60)
    text = f"{told.count(200)} answered, {len(told) - told.count(200)} refused, exit status {status}"
    met = status == 0 and set(told) <= {200, 429, 503}
    return "SIGTERM under load", "every request answered or refused", text, met
