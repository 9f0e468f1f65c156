"""Help texts as this program shows them: no type beside a flag or a named argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

__all__ = ["App"]


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))


class App(typer.Typer):
    """A `typer.Typer` whose help shows no ``<bool>`` beside a flag, nor ``<list[Path]>`` beside ``PATH...``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=_Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As in typer."""
        return super().command(name, cls=_Command, **settings)


def _untyped(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
        elif isinstance(parameter, TyperArgument) and parameter.metavar:
            # The metavar is shown as the name already, and typer has no setting for the type beside it.
            vars(parameter)["display_type_rich"] = lambda ctx: None
    return parameters
