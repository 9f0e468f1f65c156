"""The error after every block, and a picture of the comparison, for readers of a report."""

from __future__ import annotations

import numpy as np

from swift_export.models import Model
from swift_export.models.model import Picture
from swift_export.parity.locate.axis_order import as_laid_out
from swift_export.parity.locate.intermediate_values import IntermediateValues
from swift_export.parity.locate.locating import block_of
from swift_export.parity.measure.cases import Case
from swift_export.parity.measure.compare import compare
from swift_export.parity.results import BlockError
from swift_export.parity.targets import Target
from swift_export.system.arrays import load_array

__all__ = ["blocks_of", "trace"]

#: The number of blocks for a model without an outline.
MOST_PLACES = 64


def blocks_of(model: Model) -> list[str]:
    """The places of the outline at the ends of blocks."""
    return [place for place in model.outline if block_of(place)]


def trace(values: IntermediateValues, target: Target, case: Case) -> tuple[tuple[BlockError, ...], Picture | None]:
    """Run one probe of an artifact on the first part of a case.

    The picture is None if its value has no name in the artifact.
    """
    model = values.model
    first = Case(case.input, case.sizes, case.parts[0], case.parts[:1])
    wanted = blocks_of(model) or list(values.all_places)[:MOST_PLACES]
    found = values.found(target, first, wanted)
    if not found:
        return (), None
    expected = values.expected(first, list(found))
    laid_out = {
        place: value if model.outline else as_laid_out(value, expected[place]) for place, value in found.items()
    }
    errors = tuple(
        BlockError(block_of(place) or place if model.outline else place, compare(value, expected[place]))
        for place, value in laid_out.items()
        if value is not None and value.shape == expected[place].shape
    )
    painter = model.painter
    if painter is None or painter.place not in found:
        return errors, None
    inputs = {name: np.asarray(load_array(file)) for name, (file,) in first.files.items()}
    return errors, painter.paint(case.input, inputs, expected[painter.place], found[painter.place])
