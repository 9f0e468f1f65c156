"""Adds options to commands by a decorator: typer reads them from the signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

__all__ = ["dataclass_options", "with_options"]


def with_options(
    run: Callable[..., None], command: Callable[..., None], replaced: str, options: Iterable[inspect.Parameter]
) -> Callable[..., None]:
    """Give ``run`` the name, the help and the parameters of ``command``, with ``options`` instead of one of them.

    All become keyword-only, because typer calls commands this way.
    """
    own = inspect.signature(command, eval_str=True)
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in own.parameters.items() if name != replaced]
    parameters = [*kept, *options]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return run


def dataclass_options(
    kind: type[Any], argument: str, names: Mapping[str, str] | None = None, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds the fields of a dataclass as options to a command.

    The command receives an instance as its argument ``argument``. ``names`` are options' names that differ from those
    of their fields; fields in ``without`` are no options and keep their defaults.
    """
    hints = get_type_hints(kind, include_extras=True)
    taken = {(names or {}).get(f.name, f.name): f for f in fields(kind) if f.name not in without}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for name, f in taken.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            values = {f.name: given.pop(name) for name, f in taken.items()}
            command(**given, **{argument: kind(**values)})

        return with_options(run, command, argument, options)

    return decorate
