"""Acceptance limits of parity: every file in every runtime, the quick check, and the location of planted faults."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAULTS = 20

__all__ = ["parity_bars"]

#: Name of the figure, its limit, the measured value, and whether the limit is met.
Bar = tuple[str, str, str, bool]


def parity_bars(artifact: Path, command: Sequence[str], scratch: Path) -> Iterator[Bar]:
    """Measure with ``command``, the program that users call, on a complete artifact of the published size."""
    begun = time.perf_counter()
    subprocess.run([*command, "check", str(artifact), "--quiet"], check=True)
    seconds = time.perf_counter() - begun
    report = json.loads((artifact / "parity.json").read_text())
    cells = report["artifacts"]
    runtimes = {found["info"]["name"] for found in cells}
    errors = [
        c[measure] for found in cells for c in found["comparisons"] for measure in ("relative_l2", "relative_max")
    ]
    text = f"{len(runtimes)}, {len(cells)} files and runtimes in {seconds:.0f} s"
    yield "runtimes that pass `check` on a CPU", ">= 6", text, len(runtimes) >= 6
    yield "largest error in all of them, both measures", "<= 1e-5", f"{max(errors):.1e}", max(errors) <= 1e-5
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([*command, "check", "--quick", str(artifact), "--quiet"], check=True)
        times.append(time.perf_counter() - begun)
    slowest = max(times)
    yield "`check --quick` of all formats, slowest of three", "<= 10 s", f"{slowest:.1f} s", slowest <= 10
    faulty = scratch / "faulty"
    faulty.mkdir()
    lines = _traced(FAULTS, faulty)
    found = sum(line.startswith("found") for line in lines)
    yield "planted faults traced to their block", f">= 19 of {FAULTS}", str(found), found >= 19


def _traced(count: int, folder: Path) -> list[str]:
    """One line for each of ``count`` faults, drawn by a seed. It begins with ``found`` if the right block was named."""
    sys.path.insert(0, str(ROOT / "tests" / "parity"))
    faults = import_module("faults")

    from swift_export.models.swift.variants import VARIANTS
    from swift_export.models.swift.weights import synthetic_weights

    config = VARIANTS["contrastive"].config
    bench = faults.Bench(folder, synthetic_weights(config))
    lines = []
    for fault in faults.draw(config, count):
        found = bench.find(fault)
        word = "found" if found.block == fault.place else "missed"
        lines.append(f"{word}: {fault.kind} in {fault.place}: {found}")
        print(lines[-1], flush=True)
    return lines
