"""Tables on a terminal: bold headings, no lines. What is in them may come from files of any origin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from swift_export.system.text import one_line

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["text_table"]


def text_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Collection[str] = (),
    wrong: Callable[[Sequence[str]], bool] = lambda row: False,
) -> Table:
    """A table of text; the columns ``numbers`` are aligned to the right, rows that are ``wrong`` are red."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        # As text: a name in square brackets is no markup.
        table.add_row(*map(Text, map(one_line, row)), style="bold red" if wrong(row) else None)
    return table
