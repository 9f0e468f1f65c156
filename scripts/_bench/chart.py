"""The bar chart: seconds per clip, by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from _bench.measuring import Figures

__all__ = ["COLOURS", "SETTINGS", "draw"]

COLOURS = {"jax": "#8a8f98", "ours": "#1f6f8b", "others": "#d98e4a"}
_LEGEND = {"jax": "JAX, no file", "ours": "files of swift-export", "others": "files of jax2onnx"}
#: Without dates and random ids, the same run gives the same file.
SETTINGS = {"svg.hashsalt": "bench", "font.size": 9.5, "font.family": "DejaVu Sans"}


def draw(rows: Sequence[Figures], subtitle: str, path: Path) -> None:
    """Draw horizontal bars with seconds and ratios, and a line at the first row.

    The suffix of ``path`` sets the format.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    timed = [figures for figures in rows if 1 in figures.timings]
    seconds = [figures.timings[1].median for figures in timed]
    with mpl.rc_context(SETTINGS):
        figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.36 * len(timed)), layout="constrained")
        axes.barh(range(len(timed)), seconds, color=[COLOURS[figures.row.family] for figures in timed], height=0.68)
        for place, (figures, value) in enumerate(zip(timed, seconds, strict=True)):
            label = f"{value:.2f} s   {figures.timings[1].ratio:.2f}×"
            # A white box keeps the line of the first row behind the text.
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            axes.text(value + max(seconds) * 0.012, place, label, va="center", bbox=box)
        axes.axvline(seconds[0], color="#444444", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(timed)), [figures.row.title for figures in timed])
        axes.invert_yaxis()
        axes.set_xlim(0, max(seconds) * 1.24)
        axes.set_xlabel("seconds a clip, median; × is the ratio to jax.jit of the plain forward")
        figure.suptitle(subtitle, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(left=False)
        families = [family for family in COLOURS if any(figures.row.family == family for figures in timed)]
        handles = [Patch(color=COLOURS[family], label=_LEGEND[family]) for family in families]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
        pyplot.close(figure)
