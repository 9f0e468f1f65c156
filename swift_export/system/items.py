"""Sequences that callers give: one item on its own stands for a sequence of one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar, overload

__all__ = ["as_items"]

T = TypeVar("T")


@overload
def as_items(given: Iterable[T]) -> tuple[T, ...]: ...
@overload
def as_items(given: T) -> tuple[T, ...]: ...
def as_items(given: Any) -> tuple[Any, ...]:
    """The items of ``given``; text, a path and whatever cannot be iterated over are one item each.

    ``as_items("features")`` is ``("features",)``, not its eight letters.
    """
    if isinstance(given, (str, bytes, os.PathLike)) or not isinstance(given, Iterable):
        return (given,)
    return tuple(given)
