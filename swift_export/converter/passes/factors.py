"""Sizes as a number times, at most, one unknown: what can be multiplied and divided exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Factor", "as_factor", "product", "quotient"]


@dataclass(frozen=True)
class Factor:
    """``number`` times the size called ``name``."""

    number: int
    name: str | None = None

    @property
    def size(self) -> int | str:
        """As shapes write it."""
        if self.name is None:
            return self.number
        return self.name if self.number == 1 else f"{self.number}*{self.name}"


def as_factor(size: int | str) -> Factor:
    """Read a size; one that is written in any other way is an unknown of its own."""
    if isinstance(size, int):
        return Factor(size)
    times = re.fullmatch(r"(\d+)\*(\w+)", size)
    return Factor(int(times[1]), times[2]) if times else Factor(1, size)


def product(factors: Iterable[Factor]) -> Factor | None:
    """None where two are unknown."""
    whole = Factor(1)
    for factor in factors:
        if whole.name is not None and factor.name is not None:
            return None
        whole = Factor(whole.number * factor.number, whole.name or factor.name)
    return whole


def quotient(a: Factor, b: Factor) -> Factor | None:
    """None where a is no multiple of b, whatever the unknown is."""
    if b.number == 0 or a.number % b.number or b.name not in (None, a.name):
        return None
    return Factor(a.number // b.number, None if b.name == a.name else a.name)
