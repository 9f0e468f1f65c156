"""Acceptance limits of the door for any JAX model: six networks in every runtime, and planted faults located."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import jax

ROOT = Path(__file__).resolve().parent.parent

__all__ = ["door_bars"]

#: Name of the figure, its limit, the measured value, and whether the limit is met.
Bar = tuple[str, str, str, bool]


def door_bars(scratch: Path) -> Iterator[Bar]:
    """Export every network in all formats, check it in all installed runtimes at unseen sizes, and plant faults."""
    sys.path.insert(0, str(ROOT / "tests" / "models"))
    nets, faults = import_module("door_nets"), import_module("door_faults")
    for name, make in nets.NETS.items():
        yield _checked(name, make(nets.REAL), scratch / f"door-{make.__name__}")
    found = []
    for number, fault in enumerate(faults.planted(nets.REAL.layers)):
        folder = scratch / f"door-fault{number}"
        folder.mkdir()
        place = faults.find(fault, nets.REAL, folder)
        found.append(place is not None and place.place == fault.place)
        print(f"{'found' if found[-1] else 'missed'}: {fault.kind} in {fault.place}: {place}", flush=True)
    text = f"{sum(found)}, in the Equinox ViT"
    yield "door: faults traced to their layer", f">= 9 of {len(found)}", text, sum(found) >= 9


def _checked(name: str, net: Any, folder: Path) -> Bar:
    import swift_export
    from swift_export.exporting import identified
    from swift_export.models import as_model

    model = identified(as_model(net.thing, net.inputs, **net.options))
    begun = time.perf_counter()
    swift_export.export(model, output=folder, check=False)
    report = swift_export.check(folder, weights=replace(model, sizes=net.unseen), blocks=False)
    seconds = time.perf_counter() - begun
    jax.clear_caches()
    for line in report.failures:
        print(line, flush=True)
    errors = [
        error
        for found in report.artifacts
        for c in found.comparisons
        for error in (c.difference.relative_l2, c.difference.relative_max)
    ]
    cells = len(report.artifacts)
    parameters = sum(array.size for array in model.weights.values())
    text = f"{max(errors):.1e}, {cells} files and runtimes in {seconds:.0f} s, {parameters / 1e6:.1f} M parameters"
    limit = "<= 1e-5 in every runtime"
    return f"door: {name}, sizes unseen at export", limit, text, report.passed and max(errors) <= 1e-5
