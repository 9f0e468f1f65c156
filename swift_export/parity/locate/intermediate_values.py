"""Intermediate values of a model, in the reference and in artifacts, on cases of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from swift_export.formats.element_types import HALVES
from swift_export.models import Model
from swift_export.models.drawing import RandomInputs
from swift_export.parity.locate.probes.making import Probe, find_places, make_probe
from swift_export.parity.measure.cases import Case, sizes_to_try
from swift_export.parity.measure.compare import Difference, compare
from swift_export.parity.measure.running import load_outputs, part_key, run_reference, values_of
from swift_export.parity.measure.scratch import new_folder
from swift_export.parity.targets import Target
from swift_export.runtimes.messages import Request, Run
from swift_export.runtimes.process import run_worker
from swift_export.system.arrays import load_array

__all__ = ["IntermediateValues", "Values"]

#: Values by place.
Values = Mapping[str, Float[np.ndarray, "..."]]


@dataclass
class IntermediateValues:
    """Reads intermediate values of artifacts of the same model.

    The reference's values are computed once, and each file gets one probe for all its runtimes.
    """

    model: Model
    device: str
    precision: str
    search: tuple[Path, ...]
    folder: Path
    _known: dict[tuple[tuple[str, ...], str], np.ndarray] = field(default_factory=dict)
    _named: dict[tuple[Path, tuple[str, ...]], tuple[str, ...]] = field(default_factory=dict)
    _probes: dict[tuple[Path, tuple[str, ...], tuple[tuple[int, ...], ...]], Probe] = field(default_factory=dict)
    _made: int = 0

    @cached_property
    def all_places(self) -> tuple[str, ...]:
        """The places that the model states, or else the named scopes of its trace."""
        model = self.model
        if model.places is not None:
            return model.places
        from swift_export.models.trace import scopes

        (sizes, *_) = sizes_to_try(model)
        inputs = [RandomInputs(model.inputs).draw(sizes)[spec.name] for spec in model.inputs]
        return scopes(model.reference or model.forward, model.weights, inputs)

    def places(self, target: Target, wanted: Sequence[str]) -> tuple[str, ...]:
        """The places of ``wanted`` whose values the artifact computes."""
        key = target.path, tuple(wanted)
        if key not in self._named:
            self._named[key] = find_places(target.path, wanted, self._new_folder())
        return self._named[key]

    def know(self, part: tuple[str, ...], values: Values) -> None:
        """Take the reference's values for a part of a case, by `part_key`."""
        self._known |= {(part, place): value for place, value in values.items()}

    def expected(self, case: Case, places: Sequence[str]) -> Values:
        """The reference's values for a case, joined from its parts."""
        keys = [part_key(part) for part in case.parts]
        if missing := [place for place in places if any((key, place) not in self._known for key in keys)]:
            _, found = run_reference(self.model, case.parts, self._new_folder(), missing)
            for key, outputs in found.items():
                self.know(key, values_of(outputs, missing))
        joined = {place: [self._known[key, place] for key in keys] for place in places}
        return {
            place: self._comparable(values[0] if len(values) == 1 else np.concatenate(values))
            for place, values in joined.items()
        }

    def found(self, target: Target, case: Case, places: Sequence[str]) -> Values:
        """The values at those of ``places`` that the artifact computes, by a probe of it in its own runtime."""
        shapes = tuple(_shape(case.files[spec.name]) for spec in target.model.inputs)
        key = target.path, tuple(places), shapes
        if key not in self._probes:
            self._probes[key] = make_probe(target.path, places, shapes, self._new_folder())
        probe = self._probes[key]
        if not probe.places:
            return {}
        request = Request(
            target.runtime.name, str(probe.path), self.device, (Run(case.files),), precision=self.precision
        )
        (run,) = run_worker(request, self._new_folder(), self.search).runs
        return {place: self._comparable(value) for place, value in values_of(load_outputs(run), probe.places).items()}

    def difference(self, target: Target, case: Case, place: str) -> Difference:
        """The difference of the artifact from the reference at one place."""
        return compare(self.found(target, case, [place])[place], self.expected(case, [place])[place])

    def _comparable(self, value: np.ndarray) -> np.ndarray:
        """In float32 if 16 bits, as in files of half precision; and reshaped: some forms of a batched model merge axes
        between the first and the last, in C order.
        """
        value = value.astype(np.float32) if value.dtype.name in HALVES else value
        joined = self.model.batched and value.ndim > 2
        return value.reshape(value.shape[0], -1, value.shape[-1]) if joined else value

    def _new_folder(self) -> Path:
        self._made += 1
        return new_folder(self.folder / str(self._made))


def _shape(files: Sequence[str]) -> tuple[int, ...]:
    """Of the arrays in ``files``, joined along the first axis."""
    first, *others = (load_array(file).shape for file in files)
    return first if not others else (first[0] + sum(shape[0] for shape in others), *first[1:])
