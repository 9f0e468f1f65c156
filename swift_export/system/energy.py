"""Energy counters: the card's by NVIDIA's library, the processor's packages by Linux's powercap files (RAPL)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swift_export.system.nvml import find_card

__all__ = ["Energy", "card_energy", "package_energy"]

_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Energy:
    """A counter of everything that happens on a device. ``joules`` grows; ``of`` names what is counted."""

    of: str
    joules: Callable[[], float]


def card_energy() -> Energy | None:
    """The counter of the card; None if there is no card or it does not count."""
    card = find_card()
    if card is None or card.joules() is None:
        return None
    return Energy(card.name, lambda: card.joules() or 0.0)


def package_energy(folder: Path = _POWERCAP) -> Energy | None:
    """The counters of all processor packages together; None if they are absent, or only root may read them."""
    packages = sorted(folder.glob("intel-rapl:*[0-9]"))
    # intel-rapl:0:0 is a part of intel-rapl:0.
    packages = [package for package in packages if package.name.count(":") == 1]
    try:
        counters = [_Counter(package) for package in packages]
    except (OSError, ValueError):
        return None
    return Energy("processor packages", lambda: sum(map(_Counter.joules, counters))) if counters else None


class _Counter:
    """One package; its file starts again at 0 when it reaches its range."""

    def __init__(self, package: Path):
        self._file = package / "energy_uj"
        self._range = int((package / "max_energy_range_uj").read_text())
        self._last = self._read()
        self._total = 0

    def _read(self) -> int:
        return int(self._file.read_text())

    def joules(self) -> float:
        now = self._read()
        self._total += (now - self._last) % (self._range + 1)
        self._last = now
        return self._total / 1e6
