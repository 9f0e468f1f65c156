"""The figures of a benchmark: one row for each contender, measured or not, and the machine."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from swift_export._version import __version__
from swift_export.benchmark.contenders import Contender, Lineup, Skipped
from swift_export.runtimes.base import RuntimeInfo
from swift_export.system.hardware import processor, vectors
from swift_export.system.machine import all_processors
from swift_export.system.nvml import find_card
from swift_export.system.rounds import Timing

__all__ = ["Benchmark", "Row", "machine_facts"]


@dataclass(eq=False)
class Row:
    """The figures of a contender. Times are in seconds, memory in bytes.

    Attributes:
        status: ``failed`` rows have a ``reason``, ``waiting`` ones were not reached.
        info: the runtime that computed.
        load_s: loading the artifact.
        first_s: the first call, which may compile.
        compute: calls with the inputs in the runtime's memory and the outputs left there.
        copied: calls from arrays to arrays, if requested.
        baseline: the baseline's calls in the same rounds; empty without a baseline of the same batch size.
        peak: peak memory of the process that computes.
        device_memory: what it took on the card.
        joules: energy per item, of everything on the device.
        relative_l2: largest difference of an output from the baseline's; None if they cannot be compared.

    """

    contender: Contender
    status: Literal["waiting", "measured", "failed"] = "waiting"
    reason: str = ""
    info: RuntimeInfo | None = None
    load_s: float | None = None
    first_s: float | None = None
    compute: list[float] = field(default_factory=list)
    copied: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    peak: int | None = None
    device_memory: int | None = None
    joules: float | None = None
    relative_l2: float | None = None

    @property
    def timing(self) -> Timing | None:
        """The times of the computation; None if there are none."""
        return Timing(self.compute) if self.compute else None

    @property
    def items_per_s(self) -> float | None:
        """Items per second at the median."""
        return self.contender.items / self.timing.median if self.timing else None

    @property
    def ratio(self) -> float | None:
        """The median over that of the baseline in the same rounds; below 1 is faster."""
        return self.timing.ratio(Timing(self.baseline)) if self.timing and self.baseline else None

    def cost(self, price_per_hour: float | None) -> float | None:
        """The price of 1,000 items on a machine of this price."""
        rate = self.items_per_s
        return None if price_per_hour is None or rate is None else 1000 / rate * price_per_hour / 3600

    def to_dict(self, price_per_hour: float | None) -> dict[str, Any]:
        """Plain data for JSON."""
        one, timing = self.contender, self.timing
        first, third = timing.quartiles if timing else (None, None)
        return {
            "artifact": one.artifact,
            "runtime": one.runtime.name,
            "version": None if self.info is None else self.info.version,
            "device": one.device,
            "precision": one.stored,
            "arithmetic": None if self.info is None else self.info.arithmetic,
            "sizes": dict(one.sizes),
            "items": one.items,
            "status": self.status,
            "reason": self.reason or None,
            "calls": len(self.compute),
            "median_s": timing and timing.median,
            "best_s": timing and timing.best,
            "quartiles_s": [first, third] if timing else None,
            "with_copies_median_s": Timing(self.copied).median if self.copied else None,
            "items_per_s": self.items_per_s,
            "ratio": self.ratio,
            "load_s": self.load_s,
            "first_call_s": self.first_s,
            "peak_bytes": self.peak,
            "device_bytes": self.device_memory,
            "joules_per_item": self.joules,
            "cost_per_1000": self.cost(price_per_hour),
            # JSON has no infinity.
            "relative_l2": self.relative_l2 if self.relative_l2 is None or self.relative_l2 < math.inf else None,
        }


@dataclass(eq=False)
class Benchmark:
    """A benchmark and its conditions; its rows are filled while it runs.

    ``idle`` is the largest share of a processor that waiting rows used while another one computed; ``energy_of`` names
    what the counter of a device counts.
    """

    lineup: Lineup
    against: Contender
    threads: int
    seconds: float
    input: str
    price_per_hour: float | None = None
    idle: float = 0.0
    energy_of: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = [Row(contender) for contender in self.lineup.contenders]

    @property
    def measured(self) -> list[Row]:
        """The rows with times, in part if the benchmark was interrupted."""
        return [row for row in self.rows if row.status == "measured"]

    @property
    def failed(self) -> list[Row]:
        """The rows that failed."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def skipped(self) -> Sequence[Skipped]:
        """The rows that cannot be."""
        return self.lineup.skipped

    @property
    def item(self) -> str:
        """What an item is called."""
        return "clip" if self.lineup.clips else "item"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "machine": machine_facts(),
            "threads": self.threads,
            "seconds": self.seconds,
            "input": self.input,
            "against": self.against.who,
            "price_per_hour": self.price_per_hour,
            "idle_share_of_a_processor": round(self.idle, 3),
            "energy_of": dict(self.energy_of),
            "rows": [row.to_dict(self.price_per_hour) for row in self.rows],
            "skipped": [asdict(skipped) for skipped in self.skipped],
        }


def machine_facts() -> dict[str, Any]:
    """The processor, the card and the versions, without anything that identifies the machine."""
    card = find_card()
    return {
        "processor": processor(),
        "vectors": vectors() or None,
        "processors": all_processors(),
        "card": None if card is None else {"name": card.name, "driver": card.driver, "memory_bytes": card.memory},
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "swift_export": __version__,
    }
