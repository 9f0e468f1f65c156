"""The results of rows, as plain data: written by a row's process after every step, read by the check."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swift_export.system.rounds import Timing

__all__ = [
    "COPY",
    "UPLOAD",
    "CaseFiles",
    "Compared",
    "Outcome",
    "Request",
    "Spread",
    "Timed",
    "read_outcome",
    "write_outcome",
]

#: Keys of `Outcome.peaks` beside the precisions, which give FLOP/s: bytes per second read and written on the device,
#: and copied to it from an array.
COPY, UPLOAD = "copy", "upload"


@dataclass(frozen=True)
class CaseFiles:
    """An input of the comparison: files of clips, and the file with the reference's features for all of them."""

    input: str
    clips: tuple[str, ...]
    expected: str


@dataclass(frozen=True)
class Request:
    """The task of a row's process.

    ``path`` is the artifact, ``weights`` the reference's file. Each timing takes about ``seconds``.
    """

    engine: str
    precision: str
    device: str
    path: str | None
    weights: str
    cases: tuple[CaseFiles, ...]
    batches: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Compared:
    """One comparison with the reference; ``text`` gives its figures."""

    input: str
    batch: int
    relative_l2: float
    relative_max: float
    allowed_l2: float
    allowed_max: float
    passed: bool
    text: str


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some calls, in milliseconds."""

    median: float
    low: float
    high: float
    calls: int

    @classmethod
    def of(cls, timing: Timing) -> Spread:
        """The figures of measured seconds."""
        low, high = timing.quartiles
        return cls(1e3 * timing.median, 1e3 * low, 1e3 * high, len(timing.seconds))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True)
class Timed:
    """The times of one batch size.

    ``compute`` has the clips on the device and leaves the features there, ``call`` is from array to array. ``memory``
    is the most in bytes that the process has held on the device so far, ``joules`` the energy that the card uses for
    one clip.
    """

    batch: int
    compute: Spread
    call: Spread
    memory: int | None
    joules: float | None


@dataclass
class Outcome:
    """What is known of a row so far.

    ``status`` is ``measured``, ``absent`` (nothing here can run it), ``failed``, ``stopped`` (after its share of the
    time) or ``not run``, with the ``reason``; while its process works, it is ``running``. Whatever was measured counts.
    """

    status: str = "running"
    reason: str = ""
    runtime: str = ""
    how: str = ""
    load_s: float | None = None
    compared: list[Compared] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)

    @property
    def wrong(self) -> list[Compared]:
        """The comparisons beyond their tolerance."""
        return [comparison for comparison in self.compared if not comparison.passed]

    def at(self, batch: int) -> Timed | None:
        """The times at a batch size, if it was measured."""
        return next((times for times in self.timed if times.batch == batch), None)


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Write it beside the request; a process that is killed meanwhile leaves the previous one."""
    draft = folder / "outcome.part"
    draft.write_text(json.dumps(asdict(outcome)))
    os.replace(draft, folder / "outcome.json")


def read_outcome(folder: Path) -> Outcome:
    """The last outcome that a row's process wrote; an empty one if there is none."""
    path = folder / "outcome.json"
    if not path.exists():
        return Outcome()
    fields: dict[str, Any] = json.loads(path.read_text())
    compared: Sequence[Mapping[str, Any]] = fields.pop("compared")
    timed: Sequence[dict[str, Any]] = fields.pop("timed")
    return Outcome(
        **fields,
        compared=[Compared(**one) for one in compared],
        timed=[Timed(**{**one, "compute": Spread(**one["compute"]), "call": Spread(**one["call"])}) for one in timed],
    )
