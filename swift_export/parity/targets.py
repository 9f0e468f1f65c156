"""What is to be checked: the artifacts behind a user's paths, their settings, and the weights they must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_export.artifacts.digests import verify
from swift_export.artifacts.inspect import locate
from swift_export.artifacts.layout import FORMATS, MANIFEST
from swift_export.artifacts.manifest import Manifest
from swift_export.artifacts.writing import open_artifact
from swift_export.errors import ArchitectureError, ArtifactError, UsageError
from swift_export.formats.facts import read_facts
from swift_export.lowering.settings import ExportSettings
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.variants import VARIANTS
from swift_export.models.swift.weights import Weights, load_weights, synthetic_weights
from swift_export.runtimes.base import Device, Precision
from swift_export.runtimes.registry import Runtime, check_asked, find_runtime, kind_of, readers, require
from swift_export.scans.contract import InputContract, contract_of
from swift_export.system.text import shown

__all__ = ["OWN", "Artifacts", "Choice", "Subject", "Target", "find_artifacts", "find_subject"]


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
        """Raise UsageError or AbsentDevice for a name that is none, or of a runtime that cannot do what is asked."""
        for name in self.names:
            runtime = find_runtime(name)
            require(runtime)
            check_asked(runtime, self.device, self.precision)

    def runtimes(self, file: str) -> list[Runtime]:
        """The runtimes for one artifact; raises UsageError where none of those that read it is installed."""
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


@dataclass(frozen=True)
class Target:
    """One file, or one SavedModel folder, in one runtime. ``batch`` is its only batch size, None where it takes any."""

    path: Path
    file: str
    runtime: Runtime
    settings: ExportSettings
    batch: int | None


@dataclass(frozen=True)
class Artifacts:
    """Artifacts of the same weights, as they describe themselves; ``manifest`` where they lie in an artifact folder.

    ``root`` is the folder, or the file that lies in none.
    """

    root: str
    config: SwiFTConfig
    digest: str
    targets: tuple[Target, ...]
    manifest: Manifest | None = None
    contract: InputContract | None = None

    @property
    def stated_contract(self) -> InputContract:
        """The input contract that the artifact states; that of its variant where it is of an older version."""
        if known := _known(self.contract):
            return known
        variant = VARIANTS.get(self.manifest.model.variant) if self.manifest else None
        stride = 1 if self.contract is None else self.contract.stride
        default, because = (None, "") if variant is None else (variant.placement, variant.placed_because)
        return contract_of(None, stride, default, because)


@dataclass(frozen=True)
class Subject:
    """Artifacts together with the weights that they must hold."""

    root: str
    weights: Weights
    targets: tuple[Target, ...]
    stated: InputContract | None = None

    @property
    def contract(self) -> InputContract:
        """The input contract that the artifacts state, else that of the weights."""
        return self.stated or self.weights.contract


def find_subject(
    path: Path, weights: Weights | None = None, settings: ExportSettings | None = None, choice: Choice = OWN
) -> Subject:
    """The artifacts at ``path`` and their weights, by default found again from what the artifacts record.

    With ``settings``, ``path`` is a folder laid out like an artifact whose manifest is still to be written. Raises what
    `find_artifacts` raises, and UsageError for weights that are others or cannot be found again.
    """
    if settings is not None:
        if weights is None:
            raise UsageError(f"{path}: a folder without a manifest needs the weights to be checked against")
        units = [unit for form in FORMATS.values() for unit in form.units if (path / unit).exists()]
        return Subject(
            str(path), weights, tuple(t for unit in units for t in _targets(path / unit, unit, settings, choice))
        )
    found = find_artifacts(path, choice)
    if weights is None:
        weights = _found_again(found)
    if weights.digest != found.digest:
        raise UsageError(
            f"{found.root}: holds weights of digest {found.digest[:16]}..., but {weights.provenance.name} has "
            f"{weights.digest[:16]}...; give the weights it was made from with --weights"
        )
    return Subject(found.root, weights, found.targets, _known(found.contract))


def find_artifacts(path: Path, choice: Choice = OWN) -> Artifacts:
    """The artifacts at ``path``: an artifact folder or a part of one, a file, or a SavedModel folder.

    An artifact folder's files are held against its manifest first. Raises ArtifactError for what is missing, damaged,
    changed or foreign.
    """
    folder = locate(path)
    return _single(path, choice) if folder is None else _in_folder(path, folder, choice)


def _in_folder(path: Path, folder: Path, choice: Choice) -> Artifacts:
    manifest = open_artifact(folder)
    below = path.absolute().relative_to(folder.absolute()).as_posix()
    units = {
        FORMATS[name].unit_of(file): name
        for name, artifact in sorted(manifest.artifacts.items())
        for file in sorted(artifact.files)
        if below == "." or f"{file}/".startswith(f"{below}/")
    }
    if not units:
        raise ArtifactError(f"{path}: not recorded in {folder / MANIFEST}; found {', '.join(manifest.artifacts)}")
    verify(folder, manifest, dict.fromkeys(units.values()))
    where = folder / MANIFEST
    settings = {name: _settings(manifest.artifacts[name].settings, manifest.config, where) for name in units.values()}
    targets = tuple(
        target for unit, name in units.items() for target in _targets(folder / unit, unit, settings[name], choice)
    )
    return Artifacts(str(folder), manifest.config, manifest.weights.digest, targets, manifest, manifest.input)


def _single(path: Path, choice: Choice) -> Artifacts:
    facts = read_facts(path)
    essentials: Mapping[str, str] = facts.details.get("metadata", {})
    try:
        config = SwiFTConfig.from_hyper_parameters(json.loads(essentials["swift_export.architecture"]))
        recorded = json.loads(essentials["swift_export.settings"])
        digest = essentials["swift_export.weights_sha256"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ArtifactError(f"{path}: expected a file that swift-export wrote, found none of its metadata") from None
    except ArchitectureError as error:
        raise ArtifactError(f"{path}: {error}; export again") from None
    targets = _targets(path, path.name, _settings(recorded, config, path), choice)
    return Artifacts(path.name, config, digest, tuple(targets), contract=_contract(essentials))


def _contract(essentials: Mapping[str, str]) -> InputContract | None:
    """The input contract in a file's metadata; None in files of older versions."""
    try:
        return InputContract.from_dict(json.loads(essentials["swift_export.input"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _known(contract: InputContract | None) -> InputContract | None:
    return None if contract is None or contract.placement is None else contract


def _targets(path: Path, file: str, settings: ExportSettings, choice: Choice) -> list[Target]:
    batch = 1 if file.endswith(".b1.mlir.bc") else settings.batch
    return [Target(path, file, runtime, settings, batch) for runtime in choice.runtimes(file)]


def _settings(recorded: Any, config: SwiFTConfig, where: Path) -> ExportSettings:
    try:
        for name in ("frames", "batch"):
            if recorded[name] is not None and type(recorded[name]) is not int:
                raise TypeError(f"{name} {shown(recorded[name])}")
        settings = ExportSettings(
            frames=recorded["frames"],
            batch=recorded["batch"],
            outputs=tuple(recorded["outputs"]),
            output_kind=recorded["output_kind"],
            attention=recorded["attention"],
            target=recorded["target"],
        )
        settings.check(config)
    except (KeyError, TypeError, ArchitectureError, UsageError) as error:
        raise ArtifactError(f"{where}: records settings that no export has ({shown(error)}); export again") from None
    return settings


def _found_again(found: Artifacts) -> Weights:
    if found.manifest is None:
        raise UsageError(f"{found.root}: lies in no artifact folder; name the weights it was made from with --weights")
    record, variant = found.manifest.weights, found.manifest.model.variant
    if record.seed is not None:
        return synthetic_weights(found.config, record.seed, variant)
    if record.kind == "published":
        return load_weights("auto", variant=variant)
    raise UsageError(f"{found.root}: was made from {record.name}, a {record.kind}; give it again with --weights")
