"""An artifact's format as servers see it: its files, tensors and the case for a smoke test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from swift_export.artifacts.inspect import artifact_folder
from swift_export.artifacts.layout import FORMATS
from swift_export.artifacts.manifest import Artifact, Manifest
from swift_export.artifacts.writing import open_artifact
from swift_export.errors import UsageError
from swift_export.formats.signature import UNNAMED, Signature
from swift_export.models.names import check_model_name, check_tensor_names
from swift_export.parity.measure.scratch import scratch_folder
from swift_export.parity.targets import Target, find_artifacts
from swift_export.runtimes.registry import remedy
from swift_export.serving.layouts.smoke_case import SmokeCase, items_are_independent, smoke_case
from swift_export.system.progress import Progress
from swift_export.system.text import shown

__all__ = ["Batching", "Servable", "find_servable"]


@dataclass(frozen=True)
class Batching:
    """How a server combines requests: at most ``most`` items, waiting at most ``wait_ms`` milliseconds for others."""

    most: int = 4
    wait_ms: float = 5.0

    def check(self) -> None:
        """Raise UsageError for values outside of what servers take."""
        if not 1 <= self.most <= 4096:
            raise UsageError(f"--max-batch {self.most}: expected 1 to 4096")
        if not 0 <= self.wait_ms <= 60_000:
            raise UsageError(f"--batch-wait-ms {self.wait_ms:g}: expected 0 to 60000")

    @property
    def preferred(self) -> tuple[int, ...]:
        """The sizes to form: powers of two, and the largest; runtimes prepare for each size that they meet."""
        powers = (2**n for n in range(1, self.most.bit_length()))
        return tuple(dict.fromkeys((*powers, self.most))) if self.most > 1 else ()


@dataclass(frozen=True, eq=False)
class Servable:
    """One format of an artifact, named ``name`` by its server.

    ``batching`` is None if a server must not combine requests, for the reason ``apart``.
    """

    name: str
    root: Path
    format_name: str
    manifest: Manifest
    artifact: Artifact
    case: SmokeCase
    batching: Batching | None
    apart: str
    instances: int

    @property
    def signature(self) -> Signature:
        """Inputs and outputs."""
        return self.artifact.signature

    @property
    def input_bytes(self) -> int:
        """Size of the inputs of the smoke test."""
        return sum(array.nbytes for array in self.case.inputs.values())

    def copy_files(self, folder: Path) -> None:
        """Copy the files of the format into ``folder``, which is created."""
        form = FORMATS[self.format_name]
        for path in self.artifact.files:
            place = folder / PurePosixPath(path).relative_to(form.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / path, place)


def find_servable(
    path: Path,
    format_name: str,
    server: str,
    *,
    name: str | None,
    batching: Batching,
    instances: int,
    on_progress: Progress,
) -> Servable:
    """One format of the artifact at ``path``, its files verified against the manifest.

    Raises UsageError if the artifact lacks the format or has a name that servers do not take, and the errors of
    `smoke_case`.
    """
    batching.check()
    if not 1 <= instances <= 1024:
        raise UsageError(f"--instances {instances}: expected 1 to 1024")
    root = artifact_folder(path)
    if root is None:
        found = "another file or folder" if path.exists() else "none"
        raise UsageError(f"{path}: expected an artifact folder with a manifest.json, found {found}; export it first")
    manifest = open_artifact(root)
    if format_name not in manifest.artifacts:
        raise UsageError(
            f"{root}: expected the format {format_name} for {server}, found {', '.join(sorted(manifest.artifacts))}; "
            f"make it with {_command(format_name, manifest, root)}"
        )
    artifact = manifest.artifacts[format_name]
    check_tensor_names((spec.name for spec in (*artifact.signature.inputs, *artifact.signature.outputs)), str(root))
    on_progress("verifying digests")
    found_files = find_artifacts(root / FORMATS[format_name].folder)
    (target,) = found_files.targets
    with scratch_folder() as scratch:
        on_progress("preparing the smoke test")
        case = smoke_case(target, found_files.records[target.file], manifest, format_name, scratch)
        apart = _why_apart(target, artifact, case, scratch)
    return Servable(
        name=_name(name, manifest),
        root=root,
        format_name=format_name,
        manifest=manifest,
        artifact=artifact,
        # Of independent items, one is enough.
        case=case if apart else case.first_item(),
        batching=None if apart else batching,
        apart=apart,
        instances=instances,
    )


def _name(given: str | None, manifest: Manifest) -> str:
    try:
        return check_model_name(manifest.model.variant if given is None else given)
    except UsageError as error:
        raise UsageError(f"--name: {error}") from None


def _why_apart(target: Target, artifact: Artifact, case: SmokeCase, scratch: Path) -> str:
    """Why a server must not combine requests; empty if it may."""
    specs = (*artifact.signature.inputs, *artifact.signature.outputs)
    first = specs[0].dims[0] if specs[0].dims else None
    if not isinstance(first, str) or first == UNNAMED:
        return "it takes one batch size only" if target.model.batched else "it has no batch of unknown size"
    if any(not spec.dims or spec.dims[0] != first for spec in specs):
        return f"not all inputs and outputs begin with the dimension {first}"
    if target.model.batched:
        return ""
    if not target.runtime.installed:
        return (
            "whether items of a batch affect each other could not be measured here, without "
            f"{target.runtime.title} ({remedy(target.runtime)})"
        )
    if not items_are_independent(target, case, scratch):
        return f"items along {first} affect each other"
    return ""


def _command(format_name: str, manifest: Manifest, root: Path) -> str:
    weights, variant = manifest.weights, manifest.model.variant
    if "embed_dim" not in manifest.model.architecture:
        return f"swift-export model FILE.py:NAME --formats {format_name} -o {root}, as it was exported"
    given = f"--variant {shown(variant)}" if weights.kind == "published" else "--weights PATH"
    if weights.synthetic:
        given = f"--weights synthetic:{weights.seed}" + ("" if variant == "custom" else f" --variant {shown(variant)}")
    return f"swift-export {format_name} {given} -o {root}"
