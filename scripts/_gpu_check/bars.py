"""The acceptance limits on a GPU, and whether a check meets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from _gpu_check.outcomes import Outcome
from _gpu_check.rows import ROWS

__all__ = ["Verdict", "verdicts"]

Outcomes = Mapping[str, Outcome]

#: The rows of our fastest file, with the same numbers whether or not its kernels start as one graph.
OURS = ("ort-float16-graph", "ort-float16")
JIT = ("jit-bfloat16",)
COMPILED = ("torch-compile-float16", "torch-compile-bfloat16")
#: Everything that reads a file of ours.
FILES = tuple(row.name for row in ROWS if row.file)


@dataclass(frozen=True)
class Verdict:
    """One row of the table of limits; ``met`` is None without a measurement."""

    figure: str
    limit: str
    stretch: str
    measured: str
    met: bool | None

    @property
    def word(self) -> str:
        """The verdict in words."""
        return {True: "met", False: "not met", None: "not measured"}[self.met]


def verdicts(found: Outcomes, seconds: float) -> list[Verdict]:
    """All limits; ``seconds`` is the time of the whole check."""
    ours, throughput = _best_ms(found, OURS, 1), _clips_per_s(found, OURS)
    return [
        _parity(found),
        _ratio("float16 in ONNX Runtime / jax.jit in bfloat16, batch 1", ours, _best_ms(found, JIT, 1), 1.0, 0.7),
        _ratio("the same / torch.compile with autocast", ours, _best_ms(found, COMPILED, 1), 0.7, 0.5),
        Verdict(
            "throughput at batch 16, clips on the device, float16 in ONNX Runtime",
            ">= 300 clips/s",
            "1000",
            "-" if throughput is None else f"{throughput:.0f} clips/s",
            None if throughput is None else throughput >= 300,
        ),
        Verdict("the whole check", "<= 8 min", "5 min", f"{seconds / 60:.1f} min", seconds <= 480),
    ]


def _parity(found: Outcomes) -> Verdict:
    compared = [one for name in FILES if name in found for one in found[name].compared]
    wrong = [one for one in compared if not one.passed]
    lost = [name for name in FILES if name in found and found[name].status == "failed" and not found[name].compared]
    measured = f"{len(compared) - len(wrong)} of {len(compared)} comparisons pass"
    if lost:
        measured += f"; no features from {', '.join(lost)}"
    met = not wrong and not lost if compared or lost else None
    return Verdict("parity of our files within the policy, in every precision", "all", "", measured, met)


def _ratio(figure: str, ours: float | None, theirs: float | None, limit: float, stretch: float) -> Verdict:
    if ours is None or theirs is None:
        return Verdict(figure, f"<= {limit}", str(stretch), "-", None)
    ratio = ours / theirs
    return Verdict(figure, f"<= {limit}", str(stretch), f"{ratio:.2f} ({ours:.2f} / {theirs:.2f} ms)", ratio <= limit)


def _best_ms(found: Outcomes, names: tuple[str, ...], batch: int) -> float | None:
    """The shortest median with the clips on the device: the best that each side can do is compared.

    Rows with wrong features do not count.
    """
    right = [found[name] for name in names if name in found and found[name].compared and not found[name].wrong]
    times = [outcome.at(batch) for outcome in right]
    return min((time.compute.median for time in times if time is not None), default=None)


def _clips_per_s(found: Outcomes, names: tuple[str, ...]) -> float | None:
    milliseconds = _best_ms(found, names, 16)
    return None if milliseconds is None else 16e3 / milliseconds
