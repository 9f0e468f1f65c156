"""``scripts/bench_serve`` on a layer: what it sends, what it measures, and what the page says of it."""

from __future__ import annotations

import json
import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from embedded import mix

SCRIPTS = Path(__file__).parents[2] / "scripts"
pytestmark = pytest.mark.requires("serve")


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_a_run_measures_the_servers_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from _bench_serve import main
    from _serving_report import LOADS, ROUNDS

    file, written = mix(tmp_path / "mix.onnx", side=64), tmp_path / "written"
    assert main(["--artifact", str(file), "--requests", "5", "--output", str(written)]) == 0
    assert "swift-export serve" in capsys.readouterr().out

    found = json.loads((written / "serving-benchmark.json").read_text())
    assert (found["model"], found["clip_bytes"], found["requests"]) == ("mix.onnx", 4 * 64 * 64, 5)
    ours, plain = [s for s in found["servers"] if s["name"] != "triton"]
    assert (ours["name"], plain["name"]) == ("serve", "fastapi")
    for server in (ours, plain):
        assert len(server["rounds"]) == ROUNDS
        assert server["clips_per_s"] > 0
        assert server["throughput_to_alone"] == np.median(server["rounds"]) > 0
        assert [at["load"] for at in server["loads"]] == list(LOADS)
        for at in server["loads"]:
            assert at["requests_per_s"] == pytest.approx(at["load"] / found["session_alone_s"])
            assert len(at["seconds"]) == 5
            assert min(at["seconds"]) <= at["p50_s"] <= at["p90_s"] <= at["p99_s"] <= max(at["seconds"])
            # The answer cannot come before the session could have computed it.
            assert min(at["seconds"]) > found["session_alone_s"] / 10

    page = (written / "serving-benchmark.md").read_text()
    assert (
        f"| plain FastAPI | 0.2 | {plain['loads'][0]['requests_per_s']:.2f} | {plain['loads'][0]['p50_s']:.3f}" in page
    )
    assert f"limit >= 0.95, {'met' if ours['throughput_to_alone'] >= 0.95 else 'not met'}." in page
    assert (written / "serving-benchmark.svg").exists() == (find_spec("matplotlib") is not None)
    here = (str(SCRIPTS.parent), str(tmp_path), os.uname().nodename)
    for path in written.iterdir():
        assert not [name for name in here if name in path.read_text()]


def test_requests_do_not_wait_for_answers_and_latency_counts_from_arrival() -> None:
    from _bench_serve import _offered

    one_at_a_time, waiting, most = threading.Lock(), 0, 0

    def send(_: np.ndarray) -> bytes:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        with one_at_a_time:
            time.sleep(0.02)
        waiting -= 1
        return b"answer"

    # Ten arrive in about 10 ms; the last one is answered after ten times 20 ms.
    seconds, answers = _offered(send, np.zeros(1), rate=1000, requests=10)
    assert answers == [b"answer"] * 10
    assert most > 3
    assert max(seconds) > 0.15


def test_after_an_error_nothing_more_is_sent() -> None:
    from _bench_serve import _offered

    def send(_: np.ndarray) -> bytes:
        raise RuntimeError("status 503")

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="503"):
        _offered(send, np.zeros(1), rate=5, requests=100)  # the first one after 0.1 s, the last one after 20 s
    assert time.monotonic() - start < 10


def test_a_wrong_or_short_answer_ends_the_run() -> None:
    from _bench_serve import _check
    from _serving_report import Server

    expected = {"y": np.array([3, 4], np.float32), "z": np.array([[1.0]])}
    server = Server("serve", "a server", "", lambda _: b"")

    def answer(*y: float) -> bytes:
        return b'{"json": 1}' + np.array(y, np.float32).tobytes() + expected["z"].tobytes()

    _check(server, [answer(3, 4), answer(3, 4.00001)], expected)
    for wrong in ((3, 4.1), (3, np.nan), (0, 0)):
        with pytest.raises(RuntimeError, match="a server: y: expected the session's own result, found relative L2 "):
            _check(server, [answer(3, 4), answer(*wrong)], expected)
    with pytest.raises(RuntimeError, match="expected 16 bytes of outputs, found 15"):
        _check(server, [answer(3, 4)[-15:]], expected)


def test_a_model_with_several_inputs_is_refused(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    from _bench_serve import main

    assert main(["--artifact", str(files["pair"])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pair.onnx: expected one input, float32 (batch, sizes...), found int64 (batch, length), float64" in line
