"""Examples in help texts."""

from __future__ import annotations

__all__ = ["examples"]


def examples(*commands: str) -> str:
    """An epilog of example commands, one per line."""
    return "\n".join(["[bold]Examples[/bold]", *(f"[dim]$[/dim] {command}" for command in commands)])
