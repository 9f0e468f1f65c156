"""The embedded server and the session that it has, as processes, and a client that sends a clip as bytes."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _commands import environment, free_port, words

__all__ = [
    "LENGTH",
    "SATURATING",
    "Served",
    "alone",
    "call",
    "memory_of",
    "saturate",
    "send_clip",
    "served",
    "time_alone",
]

#: Clients that send without pause.
SATURATING = 3
#: The header with the length of the JSON in front of the tensors.
LENGTH = "inference-header-content-length"

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


class Served:
    """A server process."""

    def __init__(self, process: subprocess.Popen[str], port: int, grpc_port: int, name: str):
        self.process, self.port, self.grpc_port, self.name = process, port, grpc_port, name

    def memory(self, kind: str) -> int:
        """Bytes by ``/proc``: VmRSS, or VmHWM, the peak."""
        return memory_of(self.process.pid, kind)

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
        return call(self.port, method, path, body, headers)

    def infer(self, clip: np.ndarray) -> bytes:
        """Send a clip and return the answer; raises RuntimeError unless there are features."""
        return send_clip(self.port, self.name, clip)


def call(port: int, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, bytes]:
    """Status and body of the answer of a server on this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send_clip(port: int, name: str, clip: np.ndarray) -> bytes:
    """The answer of a server of the Open Inference Protocol to a clip sent as bytes; its end is the outputs.

    Raises RuntimeError for an error.
    """
    headers = {LENGTH: "0", "content-length": str(clip.nbytes), "content-type": "application/octet-stream"}
    status, body = call(port, "POST", f"/v2/models/{name}/infer", clip.reshape(-1).view(np.uint8).data, headers)
    if status != 200:
        raise RuntimeError(f"expected an answer of {name}, found status {status}: {body[:200]!r}")
    return body


def saturate(send: Callable[[np.ndarray], object], clip: np.ndarray, clips: int) -> float:
    """Seconds for ``clips`` clips of so many clients that one of them always waits, for up to two instances."""
    start = time.perf_counter()
    with ThreadPoolExecutor(SATURATING) as clients:
        list(clients.map(send, [clip] * clips))
    return time.perf_counter() - start


@contextmanager
def served(artifact: Path, *options: str) -> Iterator[Served]:
    """``swift-export serve`` for the block."""
    grpc_port = free_port()
    access = ("--port", "0", "--grpc-port", str(grpc_port), "--shared-memory", "--no-token")
    told = [word for word in words("serve", artifact, *access, "--queue", "20") if word != "--quiet"]
    with subprocess.Popen(
        [*told, *options], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not (found := re.search(r"http://127\.0\.0\.1:(\d+)/v2/models/(\S+)", line)):
                raise RuntimeError(f"{' '.join(told)}: expected its address, found {line!r}")
            yield Served(process, int(found[1]), grpc_port, found[2])
        finally:
            process.kill()


@contextmanager
def alone(artifact: Path) -> Iterator[subprocess.Popen[str]]:
    """The session of an artifact in a process without a server."""
    told = [sys.executable, "-P", "-c", _ALONE, str(artifact)]
    with subprocess.Popen(told, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        assert process.stdin
        process.stdin.close()


def time_alone(process: subprocess.Popen[str], clips: int) -> float:
    """Seconds for ``clips`` inferences in the process of `alone`."""
    assert process.stdin
    assert process.stdout
    print(clips, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def memory_of(pid: int, kind: str) -> int:
    """Bytes of a process by ``/proc``: VmRSS, or VmHWM, the peak."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])
