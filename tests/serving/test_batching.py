"""Queues and batches: what is computed together, and to the bit what; what is refused, withdrawn or too late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from embedded import Reply, Running, post, running, serving, session, until

from swift_export.errors import MachineError
from swift_export.formats.signature import TensorSpec
from swift_export.runtimes.base import Arrays, Computation, InputSpec, RuntimeInfo
from swift_export.serving.batch_choice import best_batch
from swift_export.serving.repository import Repository, Source
from swift_export.serving.serve_settings import ServeSettings
from swift_export.serving.served_model import ServedModel

pytestmark = pytest.mark.requires("serve")


class Gated:
    """A runtime that doubles its input when the test lets it; records the batches."""

    info = RuntimeInfo("Gated", "1", "cpu", "float32", {}, ())
    inputs = (InputSpec("x", "float32", (None, 2)),)

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[np.ndarray] = []

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.batches.append(inputs["x"])
        assert self.gate.wait(20)
        if (inputs["x"] < 0).any():
            raise RuntimeError("no\nnegative values")
        return {"y": 2 * inputs["x"]}

    def place(self, inputs: Arrays) -> Computation:
        raise NotImplementedError


class Blocked(Running):
    """A server of a gated model, and its threads of clients."""

    gated: Gated

    def send(self, *values: float) -> Callable[[], Reply]:
        """Send items from another thread; call the result for the answer."""
        x = np.array([[value, value] for value in values], np.float32)
        pool = ThreadPoolExecutor(1)
        future = pool.submit(self.infer, "gated", {"x": x})
        pool.shutdown(wait=False)
        return future.result

    def depth(self) -> int:
        return int(self.server.service.batcher.depth("gated"))


@pytest.fixture
def blocked(request: pytest.FixtureRequest):
    gated = Gated()
    settings = ServeSettings(**({"watch_s": 0.0, "queue": 4, "threads": 2} | getattr(request, "param", {})))
    repository = Repository([Source("gated", Path("gated.onnx"))], settings)
    x, y = (TensorSpec(name, "float32", ("batch", 2)) for name in "xy")
    repository.put(ServedModel("gated", "1", (x,), (y,), (gated,) * settings.instances, best_batch=3))
    with running(repository, settings) as found:
        blocked = Blocked(found.server, found.port, found.log)
        blocked.gated = gated
        yield blocked
        gated.gate.set()


def test_what_waits_is_computed_together(blocked: Blocked) -> None:
    answers = []
    for count, values in enumerate([(1,), (2, 3), (4,)], 1):
        answers.append(blocked.send(*values))
        until(lambda count=count: blocked.depth() == count and (count > 1 or bool(blocked.gated.batches)))
    # All in the queue before the first is done: they are received in microseconds.
    until(lambda: 'stage="receive"} 3.0' in blocked.metrics.replace("_count", ""))
    blocked.gated.gate.set()
    replies = [answer() for answer in answers]
    assert [batch[:, 0].tolist() for batch in blocked.gated.batches] == [[1], [2, 3, 4]]
    for reply, values in zip(replies, [(1,), (2, 3), (4,)], strict=True):
        np.testing.assert_array_equal(reply.array("y")[:, 0], 2 * np.array(values))
    found = [reply.head["parameters"] for reply in replies]
    assert [(one["batch_items"], one["batch_offset"]) for one in found] == [(1, 0), (3, 0), (3, 2)]
    assert found[1]["batch"] == found[2]["batch"] != found[0]["batch"]


@pytest.mark.parametrize("blocked", [{"instances": 2}], indirect=True)
def test_instances_compute_at_the_same_time(blocked: Blocked) -> None:
    answers = []
    for count, value in enumerate((1, 2, 3), 1):
        answers.append(blocked.send(value))
        until(lambda count=count: blocked.depth() == count and len(blocked.gated.batches) == min(count, 2))
    assert [batch[:, 0].tolist() for batch in blocked.gated.batches] == [[1], [2]]
    blocked.gated.gate.set()
    assert [answer().array("y")[0, 0] for answer in answers] == [2, 4, 6]


def test_a_full_queue_refuses_before_the_body_is_sent(blocked: Blocked) -> None:
    answers = [blocked.send(n) for n in range(4)]
    until(lambda: blocked.depth() == 4)
    refused = blocked.infer("gated", {"x": np.zeros((1, 2), np.float32)})
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "expected at most 4 requests at the same time" in refused.error
    blocked.gated.gate.set()
    assert [answer().status for answer in answers] == [200] * 4
    until(lambda: blocked.depth() == 0)


@pytest.mark.parametrize("blocked", [{"timeout_s": 0.3}], indirect=True)
def test_what_is_late(blocked: Blocked) -> None:
    reply = blocked.infer("gated", {"x": np.zeros((1, 2), np.float32)})
    assert (reply.status, "expected a result within the time limit" in reply.error) == (504, True)
    body = post("gated", {"x": np.zeros((1, 2), np.float32)})
    with blocked.open(body[:-1]) as slow:
        assert b"408 Request Timeout" in slow.recv(4096)
    until(lambda: blocked.depth() == 0)


def test_a_client_states_its_own_limit(blocked: Blocked) -> None:
    x = np.zeros((1, 2), np.float32)
    assert blocked.infer("gated", {"x": x}, parameters={"timeout": 50_000}).status == 504
    assert blocked.infer("gated", {"x": x}, parameters={"timeout": -1}).status == 400


def test_who_hangs_up_is_not_computed(blocked: Blocked) -> None:
    first = blocked.send(1)
    until(lambda: bool(blocked.gated.batches))
    waiting = blocked.open(post("gated", {"x": np.full((1, 2), 7, np.float32)}))
    until(lambda: blocked.depth() == 2)
    half = blocked.open(post("gated", {"x": np.full((1, 2), 8, np.float32)})[:-3])
    until(lambda: blocked.depth() == 3)
    waiting.close()
    half.close()
    until(lambda: blocked.depth() == 1)
    blocked.gated.gate.set()
    assert first().status == 200
    assert [batch[0, 0] for batch in blocked.gated.batches] == [1]
    assert [event["status"] for event in blocked.events if event["event"] == "request"].count(499) == 2


def test_a_runtime_that_fails_fails_its_batch_alone(blocked: Blocked) -> None:
    blocked.gated.gate.set()
    failed = blocked.send(-1)()
    assert (failed.status, failed.error) == (500, "gated: Gated failed: no negative values")
    assert blocked.send(1)().status == 200


def test_every_answer_is_that_of_the_session_for_the_batch(files: dict[str, Path]) -> None:
    inputs = [np.random.default_rng(n).standard_normal((1 + n % 2, 1, 16, 16)).astype(np.float32) for n in range(24)]
    with serving({"mix": files["mix"]}, batching="on", batch_wait_s=0.01) as server, ThreadPoolExecutor(12) as clients:
        replies = list(clients.map(lambda x: server.infer("mix", {"x": x}), inputs))
    direct, batches = session(files["mix"]), {}
    for x, reply in zip(inputs, replies, strict=True):
        told = reply.head["parameters"]
        batches.setdefault(told["batch"], []).append((told["batch_offset"], told["batch_items"], x, reply.array("y")))
    assert len(batches) < len(inputs)
    for parts in batches.values():
        parts.sort(key=lambda part: part[0])
        together = np.concatenate([x for _, _, x, _ in parts])
        assert {items for _, items, _, _ in parts} == {len(together)}
        (expected,) = direct.run(None, {"x": together})
        np.testing.assert_array_equal(np.concatenate([y for _, _, _, y in parts]), expected)


class Timed(Gated):
    """A runtime that takes a while for each call, whatever the batch, or that mixes items up."""

    def __init__(self, mixes: bool = False) -> None:
        super().__init__()
        self.gate.set()
        self.mixes = mixes

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        threading.Event().wait(0.004)
        outputs = super().__call__(inputs)
        return {"y": outputs["y"] - outputs["y"].mean(0)} if self.mixes else outputs


def test_batches_are_formed_where_they_are_faster_and_items_independent() -> None:
    def model(session: Gated, dims: tuple[str | int, ...] = ("batch", 2)) -> ServedModel:
        x, y = (TensorSpec(name, "float32", dims) for name in "xy")
        return ServedModel("timed", "1", (x,), (y,), (session,))

    assert best_batch(model(Timed()), "auto", 8) == 8
    assert best_batch(model(Timed()), "auto", 5) == 4
    assert best_batch(model(Timed()), "off", 8) == 1
    assert best_batch(model(Timed()), "on", 5) == 5
    assert best_batch(model(Timed(mixes=True)), "on", 8) == 1
    assert best_batch(model(Timed(), (2, 2)), "on", 8) == 1

    class Slower(Timed):
        def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
            threading.Event().wait(0.012 * (len(inputs["x"]) - 1))
            return super().__call__(inputs)

    assert best_batch(model(Slower()), "auto", 8) == 1


def test_a_batch_that_fails_names_the_model() -> None:
    gated = Gated()
    gated.gate.set()
    x, y = (TensorSpec(name, "float32", ("batch", 2)) for name in "xy")
    with pytest.raises(MachineError, match="m: Gated failed: no negative values"):
        ServedModel("m", "1", (x,), (y,), (gated,)).infer({"x": np.full((1, 2), -1, np.float32)})
