"""Help texts without types beside flags and named arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from swift_export.cli.bids_words import repeated

__all__ = ["App", "BidsCommand"]


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _untyped(super().get_params(ctx))


class BidsCommand(_Command):
    """A command with the conventions of BIDS Apps: options that take lists are followed by several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the arguments."""
        lists = {name for p in self.params if isinstance(p, TyperOption) and p.multiple for name in p.opts}
        return super().parse_args(ctx, repeated(args, lists))


class App(typer.Typer):
    """A `typer.Typer` whose help omits ``<bool>`` beside flags and ``<list[Path]>`` beside ``PATH...``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=_Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As in typer."""
        return super().command(name, **{"cls": _Command, **settings})


def _untyped(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
        elif isinstance(parameter, TyperArgument) and parameter.metavar:
            # The metavar is already shown as the name, and typer has no setting for the type beside it.
            vars(parameter)["display_type_rich"] = lambda ctx: None
    return parameters
