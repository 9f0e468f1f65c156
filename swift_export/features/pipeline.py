"""Scans through a backbone, one after another: reading and computing overlap, so that the processor is never idle.

A thread reads the next scan for its statistics while windows of the current one are computed. The first scan is read
while the artifact is loaded.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Semaphore
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from swift_export.errors import InputError, SwiftExportError, UsageError
from swift_export.features.extractor import Backbone, Extractor
from swift_export.features.output_kinds import OutputKind
from swift_export.scans.clip_array import other_placement, read_clips
from swift_export.scans.plausibility import ScanWarning, Warn
from swift_export.scans.read_options import Reading
from swift_export.scans.scan import Doubts, is_nifti, open_scan
from swift_export.scans.scan_windows import count_windows
from swift_export.system.machine import all_processors
from swift_export.system.progress import Progress, clock, ignore_line

__all__ = ["Pipeline", "ScanFeatures", "ScanFile", "Windowed"]


class Windowed(Protocol):
    """A source of windows: an open scan, or prepared clips."""

    @property
    def name(self) -> str:
        """The name of the file."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """The provenance of the windows, as plain data for JSON."""
        ...

    def __len__(self) -> int: ...

    def write(self, number: int, out: Float32[np.ndarray, "h w d t"]) -> None:
        """Compute a window into ``out``."""
        ...


@dataclass(frozen=True)
class ScanFile:
    """A NIfTI run with its mask, if it has one; a folder of the authors' frames; or prepared clips, ``.npy``."""

    path: Path
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class ScanFeatures:
    """The output for every window of a scan, in order.

    ``source`` gives the windows until the next scan is asked for. ``digest`` is the SHA-256 of the scan's file, None
    for a folder. ``seconds`` is the time of the computation.
    """

    file: ScanFile
    source: Windowed
    digest: str | None
    values: Float32[np.ndarray, "windows ..."]
    seconds: float


#: An open scan, what closes it, and the warnings about it.
_Opened = tuple[Windowed, ExitStack, list[str]]


class _Stopped(Exception):  # noqa: N818 - not an error
    """The pipeline was left while a scan was being read."""


