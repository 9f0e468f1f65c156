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
from swift_export.formats.facts import Facts, read_facts
from swift_export.formats.metadata import (
    ARCHITECTURE_KEY,
    HEAD_KEY,
    INPUT_KEY,
    QUANTIZATION_KEY,
    SETTINGS_KEY,
    VARIANT_KEY,
    WARNING_KEY,
    WEIGHTS_KEY,
)
from swift_export.models import Model
from swift_export.models.model import Sizes
from swift_export.models.recovery import Original, Recorded, Source, probe_in, recorded_model, source_again, source_of
from swift_export.parity.measure.cases import sizes_to_try
from swift_export.parity.measure.tolerances import INTEGER_TOLERANCES, Tolerance, recorded_tolerance
from swift_export.quantization.record import quantization_in, quantization_of_file
from swift_export.runtimes.base import Device, Precision
from swift_export.runtimes.registry import Runtime, check_ability, find_runtime, kind_of, readers, require
from swift_export.scans.contract import InputContract
from swift_export.system.text import listed

__all__ = [
    "OWN",
    "Artifacts",
    "Choice",
    "Subject",
    "Target",
    "find_any",
    "find_artifacts",
    "find_subject",
    "found_again",
    "staged_subject",
]

#: The name of the file with all sizes fixed.
_STATIC = PORTABLE_B1_FILE.removeprefix("stablehlo/model")


@dataclass(frozen=True)
class Choice:
    """The choice of runtimes for an artifact: those of ``names`` that read it; with ``everything``, all that are
    installed and compute on ``device`` in ``precision``; otherwise each format's own.
    """

    names: Sequence[str] = ()
    everything: bool = False
    device: Device = "cpu"
    precision: Precision = "float32"

    def check(self) -> None:
        """Raise UsageError or AbsentDevice for an unknown name, or a runtime without the device or precision."""
        for name in self.names:
            runtime = find_runtime(name)
            require(runtime)
            check_ability(runtime, self.device, self.precision)

    def runtimes(self, file: str, precision: object = "float32") -> list[Runtime]:
        """The runtimes for one artifact in a precision; raises UsageError if none that can run it is installed."""
        known = [runtime for runtime in readers(kind_of(file)) if not self.lacks(runtime, precision)]
        if self.names:
            named = [find_runtime(name) for name in self.names]
            for runtime in named:
                if runtime not in known and kind_of(file) in runtime.reads:
                    raise UsageError(self.absence(file, runtime, precision))
            return [runtime for runtime in known if runtime in named]
        own = known[0]
        if (usual := readers(kind_of(file))[0]) not in known:
            installed = [runtime for runtime in known if runtime.installed and self.device in runtime.precisions]
            if not installed:
                raise UsageError(self.absence(file, usual, precision))
            own = installed[0]
        if not self.everything:
            return [own]
        able = [runtime for runtime in known if self.precision in runtime.precisions.get(self.device, ())]
        return [runtime for runtime in able if runtime.installed] or [own]

    def lacks(self, runtime: Runtime, precision: object) -> bool:
        """Whether a runtime has no kernels for a file's precision on this device."""
        return precision in runtime.lacking.get(self.device, ())

    def absence(self, file: str, runtime: Runtime, precision: object) -> str:
        """Why a runtime cannot check a file, and what can."""
        others = [
            r.title for r in readers(kind_of(file)) if not self.lacks(r, precision) and self.device in r.precisions
        ]
        instead = f"in {listed(others)}, " if others else ""
        return (
            f"{file}: {runtime.title} on the {self.device} has no kernels for {precision}: check it {instead}on a "
            "GPU with --device gpu, or export with --no-check"
        )


#: How integer weights were made, and the tolerance of checks of them.
Integers = tuple[str, Tolerance]

#: The choice of each format's own runtime.
OWN = Choice()


@dataclass(frozen=True, eq=False)
class Target:
    """One file or SavedModel folder in one runtime. ``static`` are its sizes if all are fixed.

    ``integers`` is the tolerance of a file with integer weights, ``method`` what made them.
    """

    path: Path
    file: str
    runtime: Runtime
    model: Model
    static: Sizes | None = None
    integers: Tolerance | None = None
    method: str | None = None

    def sizes(self, batches: Sequence[int]) -> tuple[Sizes, ...]:
        """The sizes of the unknown dimensions to check."""
        return sizes_to_try(self.model, batches) if self.static is None else (self.static,)


@dataclass(frozen=True, eq=False)
class Artifacts:
    """Artifacts of the same weights by their own records; ``manifest`` if they are in an artifact folder.

    ``root`` is the artifact folder, or the single file. Their ``source`` is unknown. ``note`` says that the outputs of
    synthetic weights mean nothing.
    """

    root: str
    digest: str
    targets: tuple[Target, ...]
    records: Mapping[str, Recorded]
    manifest: Manifest | None = None
    note: str | None = None
    source: None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """Artifacts with the model that they must compute."""

    root: str
    targets: tuple[Target, ...]
    source: Source
    records: Mapping[str, Recorded] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest of the weights."""
        return self.source.digest


def staged_subject(folder: Path, model: Model, choice: Choice = OWN) -> Subject:
    """Artifacts of ``model`` in a folder with an artifact's layout, but without a manifest yet."""
    units = [unit for form in FORMATS.values() for unit in form.units if (folder / unit).exists()]
    targets = tuple(target for unit in units for target in _targets(folder / unit, unit, model, choice))
    return Subject(str(folder), targets, source_of(model))


