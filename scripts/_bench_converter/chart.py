"""The chart: the time of each network's files over JAX's, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from _bench.chart import COLOURS, SETTINGS

from _bench_converter.measuring import Figures

__all__ = ["draw"]


def draw(rows: Sequence[Figures], subtitle: str, path: Path) -> None:
    """Draw horizontal bars from 1, JAX's time: to the left is faster. The suffix of ``path`` sets the format."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    timed = [figures for figures in rows if figures.to_jax is not None or figures.others_to_jax is not None]
    with mpl.rc_context(SETTINGS):
        figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.36 * len(timed)), layout="constrained")
        for offset, colour, label, ratios in (
            (-0.19, COLOURS["ours"], "files of swift-export", [figures.to_jax for figures in timed]),
            (0.19, COLOURS["others"], "files of jax2onnx", [figures.others_to_jax for figures in timed]),
        ):
            bars = [(place + offset, ratio) for place, ratio in enumerate(ratios) if ratio is not None]
            places, known = [place for place, _ in bars], [ratio for _, ratio in bars]
            # A bar begins at JAX's time, so that twice and half of it are equally long.
            axes.barh(places, [ratio - 1 for ratio in known], left=1, height=0.36, color=colour, label=label)
            for place, ratio in bars:
                side = "left" if ratio >= 1 else "right"
                text = f" {ratio:.2f}× " if ratio < 10 else f" {ratio:.0f}× "
                axes.text(ratio, place, text, va="center", ha=side, fontsize=7)
        axes.set_xscale("log")
        axes.axvline(1, color="#444444", linewidth=0.9)
        axes.margins(x=0.12, y=0.01)
        axes.set_yticks(range(len(timed)), [f"{f.network.title} · {f.network.framework}" for f in timed])
        axes.invert_yaxis()
        axes.set_xlabel("time in ONNX Runtime / time of jax.jit; left of the line is faster than JAX")
        figure.suptitle(subtitle, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(left=False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
        pyplot.close(figure)
