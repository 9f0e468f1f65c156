"""The settings of a server, with their defaults."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swift_export.errors import UsageError
from swift_export.system.machine import all_processors

__all__ = ["BATCHING", "SERVED_RUNTIMES", "Batching", "ServeSettings"]

#: Whether concurrent requests are computed together. auto: where that was measured to be faster.
Batching = Literal["auto", "on", "off"]
BATCHING: tuple[Batching, ...] = ("auto", "on", "off")

#: The runtimes that compute in the server's process.
SERVED_RUNTIMES = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class ServeSettings:
    """How to serve.

    Attributes:
        host: address to listen on.
        port: port of HTTP; 0: any free port.
        grpc_port: port of gRPC; 0: any free port; None: no gRPC.
        shared_memory: whether clients on this machine may register shared memory.
        token: the bearer token that clients send; None: none is needed.
        no_token: whether other machines, and shared memory, may do without a token.
        tls_cert: certificate (chain), PEM; with ``tls_key``, its key.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: threads of a model; None: one per processor.
        instances: how many requests of a model are computed at the same time, each on its share of the threads.
        max_batch: most items of one request, and of a batch of several.
        batching: whether to compute concurrent requests together.
        batch_wait_s: how long a request waits for others to be computed with.
        queue: most requests of a model that are received, waiting or computed at the same time.
        timeout_s: most seconds until a request has arrived, and from then until its result.
        golden: whether a model is checked against its golden outputs when it is loaded.
        scan_queue: most scans that are received or wait while one is computed.
        scan_bytes: largest upload of a scan.
        scan_unpacked_bytes: its largest size when unpacked.
        scan_timeout_s: most seconds until a scan has arrived and been computed.
        watch_s: seconds between two looks at the artifacts; 0: they are not loaded again.

    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    shared_memory: bool = False
    token: str | None = None
    no_token: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    runtime: str = "onnxruntime"
    threads: int | None = None
    instances: int = 1
    max_batch: int = 8
    batching: Batching = "auto"
    batch_wait_s: float = 0.0
    queue: int = 16
    timeout_s: float = 60.0
    golden: bool = True
    scan_queue: int = 4
    scan_bytes: int = 2 * 2**30
    scan_unpacked_bytes: int = 16 * 2**30
    scan_timeout_s: float = 600.0
    watch_s: float = 2.0

    def check(self) -> None:
        """Raise UsageError for a value out of range."""
        if self.runtime not in SERVED_RUNTIMES:
            raise UsageError(f"--runtime {self.runtime}: expected {' or '.join(SERVED_RUNTIMES)}")
        if self.batching not in BATCHING:
            raise UsageError(f"--batching {self.batching}: expected one of {', '.join(BATCHING)}")
        for option, count in (("--max-batch", self.max_batch), ("--queue", self.queue), ("--threads", self.threads)):
            if count is not None and count < 1:
                raise UsageError(f"{option} {count}: expected at least 1")
        if not 1 <= self.instances <= (threads := self.threads or all_processors()):
            raise UsageError(f"--instances {self.instances}: expected 1 to {threads}, the number of threads")
        for option, port in (("--port", self.port), ("--grpc-port", self.grpc_port)):
            if port is not None and not 0 <= port < 2**16:
                raise UsageError(f"{option} {port}: expected 0 to 65535")
        if self.port and self.port == self.grpc_port:
            raise UsageError(f"--grpc-port {self.port}: expected another port than that of HTTP, found the same")
        if self.shared_memory and sys.platform != "linux":
            raise UsageError("--shared-memory: expected Linux, found another system; leave it out")
        if self.shared_memory and self.token is None and not self.no_token:
            raise UsageError(
                "--shared-memory: expected a token, as other users of this machine could have the server read or "
                "change your shared memory, found none; give one with --token-file, or allow everybody with --no-token"
            )
        if not 0 < self.timeout_s <= 86_400:
            raise UsageError(f"--timeout {self.timeout_s:g}: expected more than 0 seconds, at most a day")
        if not 0 < self.scan_timeout_s <= 86_400:
            raise UsageError(f"--scan-timeout {self.scan_timeout_s:g}: expected more than 0 seconds, at most a day")
        if self.scan_queue < 0:
            raise UsageError(f"--scan-queue {self.scan_queue}: expected at least 0")
        if self.scan_bytes < 1:
            raise UsageError(f"--scan-limit {self.scan_bytes / 2**20:g}: expected more than 0 MiB")
        if not 0 <= self.batch_wait_s <= 60:
            raise UsageError(f"--batch-wait-ms {1000 * self.batch_wait_s:g}: expected 0 to 60000")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key: expected both or neither")