def find_subject(path: Path, given: Original | None = None, choice: Choice = OWN) -> Subject | Artifacts:
    """The artifacts at ``path`` with their model, by default restored from the artifacts' records.

    Artifacts of a Python program's model stay without it if none is given. Raises the errors of `find_artifacts`, and
    UsageError for other weights, and for weights that cannot be found.
    """
    found = find_artifacts(path, choice)
    source = found_again(found) if given is None else source_of(given)
    if source is None:
        return found
    record = next(iter(found.records.values()))
    if (digest := source.digest_of(record)) != found.digest:
        more = "" if record.probe is None else f", and its probe {record.probe} with --head"
        raise UsageError(
            f"{found.root}: expected weights of digest {found.digest[:16]}..., found {digest[:16]}... in "
            f"{source.name}; give the weights it was made from with --weights{more}"
        )
    targets = tuple(replace(target, model=source.model(found.records[target.file])) for target in found.targets)
    return Subject(found.root, targets, source, found.records)


def find_artifacts(path: Path, choice: Choice = OWN) -> Artifacts:
    """The artifacts at ``path``: an artifact folder or a part of one, a file, or a SavedModel folder.

    An artifact folder's files are first verified against its manifest. Raises ArtifactError for missing, damaged,
    changed or foreign files.
    """
    folder = artifact_folder(path)
    return _single(path, read_facts(path), choice) if folder is None else _in_folder(path, folder, choice)


def find_any(path: Path, choice: Choice = OWN) -> Artifacts:
    """As `find_artifacts`, and files of other programs, of which only the signature is known; their digest is empty."""
    folder = artifact_folder(path)
    if folder is not None:
        return _in_folder(path, folder, choice)
    facts = read_facts(path)
    if WEIGHTS_KEY in facts.details.get("metadata", {}):
        return _single(path, facts, choice)
    record = Recorded("custom", {}, {}, facts.signature, str(path))
    return Artifacts(
        path.name, "", tuple(_targets(path, path.name, recorded_model(record), choice)), {path.name: record}
    )


def _in_folder(path: Path, folder: Path, choice: Choice) -> Artifacts:
    manifest, units = verified_units(path, folder)
    by_format = {name: manifest_record(manifest, name, folder) for name in dict.fromkeys(units.values())}
    records = {unit: by_format[name] for unit, name in units.items()}
    models = {name: recorded_model(record) for name, record in by_format.items()}
    integers = {name: _integers_in(manifest, name, folder) for name in by_format}
    targets = tuple(
        target
        for unit, name in units.items()
        for target in _targets(folder / unit, unit, models[name], choice, integers[name])
    )
    return Artifacts(str(folder), manifest.weights.digest, targets, records, manifest, manifest.weights.note)


def manifest_record(manifest: Manifest, format_name: str, folder: Path) -> Recorded:
    """A manifest's records of one format's model."""
    artifact = manifest.artifacts[format_name]
    return Recorded(
        manifest.model.variant,
        manifest.model.architecture,
        artifact.settings,
        artifact.signature,
        str(folder / MANIFEST),
        manifest.input,
        probe_in(artifact.details.get("head")),
    )


def _integers_in(manifest: Manifest, format_name: str, folder: Path) -> Integers | None:
    """The record of an artifact with integer weights; None for another."""
    found = quantization_in(manifest.artifacts[format_name].details, folder / MANIFEST)
    return None if found is None else (found.method, recorded_tolerance(found, folder / MANIFEST))


def _single(path: Path, facts: Facts, choice: Choice) -> Artifacts:
    essentials: Mapping[str, str] = facts.details.get("metadata", {})
    try:
        digest = essentials[WEIGHTS_KEY]
        architecture = _object(essentials.get(ARCHITECTURE_KEY, "{}"))
        settings = _object(essentials[SETTINGS_KEY])
        probe = probe_in(_object(essentials.get(HEAD_KEY, "{}")))
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ArtifactError(f"{path}: expected a file written by swift-export, found none of its metadata") from None
    variant = essentials.get(VARIANT_KEY, "custom")
    record = Recorded(variant, architecture, settings, facts.signature, str(path), _contract(essentials), probe)
    rounded = quantization_of_file(essentials.get(QUANTIZATION_KEY), path)
    integers = None if rounded is None else (rounded.method, INTEGER_TOLERANCES[rounded.method])
    targets = _targets(path, path.name, recorded_model(record), choice, integers)
    return Artifacts(path.name, digest, tuple(targets), {path.name: record}, note=essentials.get(WARNING_KEY))


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


def _targets(path: Path, file: str, model: Model, choice: Choice, integers: Integers | None = None) -> list[Target]:
    static, (method, allowed) = None, integers or (None, None)
    if file.endswith(_STATIC):
        sizes = sizes_to_try(model)[0]
        static = {**sizes, "batch": 1} if model.batched else sizes
    able = choice.runtimes(file, model.settings.get("precision"))
    return [Target(path, file, runtime, model, static, allowed, method) for runtime in able]


def found_again(found: Artifacts) -> Source | None:
    """The weights of artifacts by their records, without a probe; None for those of a Python program.

    Raises UsageError for weights that only the user can give.
    """
    record = next(iter(found.records.values()))
    if found.manifest is None:
        if record.from_python:
            return None
        raise UsageError(f"{found.root}: not in an artifact folder; give the weights it was made from with --weights")
    weights = found.manifest.weights
    try:
        return source_again(record, weights.kind, weights.name, weights.seed)
    except UsageError as error:
        raise UsageError(str(error).replace(record.where, found.root)) from None
