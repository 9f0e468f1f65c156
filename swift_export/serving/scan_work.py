"""One scan, read and prepared in a thread; its windows go through the model's queue like any request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swift_export.errors import MachineError, SwiftExportError
from swift_export.features.extractor import Extractor
from swift_export.features.pipeline import Pipeline, ScanFeatures, ScanFile
from swift_export.runtimes.base import Arrays, Computation, InputSpec, RuntimeInfo
from swift_export.scans.nifti import open_nifti
from swift_export.serving.batching import Answered
from swift_export.serving.multipart_form import Upload
from swift_export.serving.refusals import TooLarge
from swift_export.serving.scan_models import ScanModel
from swift_export.serving.scan_options import AskedScan
from swift_export.system.disk import disk_is_full
from swift_export.system.machine import all_processors

__all__ = ["Compute", "ScanWork"]

#: Computes arrays in the model's queue, in the event loop.
Compute = Callable[[Arrays], Coroutine[Any, Any, Answered]]

#: Seconds between two looks whether a result is still wanted.
_LOOK_S = 0.1


class _Stopped(Exception):  # noqa: N818 - not an error
    """Nobody waits for the result any more."""


@dataclass(eq=False)
class ScanWork:
    """The features of one uploaded scan.

    Attributes:
        scan: the file.
        mask: its brain mask.
        sidecar: its BIDS ``.json``.
        asked: how to read it.
        by: the model.
        folder: for temporary files.
        most_bytes: the largest size of a scan when unpacked.
        threads: threads of the runtime.
        instances: how many windows are computed at the same time.
        line: what is being done, for people.
        stopped: set, ends the work within a frame or a window.

    """

    scan: Upload
    mask: Upload | None
    sidecar: Upload | None
    asked: AskedScan
    by: ScanModel
    folder: Path
    most_bytes: int
    threads: int | None = None
    instances: int = 1
    line: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, session: QueuedSession, use: Callable[[ScanFeatures, Extractor, list[str]], bytes]) -> bytes:
        """Compute, and let ``use`` make the answer while the scan is open.

        Messages name the client's files. Raises InputError or UsageError for a scan that does not meet the input
        contract, TooLarge for one that is too large when unpacked, MachineError if the machine fails.
        """
        try:
            return self._run(session, use)
        except SwiftExportError as error:
            text = str(error)
            # Names of scans tell of persons; the server's own do not.
            error.add_note(text.replace(f"{self.folder}/", ""))
            error.args = (self.renamed(text), *error.args[1:])
            raise
        except MemoryError:
            raise MachineError(f"{self.scan.name}: expected memory for it, found too little; try again later") from None
        except OSError as error:
            if disk_is_full(error):
                raise MachineError(f"{self.scan.name}: the server's disk is full; try again later") from None
            raise

    def renamed(self, text: str) -> str:
        """A message with the client's names of its files instead of the server's."""
        for upload in filter(None, (self.scan, self.mask)):
            text = text.replace(str(upload.path), upload.name)
        if self.sidecar is not None:
            text = text.replace(f"sidecar {self.sidecar.path.name} ", f"sidecar {self.sidecar.name} ")
        return text.replace(f"{self.scan.path.name}: ", f"{self.scan.name}: ")

    def _run(self, session: QueuedSession, use: Callable[[ScanFeatures, Extractor, list[str]], bytes]) -> bytes:
        for upload in filter(None, (self.scan, self.mask)):
            self._check_size(upload.path)
        backbone = self.by.backbone
        warned: list[str] = []
        pipeline = Pipeline(
            backbone,
            self.asked.reading,
            self.asked.kind,
            batch=max(1, self.by.model.best_batch),
            spool=self.folder,
            warn=warned.append,
            on_progress=self._progress,
            loaded=Extractor(backbone, session, self.instances, self.threads or all_processors()),
        )
        mask = None if self.mask is None else self.mask.path
        with closing(pipeline([ScanFile(self.scan.path, mask)])) as scans:
            found = next(scans)
            self._progress("writing the answer")
            return use(found, pipeline.extractor, [line.removeprefix(f"{self.scan.path}: ") for line in warned])

    def _check_size(self, path: Path) -> None:
        """Refuse a file that a small upload unpacks to too much."""
        file = open_nifti(path, as_stored=True)
        size = file.offset + int(np.prod(file.shape, dtype=object)) * file.dtype.itemsize
        if size > self.most_bytes:
            raise TooLarge(f"{path}: expected at most {self.most_bytes:,} bytes when unpacked, found {size:,}")

    def _progress(self, line: str) -> None:
        if self.stopped.is_set():
            raise _Stopped
        self.line = line.replace(self.scan.path.name, self.scan.name)


class QueuedSession:
    """The model's session as threads see it: each call waits for its turn in the model's queue."""

    def __init__(self, work: ScanWork, loop: asyncio.AbstractEventLoop, compute: Compute):
        self._work, self._loop, self._compute = work, loop, compute
        session = work.by.model.session
        self.info: RuntimeInfo = session.info
        self.inputs: tuple[InputSpec, ...] = session.inputs

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        waiting = asyncio.run_coroutine_threadsafe(self._compute(inputs), self._loop)
        while True:
            try:
                return waiting.result(_LOOK_S).outputs
            except TimeoutError:
                if waiting.done():
                    raise
                if self._work.stopped.is_set():
                    waiting.cancel()
                    raise _Stopped from None

    def place(self, inputs: Arrays) -> Computation:
        """A computation without a place in the queue, for timing."""
        return self._work.by.model.session.place(inputs)
