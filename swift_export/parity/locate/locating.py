"""Locates a fault: finds the first place in the model whose value differs.

All values after a wrong one are wrong too, so all values before a right one are right. One probe with the values along
the outline finds the block, and bisection with about three more probes finds the place in it. A model without an
outline may have branches, for which this is not true: all its values are compared at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swift_export.parity.locate.axis_order import as_laid_out
from swift_export.parity.locate.intermediate_values import IntermediateValues
from swift_export.parity.measure.cases import Case
from swift_export.parity.measure.compare import Difference, compare
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.results import Comparison, Fault
from swift_export.parity.targets import Target

__all__ = ["block_of", "first_differing", "locate"]

#: Of what an output is allowed, as much is allowed to a value inside: correct runtimes are ten times nearer, and what
#: a fault does to the outputs it has as a rule done, within a factor of two or three, where it arose.
SHARE = 1 / 3


def locate(
    values: IntermediateValues, target: Target, comparison: Comparison, case: Case, allowed: Tolerance
) -> Fault | None:
    """The first differing place of a failed ``comparison``; the output itself if every place agrees.

    None if the artifact has no place with a name.

    ``allowed`` is the tolerance for outputs of a correct runtime in this precision.
    """
    limit = Tolerance(SHARE * allowed.relative_l2, SHARE * allowed.relative_max, "a value inside")
    measured: dict[str, Difference] = {}

    def differs(place: str) -> bool:
        if place not in measured:
            measured[place] = values.difference(target, case, place)
        return not measured[place].within(limit)

    model = values.model
    known = values.places(target, values.all_places)
    between = [place for place in _leading_to(comparison.output, model.outline or known) if place in known]
    measured |= _all_measured(values, target, case, between) if between else {}
    between = [place for place in between if place in measured]
    if not between and not model.outline:
        return None
    number = (first_differing if model.outline else _first)(between, differs)
    if number == len(between):
        before = between[-1] if between else None
        return _fault(comparison.output, before, comparison, comparison.difference)
    place, before = between[number], between[number - 1] if number else None
    if model.outline:
        within = [p for p in known if block_of(place) and block_of(p) == block_of(place) and p != place]
        values.expected(case, within)
        number = first_differing(within, differs)
        if number < len(within):
            place = within[number]
        before = within[number - 1] if number else before
    return _fault(place, before, comparison, measured[place])


def _all_measured(
    values: IntermediateValues, target: Target, case: Case, places: Sequence[str]
) -> dict[str, Difference]:
    """The measured places. Without an outline, values of another shape than the reference's are left out: passes may
    fuse around a value.
    """
    found, expected = values.found(target, case, places), values.expected(case, places)
    outline = values.model.outline
    laid_out = {place: found[place] if outline else as_laid_out(found[place], expected[place]) for place in places}
    return {place: compare(value, expected[place]) for place, value in laid_out.items() if value is not None}


def first_differing(places: Sequence[str], differs: Callable[[str], bool]) -> int:
    """The number of the first differing place, if all later ones differ too; ``len(places)`` if no place differs."""
    agree, differ = -1, len(places)
    while differ - agree > 1:
        middle = (agree + differ) // 2
        if differs(places[middle]):
            differ = middle
        else:
            agree = middle
    return differ


def block_of(place: str) -> str | None:
    """The scope around a place, such as ``stage0/block1`` of ``stage0/block1/mlp``; None if the place has one scope."""
    around = place.rpartition("/")[0]
    return around if "/" in around else None


def _first(places: Sequence[str], differs: Callable[[str], bool]) -> int:
    return next((number for number, place in enumerate(places) if differs(place)), len(places))


def _leading_to(output: str, places: Sequence[str]) -> Sequence[str]:
    """The places up to the one with the output's name; all places if no place has it."""
    last = max((number for number, place in enumerate(places) if place.startswith(f"{output}/")), default=len(places))
    return places[: 1 + last]


def _fault(place: str, before: str | None, comparison: Comparison, difference: Difference) -> Fault:
    return Fault(place, block_of(place), before, comparison.input, comparison.sizes, difference)
