"""The rows of a benchmark: each artifact in each runtime, on each device, in each precision, at each size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swift_export.errors import SwiftExportError, UsageError
from swift_export.models import Model
from swift_export.models.drawing import default_sizes
from swift_export.models.model import Sizes
from swift_export.parity.targets import Artifacts, Target
from swift_export.runtimes.base import Device, Precision, file_label
from swift_export.runtimes.registry import Runtime, check_ability, find_runtime, kind_of, readers, require
from swift_export.system.text import listed, plural

__all__ = ["Contender", "Lineup", "Skipped", "Wanted", "find_contenders"]


@dataclass(frozen=True)
class Wanted:
    """What to measure: the runtimes by name (none: all that are installed), devices, precisions and sizes.

    Without ``batches``, the batch size is 1, or that of a file with a fixed one. ``sizes`` are those of other unknown
    dimensions, by name.
    """

    runtimes: Sequence[str] = ()
    devices: Sequence[Device] = ("cpu",)
    precisions: Sequence[Precision] = ("float32",)
    batches: Sequence[int] = ()
    sizes: Mapping[str, int] | None = None

    def check(self) -> None:
        """Raise UsageError or AbsentDevice for a runtime that is unknown, absent, or computes nothing of this."""
        for name in self.runtimes:
            runtime = find_runtime(name)
            require(runtime)
            failures = [self._failure(runtime, *pair) for pair in itertools.product(self.devices, self.precisions)]
            if failures and all(failures):
                raise next(filter(None, failures))
        if any(size < 1 for size in self.batches):
            raise UsageError(f"--batch {min(self.batches)}: expected a size of at least 1")

    @staticmethod
    def _failure(runtime: Runtime, device: Device, precision: Precision) -> SwiftExportError | None:
        try:
            check_ability(runtime, device, precision)
        except SwiftExportError as error:
            return error
        return None


@dataclass(frozen=True, eq=False)
class Contender:
    """One row. ``artifact`` is the file's name, unique among those of all paths; ``digest`` is that of its weights."""

    artifact: str
    path: Path
    runtime: Runtime
    device: Device
    precision: Precision
    model: Model
    digest: str
    sizes: Sizes
    method: str | None = None

    @property
    def items(self) -> int:
        """Items in a call: the batch size, or 1."""
        return self.sizes.get("batch", 1)

    @property
    def stored(self) -> str:
        """The precision of the function in the file, and that of the products if it is another one.

        Of a file with integer weights, it is the method that made them.
        """
        own = self.method or str(self.model.settings.get("precision", "float32"))
        return own if self.precision in ("float32", own) else f"{own}, {self.precision}"

    @property
    def others(self) -> str:
        """The sizes of unknown dimensions beside the batch, as text."""
        return ", ".join(f"{name} {size}" for name, size in self.sizes.items() if name != "batch")

    @property
    def who(self) -> str:
        """The row without its sizes: the same for all batch sizes."""
        return f"{self.artifact} {self.runtime.name} {self.device} {self.stored}"

    def __str__(self) -> str:
        return " ".join(filter(None, [self.who, f"batch {self.items}", self.others]))


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Lineup:
    """All rows of a benchmark, and those that cannot be.

    ``clips`` says that all take clips, ``synthetic`` that the outputs of one mean nothing.
    """

    contenders: tuple[Contender, ...]
    skipped: tuple[Skipped, ...]
    clips: bool
    synthetic: bool

    def first(self, text: str) -> Contender:
        """The first row with every word of ``text`` in its artifact, runtime, device and precision; else UsageError."""
        for contender in self.contenders:
            if all(word in contender.who for word in text.replace(",", " ").split()):
                return contender
        rows = dict.fromkeys(contender.who for contender in self.contenders)
        raise UsageError(f"--against {text}: expected words of a row, one of: {'; '.join(rows)}")


