"""The artifacts behind a user's paths, their models, and the runtimes that run them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swift_export.artifacts.inspect import artifact_folder, verified_units
from swift_export.artifacts.layout import FORMATS, MANIFEST, PORTABLE_B1_FILE
from swift_export.artifacts.manifest import Manifest
from swift_export.errors import ArtifactError, UsageError
from swift_export.formats.facts import read_facts
from swift_export.formats.metadata import ARCHITECTURE_KEY, INPUT_KEY, SETTINGS_KEY, VARIANT_KEY, WEIGHTS_KEY
from swift_export.models import Model
from swift_export.models.model import Sizes
from swift_export.models.recovery import Original, Recorded, Source, recorded_model, source_again, source_of
from swift_export.parity.measure.cases import sizes_to_try
from swift_export.runtimes.base import Device, Precision
from swift_export.runtimes.registry import Runtime, check_ability, find_runtime, kind_of, readers, require
from swift_export.scans.contract import InputContract

__all__ = ["OWN", "Artifacts", "Choice", "Subject", "Target", "find_artifacts", "find_subject", "staged_subject"]

#: How the file is called whose sizes are all fixed.
_STATIC = PORTABLE_B1_FILE.removeprefix("stablehlo/model")


@dataclass(frozen=True)
class Choice:
    """Which runtimes run an artifact: those of ``names``, each where it reads the artifact, or by ``everything`` all
    that are installed and compute on ``device`` in ``precision``, or else each format's own.
    """

    names: Sequence[str] = ()
    everything: bool = False
    device: Device = "cpu"
    precision: Precision = "float32"

    def check(self) -> None:
        """Raise UsageError or AbsentDevice for an unknown name, or a runtime that cannot do what is asked."""
        for name in self.names:
            runtime = find_runtime(name)
            require(runtime)
            check_ability(runtime, self.device, self.precision)

    def runtimes(self, file: str) -> list[Runtime]:
        """The runtimes for one artifact; raises UsageError where none that reads it is installed."""
        known = readers(kind_of(file))
        if self.names:
            named = {find_runtime(name).name for name in self.names}
            return [runtime for runtime in known if runtime.name in named]
        own = known[0]
        if not self.everything:
            return [own]
        able = [runtime for runtime in known if self.precision in runtime.precisions.get(self.device, ())]
        return [runtime for runtime in able if runtime.installed] or [own]


#: Each format in its own runtime.
OWN = Choice()


@dataclass(frozen=True, eq=False)
class Target:
    """One file, or one SavedModel folder, in one runtime. ``static`` are its sizes where all are fixed."""

    path: Path
    file: str
    runtime: Runtime
    model: Model
    static: Sizes | None = None

    def sizes(self, batches: Sequence[int]) -> tuple[Sizes, ...]:
        """The sizes of the unknown dimensions to try."""
        return sizes_to_try(self.model, batches) if self.static is None else (self.static,)


@dataclass(frozen=True, eq=False)
class Artifacts:
    """Artifacts of the same weights, as they describe themselves; ``manifest`` where they lie in an artifact folder.

    ``root`` is the folder, or the file that lies in none. Their ``source`` is not known.
    """

    root: str
    digest: str
    targets: tuple[Target, ...]
    records: Mapping[str, Recorded]
    manifest: Manifest | None = None
    source: None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """Artifacts together with the model that they must compute."""

    root: str
    targets: tuple[Target, ...]
    source: Source
    records: Mapping[str, Recorded] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the weights."""
        return self.source.digest


def staged_subject(folder: Path, model: Model, choice: Choice = OWN) -> Subject:
    """Artifacts of ``model`` in a folder laid out like an artifact whose manifest is still to be written."""
    units = [unit for form in FORMATS.values() for unit in form.units if (folder / unit).exists()]
    targets = tuple(target for unit in units for target in _targets(folder / unit, unit, model, choice))
    return Subject(str(folder), targets, source_of(model))


