"""Queues in front of the models, and the threads that compute.

Each model has as many threads as its calls may run at the same time; the event loop never computes. What waits when a
thread becomes free is computed together, up to the size of batches that is best for the model.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np

from swift_export.serving.refusals import Busy, Expired, Stopping
from swift_export.serving.serve_settings import ServeSettings
from swift_export.serving.served_model import ServedModel

__all__ = ["Answered", "Batcher"]


@dataclass(frozen=True)
class Answered:
    """The outputs of one request, and the batch that it was computed in.

    ``batch`` is the batch's number, ``batch_items`` its size, and ``offset`` the place of the request's first item.
    """

    outputs: dict[str, np.ndarray]
    batch: int
    batch_items: int
    offset: int
    queued_s: float
    computed_s: float


@dataclass(eq=False)
class _Waiting:
    """A request in a queue. ``arrays`` are taken away when they are computed."""

    model: ServedModel
    arrays: dict[str, np.ndarray]
    items: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answered]
    since: float = field(default_factory=time.monotonic)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes without the batch: only equal ones can be joined."""
        return [self.arrays[spec.name].shape[1:] for spec in self.model.inputs]


class Batcher:
    """Computes requests in order. All methods but `close` belong to one event loop."""

    def __init__(self, settings: ServeSettings):
        self._settings = settings
        self._lines: dict[str, _Line] = {}

    @contextmanager
    def reserve(self, model: ServedModel) -> Iterator[None]:
        """A place in the model's queue for the block, in which a request is received and computed.

        Raises Busy if all places are taken: that is where the server's memory is bounded.
        """
        line = self._line(model)
        if line.places >= self._settings.queue:
            raise Busy(
                f"{model.name}: expected at most {self._settings.queue} requests at the same time; try again later",
                retry_s=max(1, round(line.computes_s * self._settings.queue / 2)),
            )
        line.places += 1
        try:
            yield
        finally:
            line.places -= 1

    async def submit(self, model: ServedModel, arrays: Mapping[str, np.ndarray], deadline: float) -> Answered:
        """Compute a request. The arrays are the batcher's from now on, and are dropped as early as possible.

        Cancelling withdraws the request. Raises Expired after ``deadline`` (of the loop's clock), and the errors of
        `ServedModel.infer`.
        """
        loop = asyncio.get_running_loop()
        owned = dict(arrays)
        items = model.check({name: array.shape for name, array in owned.items()})
        waiting = _Waiting(model, owned, items, loop, loop.create_future())
        line = self._line(model)
        line.put(waiting)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiting.future
        except TimeoutError:
            raise Expired(
                f"{model.name}: expected a result within the time limit, found none; try again later"
            ) from None
        finally:
            line.withdraw(waiting)

    def depth(self, name: str) -> int:
        """The number of requests that are received, waiting or computed."""
        line = self._lines.get(name)
        return 0 if line is None else line.places

    @property
    def idle(self) -> bool:
        """Whether no request is received, waiting or computed."""
        return not any(line.places for line in self._lines.values())

    def close(self) -> None:
        """Answer nothing more: what waits is refused."""
        for line in self._lines.values():
            line.close()

    def _line(self, model: ServedModel) -> _Line:
        if model.name not in self._lines:
            self._lines[model.name] = _Line(model.name, self._settings)
        return self._lines[model.name]


class _Line:
    """The queue of the models of one name, and a thread for each of their instances."""

    _numbers = itertools.count(1)

    def __init__(self, name: str, settings: ServeSettings):
        self.places = 0
        #: How long a computation takes, about.
        self.computes_s = 0.0
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._wait_s = settings.batch_wait_s
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(instance,), name=f"compute {name} {instance}", daemon=True)
            for instance in range(settings.instances)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, waiting: _Waiting) -> None:
        with self._changed:
            if self._closed:
                raise Stopping("the server ends; try another one")
            self._queue.append(waiting)
            self._changed.notify_all()

    def withdraw(self, waiting: _Waiting) -> None:
        """Drop a request that nobody waits for any more."""
        with self._changed:
            if waiting in self._queue:
                self._queue.remove(waiting)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=60)

    def _work(self, instance: int) -> None:
        while self._step(instance):
            pass

    def _step(self, instance: int) -> bool:
        """Compute a batch; False at the end. A call of its own, so that nothing of a batch outlives it."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if self._closed:
                for waiting in self._queue:
                    _refuse(waiting, Stopping("the server ends; try another one"))
                self._queue.clear()
                return False
            batch = self._take()
        if batch:
            self._compute(batch, instance)
        return True

    def _take(self) -> list[_Waiting]:
        """The first request and those behind it that are computed with it; waits a while for them."""
        first = self._queue[0]
        until, best = first.since + self._wait_s, first.model.best_batch
        while not self._closed and self._queue and sum(waiting.items for waiting in self._queue) < best:
            if (left := until - time.monotonic()) <= 0:
                break
            self._changed.wait(left)
        if not self._queue:  # it was withdrawn
            return []
        batch = [first := self._queue.popleft()]
        items, shapes, best = first.items, first.shapes, first.model.best_batch
        while self._queue:
            following = self._queue[0]
            joins = following.model is first.model and following.shapes == shapes
            if not joins or items + following.items > best:
                break
            items += following.items
            batch.append(self._queue.popleft())
        return batch

    def _compute(self, batch: list[_Waiting], instance: int) -> None:
        started, number, model = time.monotonic(), next(self._numbers), batch[0].model
        items = sum(waiting.items for waiting in batch)
        try:
            outputs = model.infer(_joined(batch, items), instance)
        except Exception as error:
            for waiting in batch:
                _refuse(waiting, error)
            return
        took = time.monotonic() - started
        self.computes_s = took if not self.computes_s else 0.8 * self.computes_s + 0.2 * took
        offset = 0
        for waiting in batch:
            end = offset + waiting.items
            # A copy, or one slow client would keep the outputs of all.
            own = {name: a if len(batch) == 1 else a[offset:end].copy() for name, a in outputs.items()}
            _answer(waiting, Answered(own, number, items, offset, started - waiting.since, took))
            offset = end


def _joined(batch: Sequence[_Waiting], items: int) -> dict[str, np.ndarray]:
    """The inputs of a batch. Each request's own are dropped once they are copied."""
    if len(batch) == 1:
        arrays, batch[0].arrays = batch[0].arrays, {}
        return arrays
    joined = {name: np.empty((items, *array.shape[1:]), array.dtype) for name, array in batch[0].arrays.items()}
    offset = 0
    for waiting in batch:
        arrays, waiting.arrays = waiting.arrays, {}
        for name in list(arrays):
            joined[name][offset : offset + waiting.items] = arrays.pop(name)
        offset += waiting.items
    return joined


def _answer(waiting: _Waiting, answer: Answered) -> None:
    def give() -> None:
        if not waiting.future.done():
            waiting.future.set_result(answer)

    _call(waiting, give)


def _refuse(waiting: _Waiting, error: Exception) -> None:
    def give() -> None:
        if not waiting.future.done():
            waiting.future.set_exception(error)

    _call(waiting, give)


def _call(waiting: _Waiting, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended, and the client with it
        waiting.loop.call_soon_threadsafe(function)
