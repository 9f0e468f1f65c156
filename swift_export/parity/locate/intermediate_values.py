"""Values inside the backbone, the reference's and those of artifacts, on clips of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from swift_export.models.swift.backbone.places import value_name
from swift_export.parity.locate.probes.making import find_places, make_probe
from swift_export.parity.measure.compare import Difference, compare
from swift_export.parity.measure.scratch import new_folder
from swift_export.parity.targets import Target
from swift_export.runtimes.messages import Request, Run
from swift_export.runtimes.process import run_worker
from swift_export.runtimes.reference_file import Reference, write_reference
from swift_export.runtimes.registry import REFERENCE

__all__ = ["Inside", "Values"]

#: By place: tokens of the grid in C order.
Values = Mapping[str, Float[np.ndarray, "batch tokens channels"]]


@dataclass
class Inside:
    """Looks into artifacts of the same weights.

    What the reference gives is computed once, and a file is read and made a probe of once for all its runtimes.
    """

    reference: Reference
    device: str
    precision: str
    search: tuple[Path, ...]
    folder: Path
    _known: dict[tuple[tuple[str, ...], str], np.ndarray] = field(default_factory=dict)
    _named: dict[tuple[Path, tuple[str, ...]], tuple[str, ...]] = field(default_factory=dict)
    _probes: dict[tuple[Path, tuple[str, ...]], Path] = field(default_factory=dict)
    _made: int = 0

    def places(self, target: Target, wanted: Sequence[str]) -> tuple[str, ...]:
        """Those of ``wanted`` whose values the artifact computes."""
        key = target.path, tuple(wanted)
        if key not in self._named:
            self._named[key] = find_places(target.path, wanted, self._new_folder())
        return self._named[key]

    def expected(self, clips: tuple[str, ...], places: Sequence[str]) -> Values:
        """The reference's values for a batch of clip files, each computed on its own."""
        if missing := [place for place in places if (clips, place) not in self._known]:
            folder = self._new_folder()
            path = folder / "reference.safetensors"
            write_reference(Reference(self.reference.config, self.reference.tensors, (), places=tuple(missing)), path)
            runs = tuple(Run((clip,)) for clip in clips)
            answer = run_worker(Request(REFERENCE.name, str(path), "cpu", runs), folder)
            for number, place in enumerate(missing):
                found = [np.load(run.outputs[value_name(number)], mmap_mode="r") for run in answer.runs]
                self._known[clips, place] = found[0] if len(found) == 1 else np.concatenate(found)
        return {place: self._known[clips, place] for place in places}

    def found(self, target: Target, clips: tuple[str, ...], places: Sequence[str]) -> Values:
        """The artifact's values, by a probe of it in its own runtime."""
        key = target.path, tuple(places)
        if key not in self._probes:
            self._probes[key] = make_probe(target.path, places, self._new_folder())
        request = Request(
            target.runtime.name, str(self._probes[key]), self.device, (Run(clips),), precision=self.precision
        )
        (run,) = run_worker(request, self._new_folder(), self.search).runs
        values = {place: np.load(run.outputs[value_name(number)]) for number, place in enumerate(places)}
        return {place: _tokens(value, len(clips)) for place, value in values.items()}

    def difference(self, target: Target, clips: tuple[str, ...], place: str) -> Difference:
        """How far the artifact is from the reference at one place."""
        return compare(self.found(target, clips, [place])[place], self.expected(clips, [place])[place])

    def _new_folder(self) -> Path:
        self._made += 1
        return new_folder(self.folder / str(self._made))


def _tokens(value: np.ndarray, batch: int) -> np.ndarray:
    """Some forms keep the grid's axes and some do not; the tokens are in the same order."""
    fits = value.ndim > 2 and value.shape[0] == batch
    return value.reshape(batch, -1, value.shape[-1]) if fits else value
