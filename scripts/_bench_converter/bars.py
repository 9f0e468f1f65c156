"""The acceptance limits of the converter's speed, and whether a run meets them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from _bench.bars import Verdict

from _bench_converter.measuring import Figures

__all__ = ["verdicts"]


@dataclass(frozen=True)
class _Bar:
    what: str
    limit: float
    stretch: float
    value: Callable[[Figures], float | None]
    text: str = "{:.2f}"


def _nodes(name: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.ours.nodes if figures.network.name == name else None


_TO_JAX, _TO_OTHERS = "ours / jax.jit", "ours / jax2onnx's file, where that agrees"
_MEDIANS = (
    _Bar(_TO_JAX, 0.9, 0.7, lambda figures: figures.to_jax),
    _Bar(_TO_OTHERS, 0.95, 0.8, lambda figures: figures.to_others),
)
_WORST = (
    _Bar(_TO_JAX, 1.5, 1.0, lambda figures: figures.to_jax),
    _Bar(_TO_OTHERS, 1.1, 1.0, lambda figures: figures.to_others),
    _Bar("nodes of ResNet-18", 60, 50, _nodes("resnet18"), "{:.0f}"),
    _Bar("nodes of DINOv2-S", 420, 320, _nodes("dino"), "{:.0f}"),
)


def verdicts(rows: Sequence[Figures]) -> list[Verdict]:
    """The verdict on every limit: medians, the worst, and whether all networks convert and agree with JAX."""
    out = [_verdict(bar, f"{bar.what}, median", rows, _median) for bar in _MEDIANS]
    out += [_verdict(bar, f"{bar.what}, worst" if "/" in bar.what else bar.what, rows, _worst) for bar in _WORST]
    known = [figures for figures in rows if not figures.absent]
    right = len(known) - sum(figures.failed for figures in known)
    agree = f"{right} of {len(known)}"
    return [*out, Verdict("networks that convert and agree", "all", "–", agree, right == len(known))]


def _verdict(
    bar: _Bar, what: str, rows: Sequence[Figures], of_all: Callable[[list[tuple[float, str]]], tuple[float, str]]
) -> Verdict:
    found = [(value, figures.network.name) for figures in rows if (value := bar.value(figures)) is not None]
    measured, met = "–", None
    if found:
        value, note = of_all(found)
        measured, met = bar.text.format(value) + note, value <= bar.limit
    return Verdict(what, f"<= {bar.text.format(bar.limit)}", bar.text.format(bar.stretch), measured, met)


def _median(found: list[tuple[float, str]]) -> tuple[float, str]:
    return statistics.median(value for value, _ in found), f" of {len(found)}"


def _worst(found: list[tuple[float, str]]) -> tuple[float, str]:
    value, name = max(found)
    return value, f" ({name})" if len(found) > 1 else ""
