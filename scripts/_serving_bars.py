"""Acceptance limits of the server: time and memory beyond the session, throughput, and a storm of clients."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _client_storm import GOOD, Storm
from _stock_clients import Send, stock_clients

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

__all__ = ["serving_bars"]

Bar = tuple[str, str, str, bool]

_CLIP, _FEATURES = (1, 1, 96, 96, 96, 20), (1, 288, 2, 2, 2, 20)
_LENGTH = "inference-header-content-length"
_CALLS, _QUEUED = 7, 8
_ROUNDS, _CLIPS = 3, 6
_REQUESTS, _CLIENTS = 2000, 16
_MEGABYTE = 1e6

#: The session that the server has, alone: loaded, and run until told to end; prints the seconds of each inference.
_ALONE = """
import sys, time
from pathlib import Path
import numpy as np
from swift_export.serving.served_model import load_model
model = load_model(Path(sys.argv[1]), "alone")
clip = np.random.default_rng(0).standard_normal((1, 1, 96, 96, 96, 20), np.float32)
model.infer({"bold": clip})
print("loaded", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line)):
        model.infer({"bold": clip})
    print(time.perf_counter() - start, flush=True)
"""


def serving_bars(scratch: Path) -> Iterator[Bar]:
    """Name, limit, measured value and verdict of each figure."""
    artifact = scratch / "artifact"
    _command("onnx", "--variant", "contrastive", "--weights", "synthetic", "--no-check", "-o", artifact)
    with _alone(artifact) as alone, _served(artifact, "--batching", "off") as server:
        yield from _beyond(server)
        yield from _memory(server, alone)
        yield _throughput(server, alone)
    tiny = scratch / "tiny"
    _command("onnx", "--weights", GOLDEN / "tiny-full" / "checkpoint.ckpt", "--no-check", "-o", tiny)
    yield from _storm(tiny)


class _Served:
    """A server process."""

    def __init__(self, process: subprocess.Popen[str], port: int, grpc_port: int, name: str):
        self.process, self.port, self.grpc_port, self.name = process, port, grpc_port, name

    def memory(self, kind: str) -> int:
        """Bytes by ``/proc``: VmRSS, or VmHWM, the peak."""
        return _memory_of(self.process.pid, kind)

    @property
    def descriptors(self) -> int:
        """The number of open files."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stages(self) -> dict[str, float]:
        """Seconds of all requests so far in each stage."""
        text = self.call("GET", "/metrics")[1].decode()
        found = re.findall(r'swift_export_stage_seconds_sum\{model="[^"]*",stage="(\w+)"\} (\S+)', text)
        return {stage: float(seconds) for stage, seconds in found}

    def call(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def infer(self, clip: np.ndarray) -> None:
        """Send a clip; raises RuntimeError unless there are features."""
        headers = {_LENGTH: "0", "content-length": str(clip.nbytes)}
        status, body = self.call("POST", f"/v2/models/{self.name}/infer", clip.reshape(-1).view(np.uint8).data, headers)
        if status != 200:
            raise RuntimeError(body)


def _beyond(server: _Served) -> Iterator[Bar]:
    """Time of a request beyond its inference."""
    clip = np.random.default_rng(0).standard_normal(_CLIP, np.float32)
    clients: dict[str, tuple[float, Send]] = {"http.client": (0.25, server.infer)}
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
            what = f"`serve`: a clip of 70.8 MB by {name}, time beyond inference"
            yield what, f"<= {limit:.2f} s", text, found <= limit


def _memory(server: _Served, alone: subprocess.Popen[str]) -> Iterator[Bar]:
    """Memory of the server, at its peak, beyond that of the same session alone."""
    session = _memory_of(alone.pid, "VmHWM")
    one = server.memory("VmHWM") - session
    yield "its memory beyond the session, one request", "<= 200 MB", f"{one / _MEGABYTE:.0f} MB", one <= 200e6
    clip = np.random.default_rng(1).standard_normal(_CLIP, np.float32)
    with ThreadPoolExecutor(_QUEUED + 1) as clients:
        list(clients.map(server.infer, [clip] * (_QUEUED + 1)))
    queued = server.memory("VmHWM") - session
    yield f"the same, {_QUEUED} queued", "<= 700 MB", f"{queued / _MEGABYTE:.0f} MB", queued <= 700e6


def _throughput(server: _Served, alone: subprocess.Popen[str]) -> Bar:
    """Clips a second of a server with clients waiting, against the session alone, in turn."""
    clip = np.random.default_rng(2).standard_normal(_CLIP, np.float32)
    ratios = []
    for _ in range(_ROUNDS):
        direct = _time_alone(alone, _CLIPS)
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as clients:
            list(clients.map(server.infer, [clip] * _CLIPS))
        ratios.append(direct / (time.perf_counter() - start))
    found = median(ratios)
    text = f"{100 * found:.0f}%, clients on the same machine"
    return "throughput at saturation, against the session alone", ">= 95%", text, found >= 0.95


def _storm(tiny: Path) -> Iterator[Bar]:
    """A storm of clients, and the end of the server during another one."""
    from swift_export.serving.served_model import load_model

    direct = load_model(tiny, "direct")
    with _served(tiny, "--timeout", "10", "--batching", "on", "--max-batch", "2") as server:
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


def _ended(server: _Served) -> Bar:
    """SIGTERM while clients send: each of them gets an answer, or finds nobody there."""
    told: list[int] = []

    def client() -> None:
        clip = np.zeros((1, 1, 48, 48, 48, 8), np.float32).tobytes()
        for _ in range(10_000):
            try:
                told.append(server.call("POST", f"/v2/models/{server.name}/infer", clip, {_LENGTH: "0"})[0])
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


@contextmanager
def _served(artifact: Path, *options: str) -> Iterator[_Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        grpc_port = free.getsockname()[1]
    access = ("--port", "0", "--grpc-port", str(grpc_port), "--shared-memory", "--no-token")
    words = [*_words("serve", artifact, *access, "--queue", "20"), *options]
    process = subprocess.Popen(words, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        found = re.search(r"http://127\.0\.0\.1:(\d+)/v2/models/(\S+)", process.stdout.readline())
        assert found
        yield _Served(process, int(found[1]), grpc_port, found[2])
    finally:
        process.kill()
        process.wait()


@contextmanager
def _alone(artifact: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-P", "-c", _ALONE, str(artifact)]
    with subprocess.Popen(
        words, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        assert process.stdin
        process.stdin.close()


def _time_alone(alone: subprocess.Popen[str], clips: int) -> float:
    assert alone.stdin
    assert alone.stdout
    print(clips, file=alone.stdin, flush=True)
    return float(alone.stdout.readline())


def _memory_of(pid: int, kind: str) -> int:
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])


def _command(*arguments: str | Path) -> None:
    done = subprocess.run([*_words(*arguments), "--quiet"], env=_environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: exit status {done.returncode}: {done.stderr}")


def _words(*arguments: str | Path) -> Sequence[str]:
    return [sys.executable, "-P", "-m", "swift_export", *map(str, arguments)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}