def find_subject(path: Path, given: Original | None = None, choice: Choice = OWN) -> Subject | Artifacts:
    """The artifacts at ``path`` with their model, by default found again from what the artifacts record.

    Artifacts of a Python program's model stay without it where none is given. Raises what `find_artifacts` raises, and
    UsageError for other weights, and for weights that cannot be found again.
    """
    found = find_artifacts(path, choice)
    source = _found_again(found) if given is None else source_of(given)
    if source is None:
        return found
    if source.digest != found.digest:
        raise UsageError(
            f"{found.root}: holds weights of digest {found.digest[:16]}..., but {source.name} has "
            f"{source.digest[:16]}...; give the weights it was made from with --weights"
        )
    targets = tuple(replace(target, model=source.model(found.records[target.file])) for target in found.targets)
    return Subject(found.root, targets, source, found.records)


def find_artifacts(path: Path, choice: Choice = OWN) -> Artifacts:
    """The artifacts at ``path``: an artifact folder or a part of one, a file, or a SavedModel folder.

    An artifact folder's files are held against its manifest first. Raises ArtifactError for what is missing, damaged,
    changed or foreign.
    """
    folder = artifact_folder(path)
    return _single(path, choice) if folder is None else _in_folder(path, folder, choice)


def _in_folder(path: Path, folder: Path, choice: Choice) -> Artifacts:
    manifest, units = verified_units(path, folder)
    by_format = {name: manifest_record(manifest, name, folder) for name in dict.fromkeys(units.values())}
    records = {unit: by_format[name] for unit, name in units.items()}
    models = {name: recorded_model(record) for name, record in by_format.items()}
    targets = tuple(
        target for unit, name in units.items() for target in _targets(folder / unit, unit, models[name], choice)
    )
    return Artifacts(str(folder), manifest.weights.digest, targets, records, manifest)


def manifest_record(manifest: Manifest, format_name: str, folder: Path) -> Recorded:
    """What a manifest says of the model of one format."""
    artifact = manifest.artifacts[format_name]
    return Recorded(
        manifest.model.variant,
        manifest.model.architecture,
        artifact.settings,
        artifact.signature,
        str(folder / MANIFEST),
        manifest.input,
    )


def _single(path: Path, choice: Choice) -> Artifacts:
    facts = read_facts(path)
    essentials: Mapping[str, str] = facts.details.get("metadata", {})
    try:
        digest = essentials[WEIGHTS_KEY]
        architecture = _object(essentials.get(ARCHITECTURE_KEY, "{}"))
        settings = _object(essentials[SETTINGS_KEY])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ArtifactError(f"{path}: expected a file that swift-export wrote, found none of its metadata") from None
    variant = essentials.get(VARIANT_KEY, "custom")
    record = Recorded(variant, architecture, settings, facts.signature, str(path), _contract(essentials))
    targets = _targets(path, path.name, recorded_model(record), choice)
    return Artifacts(path.name, digest, tuple(targets), {path.name: record})


def _contract(essentials: Mapping[str, str]) -> InputContract | None:
    """The input contract in a file's metadata; None in files of older versions."""
    try:
        return InputContract.from_dict(json.loads(essentials[INPUT_KEY]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _object(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError
    return found


def _targets(path: Path, file: str, model: Model, choice: Choice) -> list[Target]:
    static = None
    if file.endswith(_STATIC):
        sizes = sizes_to_try(model)[0]
        static = {**sizes, "batch": 1} if model.batched else sizes
    return [Target(path, file, runtime, model, static) for runtime in choice.runtimes(file)]


def _found_again(found: Artifacts) -> Source | None:
    record = next(iter(found.records.values()))
    if found.manifest is None:
        if record.from_python:
            return None
        raise UsageError(f"{found.root}: lies in no artifact folder; name the weights it was made from with --weights")
    weights = found.manifest.weights
    try:
        return source_again(record, weights.kind, weights.name, weights.seed)
    except UsageError as error:
        raise UsageError(str(error).replace(record.where, found.root)) from None
