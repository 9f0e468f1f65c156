"""Examples in help texts."""

from __future__ import annotations

__all__ = ["examples"]


def examples(*commands: str) -> str:
    """An epilog of example commands, one per line."""
    # A bracket in a command is no markup.
    plain = [command.replace("[", "\\[") for command in commands]
    return "\n".join(["[bold]Examples[/bold]", *(f"[dim]$[/dim] {command}" for command in plain)])
