"""Times of competitors that run in turn, once per round: a change of the machine's speed affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Timing", "Turn", "take_turns", "timed"]

#: Runs a competitor and returns the seconds of its calls; None if it cannot go on.
Turn = Callable[[], Sequence[float] | None]


@dataclass(frozen=True)
class Timing:
    """The seconds of repeated calls, of which there is at least one."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The median, which no single interruption moves."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """The shortest time."""
        return min(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile; half of the calls lie between them."""
        if len(self.seconds) < 2:
            return self.median, self.median
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        first, third = self.quartiles
        return (third - first) / 2 / self.median if self.median else 0.0

    def ratio(self, reference: Timing) -> float:
        """The median over that of ``reference``, which took part in the same rounds; below 1 is faster."""
        return self.median / reference.median


def timed(call: Callable[[], object], least: int = 1, seconds: float = 0.0) -> list[float]:
    """The seconds of at least ``least`` calls, and of more until ``seconds`` have passed."""
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < least or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def take_turns(
    turns: Mapping[str, Turn], *, least: int, seconds: float = 0.0, ignored: int = 0
) -> dict[str, list[float]]:
    """The seconds of each competitor's calls, by name, without those that dropped out.

    After ``ignored`` rounds that do not count, there are at least ``least`` rounds, and more until ``seconds`` have
    passed.
    """
    found: dict[str, list[float]] = {name: [] for name in turns}
    rounds, begun = -ignored, time.perf_counter()
    while found and (rounds < least or time.perf_counter() - begun < seconds):
        if rounds == 0:
            begun = time.perf_counter()
        for name in list(found):
            took = turns[name]()
            if took is None:
                del found[name]
            elif rounds >= 0:
                found[name] += took
        rounds += 1
    return found