def find_contenders(found: Sequence[Artifacts], wanted: Wanted) -> Lineup:
    """The rows of artifacts: smaller batches first, otherwise in the order given.

    Raises UsageError if nothing can be measured, and the errors of `Wanted.check`.
    """
    wanted.check()
    names = _names(found)
    rows = [
        row
        for artifacts in found
        # Artifacts in the format's own runtime have one target a file.
        for target in artifacts.targets
        for row in _rows(target, artifacts.digest, names[target.path], wanted)
    ]
    contenders = [row for row in rows if isinstance(row, Contender)]
    skipped = tuple(dict.fromkeys(row for row in rows if isinstance(row, Skipped)))
    if not contenders:
        reasons = "; ".join(f"{one.what}: {one.reason}" for one in skipped)
        roots = ", ".join(artifacts.root for artifacts in found)
        raise UsageError(reasons or f"none of {', '.join(wanted.runtimes)} reads the files in {roots}")
    contenders.sort(key=lambda contender: contender.items)
    clips = all(record.swift is not None for artifacts in found for record in artifacts.records.values())
    return Lineup(tuple(contenders), skipped, clips, any(artifacts.note is not None for artifacts in found))


def _rows(target: Target, digest: str, name: str, wanted: Wanted) -> Iterator[Contender | Skipped]:
    """The rows of one file, and those that cannot be."""
    for device, precision in itertools.product(wanted.devices, wanted.precisions):
        for runtime in _readers(target, wanted, device, precision):
            try:
                require(runtime)
                check_ability(runtime, device, precision)
                if (own := target.model.settings.get("precision")) in runtime.lacking.get(device, ()):
                    raise UsageError(f"{runtime.title} on the {device} has no kernels for {own}")
            except SwiftExportError as error:
                yield Skipped(f"{name} in {runtime.title}", str(error))
                continue
            for batch in wanted.batches or (None,):
                try:
                    sizes = _sizes(target, batch, wanted.sizes or {})
                except UsageError as error:
                    yield Skipped(name, str(error))
                else:
                    row = (name, target.path, runtime, device, precision, target.model, digest, sizes)
                    yield Contender(*row, target.method)


def _readers(target: Target, wanted: Wanted, device: Device, precision: Precision) -> list[Runtime]:
    """The runtimes to try: those that are named, or all that are installed, or else the format's own."""
    known = readers(kind_of(target.file))
    if wanted.runtimes:
        named = [find_runtime(name) for name in wanted.runtimes]
        return [runtime for runtime in known if runtime in named]
    able = [runtime for runtime in known if precision in runtime.precisions.get(device, ())]
    return [runtime for runtime in able if runtime.installed] or [known[0]]


def _names(found: Sequence[Artifacts]) -> dict[Path, str]:
    """A name for each file: its place in its artifact folder, with as much before it as distinguishes it."""
    least = {}
    for target in (target for artifacts in found for target in artifacts.targets):
        inside = max(len(Path(target.file).parts), len(Path(file_label(target.path)).parts))
        least[target.path] = inside
    parts = {path: path.absolute().parts for path in least}
    several = len({parts[path][:-inside] for path, inside in least.items()}) > 1
    names = {}
    for path, inside in least.items():
        count = inside + several
        while any(parts[other][-count:] == parts[path][-count:] for other in parts if parts[other] != parts[path]):
            count += 1
        names[path] = "/".join(parts[path][-count:])
    return names


def _sizes(target: Target, batch: int | None, given: Sizes) -> Sizes:
    """The sizes of the unknown dimensions; raises UsageError for a batch that the file does not take."""
    model = target.model
    if unknown := [name for name in given if name not in model.unknown or (name == "batch")]:
        known = [name for name in model.unknown if name != "batch"]
        raise UsageError(f"--size {unknown[0]}: expected {listed(known) or 'no size'}, a dimension of any size in it")
    fixed = target.static.get("batch", 1) if target.static is not None else model.batch
    if fixed is not None and batch not in (None, fixed):
        raise UsageError(f"--batch {batch}: it takes only {plural(fixed, 'item')} at once")
    if target.static is not None:
        return target.static
    if model.batched:
        return {"batch": batch or fixed or 1}
    sizes = {**(model.sizes or default_sizes(model))[0], **given} if model.unknown else {}
    if "batch" in model.unknown:
        return {**sizes, "batch": batch or 1}
    if batch not in (None, 1):
        found = listed(model.unknown) or "fixed sizes"
        raise UsageError(f"--batch {batch}: expected a dimension called batch in it, found {found}")
    return sizes
