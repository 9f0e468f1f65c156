"""Clients that a server has to survive: good ones, and those that hang up, lie, send garbage or never finish."""

from __future__ import annotations

import gzip
import json
import random
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["GOOD", "KINDS", "Storm"]

LENGTH = "inference-header-content-length"
Session = Callable[[np.ndarray], np.ndarray]


@dataclass
class Part:
    """A good answer: the item that was sent, by its seed, and the result, with its place in the batch."""

    seed: int
    half: bool
    offset: int
    items: int
    result: np.ndarray


@dataclass
class Storm:
    """Clients of one model of one float32 input (batch, ...) and one float32 output (batch, ...).

    ``shape`` is that of one item. ``outcomes`` counts the answers by kind of request and status; ``faults`` lists what
    should not have happened.
    """

    port: int
    model: str
    name: str
    shape: tuple[int, ...]
    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    batches: dict[int, list[Part]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, requests: int, clients: int, seed: int = 0) -> None:
        """Send ``requests`` of all kinds, in random order, from ``clients`` threads."""
        draw = random.Random(seed)
        kinds = [*KINDS, *GOOD * 4]
        jobs = [(number, kinds[number % len(kinds)]) for number in range(requests)]
        draw.shuffle(jobs)

        def work() -> None:
            while True:
                with self._lock:
                    if not jobs:
                        return
                    number, kind = jobs.pop()
                try:
                    self._one(number, kind)
                except Exception as error:
                    with self._lock:
                        self.faults.append(f"{kind}: {type(error).__name__}: {error}")

        threads = [threading.Thread(target=work) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def item(self, seed: int, half: bool = False) -> np.ndarray:
        """A good input of one item."""
        x = np.random.default_rng(seed).standard_normal((1, *self.shape), np.float32)
        return x.astype(np.float16) if half else x

    def check(self, direct: Session) -> int:
        """Compare every good answer with the session run directly on its batch, to the bit; returns their number."""
        for number, parts in self.batches.items():
            parts.sort(key=lambda part: part.offset)
            together = np.concatenate([self.item(part.seed, part.half).astype(np.float32) for part in parts])
            if len(together) != parts[0].items:
                # Somebody who hung up, or whose answer was not read, was computed with these.
                continue
            if not np.array_equal(direct(together), np.concatenate([part.result for part in parts])):
                self.faults.append(f"batch {number}: another result than the session's")
        return sum(map(len, self.batches.values()))

    def _one(self, number: int, kind: str) -> None:
        # Who is told to come again, does.
        for _ in range(2000):
            status, body, head = getattr(self, f"_send_{kind}")(number)
            if status != 429:
                break
            time.sleep(0.02)
        with self._lock:
            self.outcomes[kind, status] += 1
            if kind in GOOD:
                if status != 200:
                    self.faults.append(f"{kind}: {status} {body[:200]!r}")
                    return
                told = head["parameters"]
                part = Part(number, kind == "half_size", told["batch_offset"], told["batch_items"], _result(head, body))
                self.batches[told["batch"]].append(part)
            elif kind not in _UNANSWERED and not (400 <= status < 500 and json.loads(body)["error"]):
                self.faults.append(f"{kind}: {status} {body[:200]!r}")

    def _request(self, array: np.ndarray, datatype: str | None = None, **changes: Any) -> tuple[bytes, bytes]:
        """Headers and body of a request with one binary input; ``changes`` make it a wrong one."""
        kind = datatype or {"float32": "FP32", "float16": "FP16"}[array.dtype.name]
        size = {"binary_data_size": array.nbytes}
        entry = {"name": self.name, "datatype": kind, "shape": list(array.shape), "parameters": size, **changes}
        text = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
        return self._head(len(text) + array.nbytes, f"{LENGTH}: {len(text)}\r\n"), text + array.tobytes()

    def _head(self, length: int, more: str = "") -> bytes:
        start = f"POST /v2/models/{self.model}/infer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        return f"{start}content-length: {length}\r\n{more}\r\n".encode()

    def _call(self, *parts: bytes, wait: float = 60.0) -> tuple[int, bytes, Any]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            for part in parts:
                # Who is refused early may find the connection closed; the answer is there.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(part)
            return _answer(connection)

    def _send_bytes(self, number: int) -> tuple[int, bytes, Any]:
        return self._call(*self._request(self.item(number)))

    def _send_half_size(self, number: int) -> tuple[int, bytes, Any]:
        return self._call(*self._request(self.item(number, half=True)))

    def _send_encoded(self, number: int) -> tuple[int, bytes, Any]:
        head, body = self._request(self.item(number))
        encoded = gzip.compress(body, 1)
        lines = [line for line in head.decode().split("\r\n")[:-2] if not line.startswith("content-length")]
        lines += [f"content-length: {len(encoded)}", "content-encoding: gzip", "", ""]
        return self._call("\r\n".join(lines).encode(), encoded)

    def _send_hang_up(self, number: int) -> tuple[int, bytes, Any]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            for part in self._request(self.item(number)):
                connection.sendall(part)
            time.sleep(random.random() / 50)
        return 0, b"", None

    def _send_half_body(self, number: int) -> tuple[int, bytes, Any]:
        head, body = self._request(self.item(number))
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(head + body[: len(body) // 2])
        return 0, b"", None

    def _send_slow(self, number: int) -> tuple[int, bytes, Any]:
        head, body = self._request(self.item(number))
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(head)
            connection.settimeout(0.05)
            for at in range(len(body) - 1):
                with suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
                    connection.sendall(body[at : at + 1])
                    if found := connection.recv(1, socket.MSG_PEEK):
                        assert found
                        break
            connection.settimeout(60)
            return _answer(connection)

    def _send_wrong_shape(self, number: int) -> tuple[int, bytes, Any]:
        return self._call(*self._request(self.item(number)[..., :-1].copy()))

    def _send_wrong_type(self, number: int) -> tuple[int, bytes, Any]:
        return self._call(*self._request(self.item(number), "INT32"))

    def _send_wrong_size(self, number: int) -> tuple[int, bytes, Any]:
        head, body = self._request(self.item(number), parameters={"binary_data_size": 4})
        return self._call(head, body)

    def _send_longer(self, number: int) -> tuple[int, bytes, Any]:
        head, body = self._request(self.item(number))
        stated = f"content-length: {len(body)}".encode()
        return self._call(head.replace(stated, f"content-length: {len(body) + 9}".encode()), body, bytes(9))

    def _send_garbage(self, number: int) -> tuple[int, bytes, Any]:
        return self._call(random.Random(number).randbytes(500) + b"\r\n\r\n")

    def _send_no_json(self, number: int) -> tuple[int, bytes, Any]:
        body = random.Random(number).randbytes(1000)
        return self._call(self._head(len(body)), body)

    def _send_tenfold(self, number: int) -> tuple[int, bytes, Any]:
        body = self._request(self.item(number))[1]
        # Beyond any limit, and as much of it as ten good ones.
        return self._call(self._head(2**40, f"{LENGTH}: 100\r\n"), body * 10)


GOOD = ("bytes", "half_size", "encoded")
KINDS = tuple(name.removeprefix("_send_") for name in vars(Storm) if name.startswith("_send_"))
_UNANSWERED = ("hang_up", "half_body")


def _answer(connection: socket.socket) -> tuple[int, bytes, Any]:
    """Status, body and JSON of an answer."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionError(f"no answer: {bytes(data[:100])!r}")
        data += piece
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    body = bytearray(rest)
    while len(body) < int(headers["content-length"]):
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionError("half an answer")
        body += piece
    length = int(headers.get(LENGTH, 0))
    return int(status.split()[1]), bytes(body[length:]), json.loads(body[:length] if length else body)


def _result(head: Any, body: bytes) -> np.ndarray:
    (output,) = head["outputs"]
    return np.frombuffer(body, np.float32).reshape(output["shape"])
