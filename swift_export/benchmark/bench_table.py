"""A benchmark as a table for a terminal, as lines, and as a page in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from swift_export.benchmark.bench_rows import Benchmark, Row, machine_facts
from swift_export.system.rounds import Timing
from swift_export.system.text import one_line, plural

__all__ = ["Column", "conditions", "digits", "facts", "failures", "markdown", "milliseconds", "notes", "table"]

_NONE = "–"
#: Columns that a narrow terminal does without, in this order.
_LESS = ("first s", "load s", "±", "with copies", "peak MB", "card MB")
#: A larger difference between files of the same weights is no rounding of any precision.
SUSPICIOUS = 0.05


@dataclass(frozen=True)
class Column:
    """A heading and its cells; numbers are aligned to the right."""

    head: str
    cell: Callable[[Row], str]
    number: bool = True


def table(bench: Benchmark, width: int | None = None) -> tuple[list[str], list[list[str]], set[str]]:
    """Headings, rows of text and the headings of numbers.

    Columns in which nothing is said are left out, and of those in `_LESS` as many as do not fit into ``width``.
    """
    rows = bench.measured
    shown = [(column, [column.cell(row) for row in rows]) for column in _columns(bench)]
    shown = [(column, cells) for column, cells in shown if any(cell not in ("", _NONE) for cell in cells)]
    for less in _LESS:
        if width is not None and sum(2 + max(map(len, [column.head, *cells])) for column, cells in shown) - 2 > width:
            shown = [(column, cells) for column, cells in shown if column.head != less]
    numbers = {column.head for column, _ in shown if column.number}
    heads = [column.head for column, _ in shown]
    return heads, [list(cells) for cells in zip(*(cells for _, cells in shown), strict=True)], numbers


def _columns(bench: Benchmark) -> list[Column]:
    price, item = bench.price_per_hour, bench.item
    on_card = any(row.contender.device == "gpu" for row in bench.rows)
    halves = any(row.contender.stored != "float32" for row in bench.rows)
    return [
        Column("artifact", lambda row: row.contender.artifact, False),
        Column("runtime", lambda row: row.contender.runtime.name, False),
        Column("device", lambda row: row.contender.device if on_card else "", False),
        Column("precision", lambda row: row.contender.stored if halves else "", False),
        Column("batch", lambda row: str(row.contender.items)),
        Column("sizes", lambda row: row.contender.others, False),
        Column("ms", lambda row: milliseconds(row.timing)),
        Column("±", lambda row: f"{row.timing.spread:.0%}" if row.timing else _NONE),
        Column("with copies", lambda row: milliseconds(Timing(row.copied)) if row.copied else _NONE),
        Column(f"{item}s/s", lambda row: digits(row.items_per_s)),
        Column("ratio", lambda row: _cell(row.ratio, "{:.2f}")),
        Column("load s", lambda row: _cell(row.load_s, "{:.2f}")),
        Column("first s", lambda row: _cell(row.first_s, "{:.2f}")),
        Column("peak MB", lambda row: _cell(row.peak, "{:.0f}", 1e6)),
        Column("card MB", lambda row: _cell(row.device_memory, "{:.0f}", 1e6)),
        Column(f"J/{item}", lambda row: _cell(row.joules, "{:.3g}")),
        Column("per 1,000", lambda row: digits(row.cost(price))),
        Column("rel. L2", lambda row: _cell(row.relative_l2, "{:.1e}")),
    ]


def milliseconds(timing: Timing | None) -> str:
    """The median in milliseconds."""
    return digits(1e3 * timing.median if timing else None)


def digits(value: float | None) -> str:
    """A number with four digits, or all of its whole ones."""
    if value is None:
        return _NONE
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _cell(value: float | None, text: str, scale: float = 1.0) -> str:
    return _NONE if value is None else text.format(value / scale)


def facts(bench: Benchmark) -> dict[str, str]:
    """The machine, the runtimes and the conditions, by name."""
    found = machine_facts()
    threads = f"{plural(bench.threads, 'thread')} of {plural(found['processors'], 'processor')}"
    card = found["card"]
    infos = dict.fromkeys(f"{row.info.name} {row.info.version}" for row in bench.rows if row.info)
    told = {
        "processor": f"{found['processor']}, {threads}",
        "card": f"{card['name']}, driver {card['driver']}, {card['memory_bytes'] / 1e9:.0f} GB" if card else "",
        "runtimes": ", ".join(infos),
        "input": bench.input,
        "ratio to": bench.against.who,
    }
    return {name: value for name, value in told.items() if value}


def conditions(bench: Benchmark, heads: Collection[str]) -> list[str]:
    """How to read columns, one sentence a line."""
    item = bench.item
    said = {
        "ms": "ms: median of a call, with the inputs in the runtime's memory.",
        "±": "±: half the distance of the quartiles from each other, relative to the median.",
        "with copies": "with copies: ms from arrays to arrays.",
        "ratio": "ratio: to the baseline of the same batch size in the same rounds; below 1 is faster.",
        "first s": "first s: the first call, which may compile.",
        "peak MB": "peak MB: of the runtime's process, loading and compiling included.",
        "card MB": "card MB: what the process took on the card.",
        f"J/{item}": f"J/{item}: by the counter of {' and '.join(bench.energy_of.values())}, idle power included.",
        "per 1,000": f"per 1,000: price of 1,000 {item}s at {bench.price_per_hour} per hour.",
        "rel. L2": "rel. L2: difference of the outputs from the baseline's, unless the weights differ.",
    }
    return [sentence for head, sentence in said.items() if head in heads]


def notes(bench: Benchmark) -> list[str]:
    """What to know about the figures beside the failures, one line each."""
    lines = [f"not measured: {one.what}: {one.reason}" for one in bench.skipped]
    waiting = [row for row in bench.rows if row.status == "waiting"]
    if waiting:
        lines.append(f"not reached: {plural(len(waiting), 'row')}")
    without = dict.fromkeys(row.contender.items for row in bench.measured if row.ratio is None)
    if without:
        lines.append(f"no ratio at batch {', '.join(map(str, without))}: the baseline was not measured there")
    if bench.idle > 0.1:
        lines.append(f"waiting rows used up to {bench.idle:.0%} of a processor: short times may be too long")
    for row in bench.measured:
        if row.relative_l2 is not None and not row.relative_l2 <= SUSPICIOUS:
            lines.append(
                f"{row.contender}: its outputs differ from the baseline's by {row.relative_l2:.2g}; run swift-export "
                "check on both"
            )
    if bench.lineup.synthetic:
        lines.append("synthetic weights: the outputs mean nothing, the times do")
    return lines


def failures(bench: Benchmark) -> list[str]:
    """One line for each row that failed."""
    return [one_line(f"{row.contender}: {row.reason}") for row in bench.failed]


def markdown(bench: Benchmark, picture: str | None = None) -> str:
    """The page."""
    heads, rows, numbers = table(bench)
    lines = ["# Benchmark", "", *(f"- {name}: {_plain(value)}" for name, value in facts(bench).items()), ""]
    if picture:
        lines += [f"![Milliseconds of each row]({picture})", ""]
    lines += [f"| {' | '.join(heads)} |", f"|{'|'.join('--:' if head in numbers else '---' for head in heads)}|"]
    lines += [f"| {' | '.join(map(_plain, row))} |" for row in rows]
    lines += ["", *(f"- {sentence}" for sentence in conditions(bench, heads))]
    lines += [f"- {_plain(line)}" for line in notes(bench)]
    lines += [f"- failed: {_plain(line)}" for line in failures(bench)]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text from anywhere as part of a line of Markdown."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")
