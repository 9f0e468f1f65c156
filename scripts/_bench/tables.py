"""Tables of text: aligned for a terminal, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from _bench.bars import Verdict

__all__ = ["aligned", "cell", "markdown", "verdict_table"]

_NONE = "–"


def cell(value: float | None, text: str, scale: float = 1.0) -> str:
    """A number by a format such as ``{:.2f}``, or a dash."""
    return _NONE if value is None else text.format(value / scale)


def aligned(rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Lines of columns: the first ``words`` to the left, numbers to the right, the last one as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    return [
        "  ".join(
            text.ljust(width) if place < words or not width else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> list[str]:
    """Lines of a table whose first ``words`` columns are text, the others numbers."""
    rule = "|" + "---|" * words + "--:|" * (len(heads) - words)
    return [f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


def verdict_table(verdicts: Iterable[Verdict]) -> list[str]:
    """Lines of the table of limits, in Markdown."""
    rows = [[v.what, v.bar, v.stretch, v.measured, v.word] for v in verdicts]
    return markdown(["figure", "limit", "stretch goal", "measured", ""], rows, 5)
