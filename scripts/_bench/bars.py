"""The acceptance limits on a CPU, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from _bench.measuring import Figures

__all__ = ["Verdict", "verdicts"]

Found = Mapping[str, Figures]


@dataclass(frozen=True)
class Verdict:
    """One row of the table of limits."""

    what: str
    bar: str
    stretch: str
    measured: str
    met: bool | None

    @property
    def word(self) -> str:
        """``met``, ``not met`` or ``not measured``."""
        return {True: "met", False: "**not met**", None: "not measured"}[self.met]


@dataclass(frozen=True)
class _Bar:
    what: str
    limit: float
    stretch: float | None
    value: Callable[[Found], float | None]
    text: Callable[[float], str]


def _ratio(name: str, to: str = "reference") -> Callable[[Found], float | None]:
    def value(found: Found) -> float | None:
        ratios = [found[n].timings[1].ratio for n in (name, to) if n in found and 1 in found[n].timings]
        # Each ratio has the reference of its own rounds as denominator.
        return ratios[0] / ratios[1] if len(ratios) == 2 else None

    return value


def _least(*values: Callable[[Found], float | None]) -> Callable[[Found], float | None]:
    return lambda found: min(_known(value(found) for value in values), default=None)


def _most(pick: Callable[[Figures], float | None], *names: str) -> Callable[[Found], float | None]:
    return lambda found: max(_known(pick(found[name]) for name in names if name in found), default=None)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _two(value: float) -> str:
    return f"{value:.2f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def _small(value: float) -> str:
    return f"{value:.1e}"


_PLAIN = "jax.jit of the plain forward"
_OURS = ("ort", "ort-portable")
_BARS = (
    _Bar(f"our ONNX (onnxruntime) in ONNX Runtime / {_PLAIN}", 0.42, 0.36, _ratio("ort"), _two),
    _Bar("the same with every block masked", 0.75, 0.55, _ratio("ort-masked"), _two),
    _Bar(f"our ONNX (portable) in ONNX Runtime / {_PLAIN}", 0.62, 0.50, _ratio("ort-portable"), _two),
    _Bar("our ONNX / jax2onnx's, both in ONNX Runtime", 0.38, 0.28, _ratio("ort", "jax2onnx-ort"), _two),
    _Bar(
        f"our ONNX in OpenVINO, faster target / {_PLAIN}",
        0.32,
        0.26,
        _least(_ratio("openvino"), _ratio("openvino-portable")),
        _two,
    ),
    _Bar("nodes of our ONNX (onnxruntime)", 420, 340, _most(lambda f: f.nodes, "ort"), _whole),
    _Bar("nodes of our ONNX (portable)", 480, 400, _most(lambda f: f.nodes, "ort-portable"), _whole),
    _Bar("session load in ONNX Runtime, slower target", 0.3, None, _most(lambda f: f.load_s, *_OURS), _seconds),
    _Bar(
        "peak memory of one inference in ONNX Runtime beyond the clip, larger target",
        600e6,
        300e6,
        _most(lambda f: f.memory, *_OURS),
        _megabytes,
    ),
    _Bar(
        "largest relative L2 of all our ONNX files against the plain forward",
        1e-5,
        None,
        _most(lambda f: f.error, *_OURS, "ort-masked", "ort-portable-masked", "openvino", "openvino-portable"),
        _small,
    ),
)


def verdicts(found: Found, golden: Mapping[str, float]) -> list[Verdict]:
    """The verdict on every limit; ``golden`` holds the errors of the recorded cases."""
    out = []
    for bar in _BARS:
        value = bar.value(found)
        measured, met = ("–", None) if value is None else (bar.text(value), value <= bar.limit)
        stretch = "–" if bar.stretch is None else bar.text(bar.stretch)
        out.append(Verdict(bar.what, f"<= {bar.text(bar.limit)}", stretch, measured, met))
    return [*out, _golden(golden)]


def _golden(errors: Mapping[str, float]) -> Verdict:
    """``sharp`` has an inherent float32 noise of 2e-5, and therefore a separate limit (tests/golden/README.md)."""
    what = "golden features, largest relative L2 in ONNX Runtime, both targets"
    bar, stretch = "<= 5e-06; `sharp` 1e-04", "2e-06"
    if not errors:
        return Verdict(what, bar, stretch, "–", None)
    worst = max(error for name, error in errors.items() if name != "sharp")
    measured = f"{_small(worst)}; `sharp` {_small(errors['sharp'])}"
    return Verdict(what, bar, stretch, measured, worst <= 5e-6 and errors["sharp"] <= 1e-4)
