"""Takes scans in: received into a private folder, computed one at a time, and forgotten whatever happens."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_export.errors import InputError
from swift_export.features.extractor import Extractor
from swift_export.features.feature_files import check_table
from swift_export.features.pipeline import ScanFeatures
from swift_export.runtimes.base import Arrays
from swift_export.serving.batching import Answered, Batcher
from swift_export.serving.bodies import Body, Receive
from swift_export.serving.multipart_form import Form, receive_form
from swift_export.serving.refusals import Busy, ClientGone, Expired, Stopping
from swift_export.serving.scan_answer import AnswerFormat, answer_bytes
from swift_export.serving.scan_models import ScanModel, ScanModels
from swift_export.serving.scan_options import FILES, OPTIONS, asked_scan
from swift_export.serving.scan_work import QueuedSession, ScanWork
from swift_export.serving.serve_metrics import ServeMetrics
from swift_export.serving.serve_settings import ServeSettings
from swift_export.system.drafts import new_draft_folder

__all__ = ["ScanDesk", "ScanRequest", "Tell"]

#: Receives what happens to a scan, as plain data for JSON.
Tell = Callable[[dict[str, Any]], Awaitable[None]]

#: Seconds between two looks at the work.
_LOOK_S = 0.2


@dataclass(frozen=True)
class ScanRequest:
    """A request: the model's name, the format of the answer, whether it is for the page, and what the client sends."""

    model: str | None
    form: AnswerFormat
    view: bool
    receive: Receive
    headers: Mapping[str, str]


class ScanDesk:
    """Answers scans. ``ending`` states whether the server has been told to end."""

    def __init__(
        self,
        models: ScanModels,
        settings: ServeSettings,
        batcher: Batcher,
        metrics: ServeMetrics,
        ending: Callable[[], bool],
    ):
        self.models = models
        self._settings, self._batcher, self._metrics, self._ending = settings, batcher, metrics, ending
        self._turn = asyncio.Lock()
        self._inside = 0
        #: How long a scan takes, about.
        self._takes_s = 0.0
        self._threads = ThreadPoolExecutor(1, "scan")

    @property
    def max_bytes(self) -> int:
        """The largest upload."""
        return self._settings.scan_bytes

    async def answer(self, request: ScanRequest, tell: Tell) -> bytes:
        """The answer to a scan; ``tell`` hears of its progress once it has been received.

        Raises the refusals of bodies, forms and queues, InputError or UsageError for a scan or an option that cannot
        be, Expired or Stopping if there is no time, MachineError if the machine fails, ClientGone if the client hangs
        up.
        """
        if self._ending():
            raise Stopping("the server ends; try another one")
        by = self.models.find(request.model)
        settings, loop = self._settings, asyncio.get_running_loop()
        deadline = loop.time() + settings.scan_timeout_s
        with self._place(by), self._batcher.reserve(by.model):
            async with _private_folder() as folder:
                began = time.monotonic()
                body = Body(request.receive, request.headers, settings.scan_bytes, deadline, by.model.name)
                content_type = request.headers.get("content-type")
                form = await self._unless_ending(receive_form(body, content_type, folder, FILES, OPTIONS))
                self._metrics.stage(by.model.name, "receive", time.monotonic() - began)
                self._metrics.received(by.model.name, body.received)
                work = self._work(form, request, by, folder)
                working = asyncio.ensure_future(self._in_turn(work, request, deadline))
                try:
                    await self._watched(working, work, request.receive, deadline, tell)
                    return working.result()
                finally:
                    working.cancel()
                    # The folder stays until the thread has left it.
                    await _ended(working)

    def _work(self, form: Form, request: ScanRequest, by: ScanModel, folder: Path) -> ScanWork:
        if "scan" not in form.files:
            raise InputError("scan: expected a NIfTI run (.nii, .nii.gz) in this field of the form, found none")
        asked = asked_scan(form.fields, by.backbone)
        check_table("format", f".{request.form}", asked.kind)
        return ScanWork(
            form.files["scan"],
            form.files.get("mask"),
            form.files.get("sidecar"),
            asked,
            by,
            folder,
            self._settings.scan_unpacked_bytes,
            self._settings.threads,
            self._settings.instances,
        )

    @contextmanager
    def _place(self, by: ScanModel) -> Iterator[None]:
        """A place among the scans that are received, wait or are computed; raises Busy if there is none."""
        most = 1 + self._settings.scan_queue
        if self._inside >= most:
            raise Busy(
                f"{by.model.name}: expected at most {most} scans at the same time; try again later",
                retry_s=max(1, round(self._takes_s)),
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def _unless_ending(self, receiving: Coroutine[Any, Any, Form]) -> Form:
        """The form; raises Stopping if the server ends before it is there."""
        task = asyncio.ensure_future(receiving)
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=_LOOK_S)
                if self._ending() and not task.done():
                    raise Stopping("the server ends; try another one")
            return task.result()
        finally:
            task.cancel()
            await _ended(task)

    async def _in_turn(self, work: ScanWork, request: ScanRequest, deadline: float) -> bytes:
        """Compute a scan when the one before it is finished."""
        work.line = "waiting for another scan"
        async with self._turn:
            work.line = "starting"
            loop, began = asyncio.get_running_loop(), time.monotonic()

            async def compute(arrays: Arrays) -> Answered:
                answered = await self._batcher.submit(work.by.model, arrays, deadline)
                self._metrics.batch(work.by.model.name, answered.batch_items)
                return answered

            def use(found: ScanFeatures, extractor: Extractor, warnings: list[str]) -> bytes:
                return answer_bytes(request.form, work, found, extractor, warnings, request.view)

            running = loop.run_in_executor(self._threads, work.run, QueuedSession(work, loop, compute), use)
            try:
                answer = await asyncio.shield(running)
            finally:
                work.stopped.set()
                await _ended(running)
            took = time.monotonic() - began
            self._takes_s = took if not self._takes_s else 0.7 * self._takes_s + 0.3 * took
            self._metrics.stage(work.by.model.name, "scan", took)
            return answer

    async def _watched(
        self, working: asyncio.Future[bytes], work: ScanWork, receive: Receive, deadline: float, tell: Tell
    ) -> None:
        """Wait for the work, and tell of it; raises for a client that hangs up, and when the time is over."""
        loop, told = asyncio.get_running_loop(), ""
        gone = asyncio.ensure_future(_hung_up(receive))
        until = deadline
        try:
            while not working.done():
                await asyncio.wait((working, gone), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    raise ClientGone
                if self._ending():
                    until = min(until, loop.time() + self._settings.timeout_s)
                if loop.time() > until and not working.done():
                    if self._ending():
                        raise Stopping("the server ends; try another one")
                    raise Expired(
                        f"{work.scan.name}: expected a result within {self._settings.scan_timeout_s:g} seconds, found "
                        "none; compute fewer --windows"
                    )
                if work.line != told:
                    told = work.line
                    await tell({"progress": told})
        finally:
            gone.cancel()
            await _ended(gone)


@asynccontextmanager
async def _private_folder() -> AsyncIterator[Path]:
    """A folder that no other user reads, removed afterwards; those that a killed server left are removed, too."""
    making = new_draft_folder(Path(tempfile.gettempdir()))
    folder = await asyncio.to_thread(making.__enter__)
    try:
        folder.chmod(0o700)
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(making.__exit__, None, None, None))


async def _ended(future: asyncio.Future[Any]) -> None:
    """Wait for the end of something, however it ends, and even if this is cancelled meanwhile."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((future,))
    if not future.cancelled():
        future.exception()  # or asyncio would report it as lost


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
