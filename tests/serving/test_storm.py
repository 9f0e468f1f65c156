"""Clients of all kinds at once, and the end of the server while they are at it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from embedded import Running, mix, serving, session, until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.requires("serve")


def test_a_storm_of_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from _client_storm import GOOD, KINDS, Storm

    # 64 KiB an item: large enough to go straight from the socket to where it is computed with.
    file = mix(tmp_path / "mix.onnx", side=128)
    direct = session(file)
    with serving({"mix": file}, batching="on", queue=6, timeout_s=0.5) as server:
        server.call("GET", "/v2")
        before = len(os.listdir("/proc/self/fd"))
        storm = Storm(server.port, "mix", "x", (1, 128, 128))
        storm.run(requests=6 * len(KINDS), clients=8)
        count = storm.check(lambda x: direct.run(None, {"x": x})[0])
        assert storm.faults == []
        assert count == sum(storm.outcomes[kind, 200] for kind in GOOD) >= 3 * 6
        assert storm.outcomes["slow", 408] == sum(n for (kind, _), n in storm.outcomes.items() if kind == "slow") > 0
        until(lambda: server.server.service.batcher.idle and len(server.server.server_state.connections) == 0)
        until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert server.call("GET", "/v2/health/ready").status == 200
        assert not [event for event in server.events if event["level"] == "error"]


def test_the_end_under_load_loses_nothing(
    files: dict[str, Path], popen: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    words = ["serve", files["mix"], "--port", "0", "--threads", "1", "--batching", "off", "--queue", "4"]
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    environment["PYTHONPATH"] = str(ROOT)
    with (tmp_path / "log").open("w") as log:
        process = popen([sys.executable, "-P", "-m", "swift_export", *map(str, words)], env=environment, stderr=log)

    def events() -> list[dict[str, object]]:
        return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.endswith("}")]

    until(lambda: any(event["event"] == "serving" for event in events()), 60)
    (address,) = [event["address"] for event in events() if event["event"] == "serving"]
    server = Running(None, int(str(address).rpartition(":")[2]))
    x = np.zeros((1, 1, 16, 16), np.float32)
    until(lambda: is_ready(server), 20)
    if "CS_GNU_LIBC_VERSION" in os.confstr_names:
        assert b"glibc.malloc.hugetlb=1" in Path(f"/proc/{process.pid}/environ").read_bytes()
    told: Counter[int] = Counter()
    refused = threading.Event()

    def client() -> None:
        while not refused.is_set():
            try:
                told[server.infer("mix", {"x": x}).status] += 1
            except OSError:  # nobody listens any more, or not to this one
                refused.set()

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: told[200] > 50)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert process.wait(20) == 0
    found = Counter(event["status"] for event in events() if event.get("route") == "/v2/models/{name}/infer")
    # What the server says that it has answered has arrived.
    assert {status: n for status, n in told.items() if n} == found
    assert set(found) - {429} == {200, 503}
    assert [event["event"] for event in events() if event["event"] != "request"][-2:] == ["stopping", "stopped"]


def is_ready(server: Running) -> bool:
    with suppress(OSError):
        return server.call("GET", "/v2/health/ready").status == 200
    return False