@dataclass(eq=False)
class Pipeline:
    """The features of scans, by one artifact.

    Attributes:
        backbone: the artifact.
        reading: how NIfTI runs and folders of frames are read; None if there are only prepared clips.
        kind: the kind of output.
        batch: windows in a batch; the fixed size of the artifact's batch precedes it.
        threads: threads of the runtime; None: one per processor.
        spool: folder for the unpacked foreground of runs; None: the one for temporary files.
        strict: treat warnings about prepared clips as errors, as ``reading`` does those about scans.
        warn: receives conditions that may make the features meaningless.
        on_progress: receives the current step.
        loaded: the artifact if it is loaded already; else it is loaded for the first scans.

    """

    backbone: Backbone
    reading: Reading | None
    kind: OutputKind
    batch: int = 1
    threads: int | None = None
    spool: Path | None = None
    strict: bool = False
    warn: Warn | None = None
    on_progress: Progress = ignore_line
    loaded: Extractor | None = None

    @property
    def extractor(self) -> Extractor:
        """The artifact, which is loaded for the first scans."""
        assert self.loaded is not None, "scans are being computed"
        return self.loaded

    def __call__(self, files: Sequence[ScanFile]) -> Generator[ScanFeatures, None, None]:
        """The features of each scan, in order.

        Raises:
            InputError: a scan does not meet the input contract; those before it have been given.
            UsageError: an option does not apply to a scan.
            MachineError: the runtime failed.

        """
        stopped = Event()
        pace = _Pace(len(files))
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "digest") as digester:
            try:
                upcoming = reader.submit(self._open, files[0], stopped, self.on_progress) if files else None
                for number, file in enumerate(files):
                    assert upcoming is not None
                    digest = digester.submit(_digest, file.path, stopped)
                    if self.loaded is None:
                        self.loaded = self.backbone.load(self.threads, self._most_batches(files), self.batch)
                    extractor = self.loaded
                    source, closing, messages = upcoming.result()
                    for message in messages:
                        self._pass_on(message)
                    if number + 1 < len(files):
                        upcoming = reader.submit(self._open, files[number + 1], stopped, ignore_line)
                    with closing:
                        begun = time.perf_counter()
                        values = np.concatenate(list(self._computed(extractor, source, pace)))
                        seconds = time.perf_counter() - begun
                        yield ScanFeatures(file, source, digest.result(), values, seconds)
            finally:
                stopped.set()
                _close(upcoming)

    @property
    def together(self) -> int:
        """Windows in a batch."""
        return self.backbone.batch or self.batch

    def _most_batches(self, files: Sequence[ScanFile]) -> int:
        """The most batches that any scan has; counting ends where each processor has one."""
        most = 1
        for file in files:
            # Only a hint: the error of a bad scan is that of opening it.
            with suppress(SwiftExportError):
                windows = count_windows(file.path, self.reading, self.backbone.size, self.backbone.frames)
                most = max(most, -(-windows // self.together))
            if most >= all_processors():
                break
        return most

    def _pass_on(self, message: str) -> None:
        # In the thread of the caller: while the artifact is loaded, what other threads print may be lost.
        if self.warn is None:
            warnings.warn(message, ScanWarning, stacklevel=2)
        else:
            self.warn(message)

    def _open(self, file: ScanFile, stopped: Event, on_progress: Progress) -> _Opened:
        messages: list[str] = []

        def progress(line: str) -> None:
            if stopped.is_set():
                raise _Stopped
            on_progress(line)

        with ExitStack() as stack:
            source = stack.enter_context(self._opened(file, messages.append, progress))
            return source, stack.pop_all(), messages

    @contextmanager
    def _opened(self, file: ScanFile, warn: Warn, on_progress: Progress) -> Iterator[Windowed]:
        path, backbone = file.path, self.backbone
        if file.mask is not None and not is_nifti(path):
            raise UsageError(f"{path}: --mask applies only to NIfTI runs; prepared clips and frames are masked already")
        if path.suffix == ".npy":
            clips = read_clips(path, backbone.size, backbone.frames)
            doubt = Doubts(path, self.strict, warn)
            placement = backbone.contract.placement if self.reading is None else self.reading.placement.name
            if placement is not None and (line := other_placement(path, placement)) is not None:
                doubt(line)
            doubt.pass_on()
            yield clips
        elif is_nifti(path) or path.is_dir():
            assert self.reading is not None, "scans are read by options"
            with open_scan(
                path,
                self.reading,
                backbone.size,
                backbone.frames,
                mask=file.mask,
                spool=self.spool,
                warn=warn,
                on_progress=on_progress,
            ) as scan:
                yield scan
        else:
            raise InputError(
                f"{path}: expected a NIfTI run (.nii, .nii.gz), a folder of frame_N.pt, or prepared clips (.npy)"
            )

    def _computed(self, extractor: Extractor, source: Windowed, pace: _Pace) -> Iterator[Float32[np.ndarray, ...]]:
        size = self.together
        batches = [range(first, min(first + size, len(source))) for first in range(0, len(source), size)]
        pace.begin(len(source))
        shape = (*self.backbone.size, self.backbone.frames)
        # A thread prepares its windows and computes them. Another one waits with windows ready for a runtime that
        # computes one batch after the other, unless that has one processor, which it would take time from.
        waiting = extractor.at_once == 1 < extractor.threads
        threads = min(extractor.at_once + waiting, len(batches))
        buffers: SimpleQueue[np.ndarray] = SimpleQueue()
        for _ in range(threads):
            buffers.put(np.empty((min(size, len(source)), 1, *shape), np.float32))
        computing, stopped = Semaphore(extractor.at_once), Event()

        def computed(batch: range) -> Float32[np.ndarray, ...]:
            buffer = buffers.get()
            try:
                clips = buffer[: len(batch)]
                for clip, window in zip(clips, batch, strict=True):
                    source.write(window, clip[0])
                with computing:
                    if stopped.is_set():
                        raise _Stopped
                    return extractor(clips, self.kind)
            finally:
                buffers.put(buffer)

        with ThreadPoolExecutor(threads, "windows") as pool:
            upcoming = [pool.submit(computed, batch) for batch in batches]
            try:
                for future, batch in zip(upcoming, batches, strict=True):
                    self.on_progress(pace.line(source.name, batch))
                    yield future.result()
                    pace.add(len(batch))
            finally:
                stopped.set()
                for future in upcoming:
                    future.cancel()


@dataclass(eq=False)
class _Pace:
    """Counts windows over all scans, for the progress: clips per second, and the time left."""

    scans: int
    begun: int = 0
    expected: int = 0
    done: int = 0
    seconds: float = 0.0
    _last: float = 0.0

    def begin(self, windows: int) -> None:
        self.begun += 1
        self.expected += windows
        self._last = time.perf_counter()

    def add(self, windows: int) -> None:
        now = time.perf_counter()
        self.done += windows
        self.seconds += now - self._last
        self._last = now

    def line(self, name: str, batch: range) -> str:
        total = self.expected - self.done
        scan = f"scan {self.begun} of {self.scans}, " if self.scans > 1 else ""
        line = f"computing {name}: {scan}window {batch.start + 1} of {batch.start + total}"
        if not self.done:
            return line
        rate = self.done / self.seconds
        # Scans that are not open yet are expected to be as long as those before them.
        rest = total + (self.scans - self.begun) * self.expected / self.begun
        return f"{line}, {rate:.2f} clips/s, {clock(rest / rate)} left"


def _close(upcoming: Future[_Opened] | None) -> None:
    """Wait for a scan that is being read and was not used, and close it."""
    if upcoming is None:
        return
    try:
        _, closing, _ = upcoming.result()
    except Exception:  # nobody asks for this scan any more
        return
    closing.close()


def _digest(path: Path, stopped: Event) -> str | None:
    if path.is_dir():
        return None
    whole, piece = hashlib.sha256(), memoryview(bytearray(2**18))
    with path.open("rb", buffering=0) as file:
        while not stopped.is_set() and (size := file.readinto(piece)):
            whole.update(piece[:size])
    return whole.hexdigest()
