"""The output of commands: lines, tables, and on a terminal the progress. entry.py prints errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.text import Text

from swift_export.models.swift.config import SHAPE_INVISIBLE
from swift_export.system.progress import Progress, ignore_line
from swift_export.system.tables import text_table
from swift_export.system.text import one_line, plural, printable, shortened, shown

if TYPE_CHECKING:
    from swift_export.models.swift.head import Head
    from swift_export.models.swift.weights import Weights
    from swift_export.parity.diff import DiffReport
    from swift_export.parity.results import ParityReport
    from swift_export.scans.contract import InputContract
    from swift_export.scans.scan import Reading

__all__ = ["Console"]

#: Width without a terminal, sufficient for all tables.
_FILE_WIDTH = 200
#: Most characters of a fact's name, and of the progress.
_NAME, _STATUS = 60, 200


class _Guarded(RichConsole):
    """Prints no control characters from any source; rich adds its own styles afterwards."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The printed pieces of text, each with its style."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment("\n".join(map(printable, segment.text.split("\n"))), segment.style)


class Console:
    """Prints the output of commands, or nothing with ``quiet``. With ``json``, which owns stdout, prints only progress.

    Text may come from untrusted files: control characters are escaped, and long lines are cut.
    """

    def __init__(self, quiet: bool = False, *, json: bool = False) -> None:
        self.quiet = quiet
        self._out = _Guarded(quiet=quiet or json, markup=False, highlight=False, emoji=False)
        self._errors = _Guarded(stderr=True, markup=False, highlight=False, emoji=False)
        self._progress = self._errors if json else self._out
        if not self._out.is_terminal:
            self._out.width = _FILE_WIDTH

    @property
    def width(self) -> int:
        """Characters in a line of the terminal."""
        return self._out.width

    def line(self, text: str, style: str | None = None) -> None:
        """Print one line without wrapping; of a very long one, only the beginning and the end."""
        self._out.print(shortened(text), style=style, soft_wrap=True)

    def warning(self, text: str) -> None:
        """Print one line on stderr, even with ``quiet``: results may be meaningless."""
        self._errors.print(one_line(f"swift-export: warning: {text}"), soft_wrap=True)

    def contract(self, contract: InputContract) -> None:
        """Print the model's placement of scans on its grid, and its source."""
        if contract.placement is not None:
            self.facts({"placement": f"{contract.placed().describe()}, {contract.orientation} ({contract.source})"})

    def placement(self, reading: Reading, contract: InputContract, runs: bool) -> None:
        """Print the placement of scans on the model's grid and its source; with ``runs``, also the dropped frames."""
        first, last = reading.dropped if runs else (0, 0)
        why = f" ({contract.source})" if contract.placement == reading.placement.name else ""
        self.facts({"placement": f"{reading.placement.describe()}, {reading.oriented}{why}"})
        if first or last:
            self.facts({"dropped  ": f"the first {first} and the last {last} frames of each NIfTI run"})

    def facts(self, facts: Mapping[str, str], indent: str = "") -> None:
        """Print names and values, aligned."""
        named = [(shown(name, _NAME), value) for name, value in facts.items()]
        width = max((len(name) for name, _ in named), default=0)
        for name, value in named:
            self.line(f"{indent}{name:<{width}}  {value}")

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str]], indent: int = 0, numbers: Collection[str] = ()
    ) -> None:
        """Print rows under bold headings, without lines; the columns ``numbers`` are aligned to the right."""
        table = text_table(columns, rows, numbers=numbers)
        self._out.print(Padding(table, (0, 0, 0, indent), expand=False))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A function that shows the progress on a terminal until the block ends."""
        if self.quiet or not self._progress.is_terminal:
            yield ignore_line
            return
        # A spinner of ASCII characters if the terminal supports no others.
        spinner = "line" if self._progress.options.ascii_only else "dots"
        with self._progress.status("", spinner=spinner) as status:
            # As text: a name in square brackets is not markup.
            yield lambda what: status.update(Text(one_line(what, _STATUS)))

    def report(self, report: ParityReport | DiffReport) -> None:
        """Print the results of a check or a comparison."""
        from swift_export.parity.report import render
        from swift_export.parity.results import ParityReport

        if isinstance(report, ParityReport):
            render(report, self._out)
        else:
            report.render(self._out)

    def weights(self, weights: Weights) -> None:
        """Print the loaded weights, and always the settings that tensor shapes do not determine."""
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

    def head(self, head: Head) -> None:
        """Print the head behind the backbone and the meaning of its outputs."""
        self.facts(
            {"head": f"{head.origin.get('file', head.name)} ({plural(head.outputs, 'output')}), {head.facts.text}"}
        )
