"""Where a failing computation goes wrong: the first place in the backbone whose value differs, found by bisection.

What follows a wrong value is wrong too, so a value that is right has only right ones before it. Some seven probes of a
file thus find the first of its 68 places that differs, and no more than one of its values is looked at at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swift_export.models.swift.backbone.places import block_of, outline, place_names
from swift_export.models.swift.config import SwiFTConfig
from swift_export.parity.locate.intermediate_values import Inside
from swift_export.parity.measure.compare import Difference
from swift_export.parity.measure.running import Clips
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.results import Comparison, Fault
from swift_export.parity.targets import Target

__all__ = ["first_differing", "locate"]

#: Of what an output is allowed, as much is allowed to a value inside: correct runtimes are ten times nearer, and what
#: a fault does to the features it has as a rule done, within a factor of two or three, where it arose.
SHARE = 1 / 3


def locate(inside: Inside, target: Target, comparison: Comparison, clips: Clips, allowed: Tolerance) -> Fault:
    """The first place that differs where ``comparison`` fails; its output itself where every place agrees.

    ``allowed`` is what a correct runtime of this precision may differ by in its outputs.
    """
    files = clips[comparison.input][: comparison.batch]
    limit = Tolerance(SHARE * allowed.relative_l2, SHARE * allowed.relative_max, "a value inside")
    measured: dict[str, Difference] = {}

    def differs(place: str) -> bool:
        measured[place] = inside.difference(target, files, place)
        return not measured[place].within(limit)

    config = inside.reference.config
    known = inside.places(target, place_names(config))
    between = [place for place in _leading_to(comparison.output, config) if place in known]
    inside.expected(files, between)
    number = first_differing(between, differs)
    if number == len(between):
        before = between[-1] if between else None
        return _fault(comparison.output, before, comparison, comparison.difference)
    place, before = between[number], between[number - 1] if number else None
    within = [p for p in known if block_of(place) and block_of(p) == block_of(place) and p != place]
    inside.expected(files, within)
    number = first_differing(within, differs)
    if number < len(within):
        place = within[number]
    before = within[number - 1] if number else before
    return _fault(place, before, comparison, measured[place])


def first_differing(places: Sequence[str], differs: Callable[[str], bool]) -> int:
    """The number of the first place that differs, when all behind it do; ``len(places)`` when none does."""
    agree, differ = -1, len(places)
    while differ - agree > 1:
        middle = (agree + differ) // 2
        if differs(places[middle]):
            differ = middle
        else:
            agree = middle
    return differ


def _leading_to(output: str, config: SwiFTConfig) -> list[str]:
    """The places between blocks, up to the one that an output is made of."""
    places = list(outline(config))
    if not output.startswith("stage"):
        return places
    return places[: 1 + max(number for number, place in enumerate(places) if place.startswith(f"{output}/"))]


def _fault(place: str, before: str | None, comparison: Comparison, difference: Difference) -> Fault:
    return Fault(place, block_of(place), before, comparison.input, comparison.batch, difference)
