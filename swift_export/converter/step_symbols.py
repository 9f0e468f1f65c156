"""The step of a counted loop as a symbol of shape arithmetic.

A loop that counts from a known start to a known end runs its body with ``0, 1, ..., last``. Inside the body its counter
is the polynomial ``start + step``, like a size: indices computed from it are compared with bounds at translation time,
through calls and the framework's treatment of negative indices.
"""

from __future__ import annotations

import onnx_ir as oir

from swift_export.converter.dims import Dim, Size

__all__ = ["Step", "highest", "lowest", "may_wrap", "parted"]


class Step(str):
    """The symbol of a loop's step, from 0 to ``last``: equal to no other symbol, of whatever name.

    ``turn`` is the step's value at run time.
    """

    turn: oir.Value
    last: Size

    def __new__(cls, name: str, turn: oir.Value, last: Size) -> Step:
        """A new symbol."""
        step = super().__new__(cls, name)
        step.turn, step.last = turn, last
        return step

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__


def parted(size: Size) -> tuple[Size, list[tuple[Step, int]]]:
    """A polynomial as one without steps, and the steps with their factors; other terms with steps stay in the first."""
    rest, steps = size, []
    for monomial, k in size.terms if isinstance(size, Dim) else ():
        if len(monomial) == 1 and isinstance(monomial[0], Step):
            rest = rest - k * Dim.symbol(monomial[0])
            steps.append((monomial[0], k))
    return rest, steps


def lowest(size: Size) -> Size:
    """The polynomial at the steps where it is lowest."""
    rest, steps = parted(size)
    for step, k in steps:
        rest = rest + k * step.last if k < 0 else rest
    # The last step of an inner loop may depend on the step of an outer one.
    return lowest(rest) if parted(rest)[1] else rest


def highest(size: Size) -> Size:
    """The polynomial at the steps where it is highest."""
    return -lowest(-size)


def may_wrap(size: Size, limit: int) -> bool:
    """Whether a number, or a polynomial with steps, may leave a signed type's range of -limit to limit - 1.

    Sizes of arrays do not, nor their sums with single steps.
    """
    if isinstance(size, int):
        return not -limit <= size < limit
    rest, steps = parted(size)
    if any(isinstance(name, Step) for name in getattr(rest, "symbols", ())):
        return True
    ends = lowest(size), highest(size)
    numbers = [end for end in ends if isinstance(end, int)]
    return any(not -limit <= n < limit for n in numbers) or (len(numbers) < 2 and any(abs(k) > 1 for _, k in steps))
