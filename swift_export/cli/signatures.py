"""Adds options to commands by a decorator: typer reads them from the signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

__all__ = ["with_options"]


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
