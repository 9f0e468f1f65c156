"""What the commands print: lines and tables, and on a terminal what is being done now. Errors are entry.py's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.padding import Padding
from rich.table import Table

from swift_export.backbone.config import SHAPE_INVISIBLE

if TYPE_CHECKING:
    from swift_export.parity.diff import DiffReport
    from swift_export.parity.results import ParityReport
    from swift_export.weights import Weights

__all__ = ["Console"]

#: Wide enough that no table of ours is cut where there is no terminal to fit into.
_FILE_WIDTH = 200


class Console:
    """Prints, or with ``quiet`` does not."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._out = RichConsole(quiet=quiet, markup=False, highlight=False, emoji=False)
        if not self._out.is_terminal:
            self._out.width = _FILE_WIDTH

    def line(self, text: str, style: str | None = None) -> None:
        """One line, however long."""
        self._out.print(text, style=style, soft_wrap=True)

    def facts(self, facts: Mapping[str, str], indent: str = "") -> None:
        """Names and values, aligned."""
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            self.line(f"{indent}{name:<{width}}  {value}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], indent: int = 0) -> None:
        """Rows under bold headings, without lines."""
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*row)
        self._out.print(Padding(table, (0, 0, 0, indent), expand=False))

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """A function that shows what is being done now, on a terminal and until the block ends."""
        if self.quiet or not self._out.is_terminal:
            yield lambda _: None
            return
        with self._out.status("") as status:
            yield status.update

    def report(self, report: ParityReport | DiffReport) -> None:
        """What a check or a comparison measured."""
        from swift_export.parity.report import render
        from swift_export.parity.results import ParityReport

        if isinstance(report, ParityReport):
            render(report, self._out)
        else:
            report.render(self._out)

    def weights(self, weights: Weights) -> None:
        """Which weights were loaded, and the settings that no tensor's shape tells: always shown."""
        provenance = weights.provenance
        size = sum(tensor.size for tensor in weights.tensors.values())
        facts = {"weights": f"{provenance.name} ({weights.variant}), {size:,} parameters, digest {weights.digest[:12]}"}
        for name in SHAPE_INVISIBLE:
            value = getattr(weights.config, name)
            shown = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            source = f"assumed from {weights.variant}: the file does not say" if name in provenance.assumed else ""
            facts[name] = f"{shown}  {source}".rstrip()
        others = sorted(set(provenance.assumed) - set(SHAPE_INVISIBLE))
        if others:
            facts["also assumed"] = ", ".join(f"{name} {provenance.assumed[name]}" for name in others)
        self.facts(facts)
        for note in provenance.notes:
            self.line(f"note: {note}")
        if provenance.synthetic:
            self.line(f"SYNTHETIC WEIGHTS (seed {provenance.seed}): the features mean nothing", style="bold yellow")
