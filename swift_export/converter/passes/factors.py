"""Sizes as a number times at most one unknown, which can be multiplied and divided exactly."""

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
        """The size as shapes write it."""
        if self.name is None:
            return self.number
        if self.number == 1:
            return self.name
        # 2*(a+b), not the sum 2*a+b.
        return f"{self.number}*{self.name}" if re.fullmatch(r"\w+", self.name) else f"{self.number}*({self.name})"


def as_factor(size: int | str) -> Factor:
    """Read a size; any other spelling is an unknown by itself."""
    if isinstance(size, int):
        return Factor(size)
    times = re.fullmatch(r"(\d+)\*(\w+)", size)
    return Factor(int(times[1]), times[2]) if times else Factor(1, size)


def product(factors: Iterable[Factor]) -> Factor | None:
    """The product; None if both are unknown."""
    whole = Factor(1)
    for factor in factors:
        if whole.name is not None and factor.name is not None:
            return None
        whole = Factor(whole.number * factor.number, whole.name or factor.name)
    return whole


def quotient(a: Factor, b: Factor) -> Factor | None:
    """The quotient; None unless a is a multiple of b for every value of the unknown."""
    if b.number == 0 or a.number % b.number or b.name not in (None, a.name):
        return None
    return Factor(a.number // b.number, None if b.name == a.name else a.name)
