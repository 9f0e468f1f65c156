"""Sequences that callers give: one item on its own stands for a sequence of one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar, cast

__all__ = ["as_items"]

T = TypeVar("T")


def as_items(given: T | Iterable[T]) -> tuple[T, ...]:
    """The items of ``given``; text, a path and whatever cannot be iterated over are one item each.

    ``as_items("features")`` is ``("features",)``, and not its eight letters.
    """
    if isinstance(given, (str, bytes, os.PathLike)) or not isinstance(given, Iterable):
        return (cast(T, given),)
    return tuple(given)
