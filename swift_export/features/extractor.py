"""An exported backbone, loaded into a runtime of this process, that turns clips into features."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from swift_export.artifacts.digests import digest_file
from swift_export.artifacts.inspect import artifact_folder
from swift_export.artifacts.layout import FORMATS
from swift_export.artifacts.manifest import read_manifest
from swift_export.errors import MachineError, SwiftExportError, UsageError
from swift_export.features.output_kinds import OutputKind, as_kind, check_kind, kinds_from
from swift_export.models.recovery import Recorded
from swift_export.parity.targets import Choice, Target, find_artifacts
from swift_export.runtimes.base import AbsentDevice, Device, LoadError, Session, check_device, file_label
from swift_export.runtimes.registry import RUNTIMES, Kind, Runtime, check_ability, find_runtime, kind_of, require
from swift_export.scans.contract import InputContract
from swift_export.system.machine import all_processors, free_memory, limit_processors
from swift_export.system.streams import muted_stderr
from swift_export.system.text import error_line, listed

__all__ = ["RUNTIME_NAMES", "Backbone", "Extractor", "find_backbone"]

#: The runtimes for features, by the names on the command line.
_RUNTIMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorflow": "tensorflow", "jax": "jax_export"}
RUNTIME_NAMES = tuple(_RUNTIMES)

#: The default runtime of each kind of file; the first that an artifact folder has is used.
_DEFAULTS: dict[Kind, str] = {"onnx": "onnxruntime", "jax": "jax_export", "savedmodel": "tensorflow"}

#: Memory of one inference, in clips: its activations and the clip itself (docs/measurements.md).
_CLIPS_HELD = 8

_OUTPUTS: dict[str, OutputKind] = {"features": "features", "embedding": "embedding", "logits": "logits"}


@dataclass(frozen=True, eq=False)
class Backbone:
    """An artifact whose input is one clip of one channel, (batch, 1, H, W, D, frames).

    Attributes:
        path: the file, or the folder of a SavedModel.
        runtime: the runtime for it.
        contract: how its scans are prepared.
        size: the model's grid in voxels.
        frames: frames of a clip.
        batch: the fixed size of the batch; None if any is possible.
        given: the kind of its output.
        channels: length of its vectors: embeddings or logits.
        facts: what identifies it, as plain data for JSON.

    """

    path: Path
    runtime: Runtime
    device: Device
    contract: InputContract
    size: tuple[int, int, int]
    frames: int
    batch: int | None
    given: OutputKind
    channels: int
    facts: dict[str, Any]
    _input: str
    _output: str

    @property
    def synthetic(self) -> bool:
        """Whether its weights are random numbers, so that features mean nothing."""
        return bool(self.facts["synthetic"])

    def kind(self, wanted: str | None) -> OutputKind:
        """The kind of output to compute, by default the artifact's own; raises UsageError if it does not follow."""
        if wanted is None:
            return self.given
        kind, known = check_kind(wanted), kinds_from(self.given)
        if kind not in known:
            raise UsageError(
                f"--output-kind {kind}: {file_label(self.path)} computes {self.given}, from which only "
                f"{listed(known)} follow; export it with the kind that you need"
            )
        return kind

    def load(self, threads: int | None = None, at_once: int = 1, batch: int = 1) -> Extractor:
        """Load it into its runtime, for ``threads`` threads (default: one per processor).

        They are shared by up to ``at_once`` batches that are computed side by side, where the runtime can and memory
        suffices: a thread that computes a clip alone never waits for another one. Threads that are left over help all
        of them. Raises LoadError for a damaged file, MachineError if the runtime or the device fails.
        """
        total = min(threads or all_processors(), all_processors())
        lanes = self._lanes(min(total, at_once), batch)
        # Each batch is computed by the thread that asks for it and the runtime's pool, which counts one such thread.
        limit_processors(total - lanes + 1)
        try:
            with muted_stderr():  # TensorFlow greets in native code
                session = self.runtime.adapter().load(self.path, self.device)
        except SwiftExportError:
            raise
        except Exception as error:  # every runtime has its own error types for a damaged file
            where = file_label(self.path)
            raise LoadError(f"{where}: {self.runtime.title} cannot load it: {error_line(error)}") from error
        return Extractor(self, session, lanes, total)

    def _lanes(self, wanted: int, batch: int) -> int:
        if self.runtime.name != "onnxruntime" or self.device != "cpu":
            return 1
        free, clip = free_memory(), 4 * math.prod((*self.size, self.frames))
        if free is not None:
            # Half of it stays to others.
            wanted = min(wanted, free // 2 // (_CLIPS_HELD * clip * (self.batch or batch)))
        return max(wanted, 1)


@dataclass(frozen=True, eq=False)
class Extractor:
    """A loaded artifact. ``at_once`` is how many batches it computes side by side, with ``threads`` threads in all."""

    backbone: Backbone
    session: Session
    at_once: int
    threads: int

    def __call__(self, clips: Float32[np.ndarray, "batch 1 h w d t"], kind: OutputKind) -> Float32[np.ndarray, ...]:
        """The output for a batch of clips, as another kind that follows from it.

        Raises MachineError if the runtime fails, or if a value is not finite.
        """
        backbone = self.backbone
        count = len(clips)
        if backbone.batch is not None and count < backbone.batch:
            # A fixed batch is filled up; every clip is computed on its own.
            clips = np.concatenate([clips, np.repeat(clips[-1:], backbone.batch - count, axis=0)])
        try:
            outputs = self.session({backbone._input: clips})
        except SwiftExportError:
            raise
        except Exception as error:  # likewise for a call that fails
            what = f"{file_label(backbone.path)}: {self.session.info.name} failed on {count} clips"
            raise MachineError(f"{what}: {error_line(error)}") from error
        found = outputs[backbone._output][:count]
        if not np.isfinite(found).all():
            raise MachineError(
                f"{file_label(backbone.path)}: expected finite values of {backbone._output}, found others in "
                f"{self.session.info.name}; check it with swift-export check"
            )
        return as_kind(found.astype(np.float32, copy=False), backbone.given, kind)


def find_backbone(path: Path, runtime: str | None = None, device: str = "cpu") -> Backbone:
    """The artifact at ``path`` (an artifact folder, a file or a SavedModel), verified against its manifest.

    ``runtime`` is one of `RUNTIME_NAMES`, by default that of the artifact, ONNX first.

    Raises:
        ArtifactError: the artifact is missing, damaged, or changed since its export.
        UsageError: the runtime is unknown, not installed or reads none of the files, or the model takes other inputs.

    """
    target_device = check_device(device)
    chosen = None if runtime is None else _runtime_named(runtime)
    place = _place(path, chosen)
    if chosen is None:
        chosen = RUNTIMES[_DEFAULTS[kind_of(str(place))]]
    require(chosen)
    try:
        check_ability(chosen, target_device, "float32")
    except AbsentDevice as error:
        raise UsageError(str(error)) from None
    found = find_artifacts(place, Choice((chosen.name,), device=target_device))
    targets = [target for target in found.targets if target.static is None or len(found.targets) == 1]
    if not targets:
        raise UsageError(f"{path}: expected a file that {chosen.title} reads, found none; choose another --runtime")
    (target, *_) = targets
    record = found.records[target.file]
    name, shape = _clip_input(target)
    kind = _OUTPUTS.get(str(record.settings.get("output_kind", "features")), "features")
    contract = record.input or InputContract(None, None, None, None, 1, "the artifact does not state its placement")
    manifest = found.manifest
    output = _output_of(target, kind)
    return Backbone(
        path=target.path,
        runtime=chosen,
        device=target_device,
        contract=contract,
        size=shape[:3],
        frames=shape[3],
        batch=_fixed_batch(target),
        given=kind,
        channels=_channels(record, output),
        facts={
            "artifact": target.path.name if manifest is None else target.file,
            "sha256": _digest(target.path),
            "variant": record.variant,
            "weights_sha256": found.digest,
            "weights": None if manifest is None else manifest.weights.name,
            "synthetic": found.note is not None,
        },
        _input=name,
        _output=output,
    )


def _runtime_named(name: str) -> Runtime:
    if name not in _RUNTIMES:
        raise UsageError(f"--runtime {name}: expected one of {listed(RUNTIME_NAMES)}")
    return find_runtime(_RUNTIMES[name])


def _place(path: Path, runtime: Runtime | None) -> Path:
    """The file to use: ``path``, or the one in an artifact folder that the runtime reads."""
    folder = artifact_folder(path)
    if folder is None or folder.absolute() != path.absolute():
        return path
    units = [folder / unit for name in read_manifest(folder).artifacts for unit in FORMATS[name].units]
    kinds = list(_DEFAULTS) if runtime is None else list(runtime.reads)
    for kind in kinds:
        for unit in units:
            if kind_of(str(unit)) == kind:
                return unit
    reader = "any runtime" if runtime is None else runtime.title
    raise UsageError(f"{path}: expected a file for {reader}, found none; export one or choose another --runtime")


def _clip_input(target: Target) -> tuple[str, tuple[int, int, int, int]]:
    """Name of the input and (H, W, D, frames) of a clip; raises UsageError for a model of other inputs."""
    specs = target.model.inputs
    (spec, *more) = specs
    *_, h, w, d, t = spec.dims if len(spec.dims) == 6 else (0, 0, 0, 0)
    if more or spec.dtype != "float32" or spec.dims[1:2] != (1,) or not all(isinstance(n, int) for n in (h, w, d, t)):
        raise UsageError(
            f"{file_label(target.path)}: expected one input of clips, float32 (batch, 1, H, W, D, frames), found "
            f"{listed(f'{spec.name} {spec}' for spec in specs)}"
        )
    return spec.name, (int(h), int(w), int(d), int(t))


def _fixed_batch(target: Target) -> int | None:
    size = target.model.inputs[0].dims[0]
    if target.static is not None:
        return target.static.get("batch", 1)
    return size if isinstance(size, int) else None


def _output_of(target: Target, kind: OutputKind) -> str:
    """The output with the features: an export may give the maps of the stages beside it."""
    outputs: Sequence[str] = target.model.outputs
    wanted = str(kind)
    named = [name for name in outputs if name == wanted] or [name for name in outputs if name == "features"]
    named = named or list(outputs)
    if len(named) == 1:
        return named[0]
    raise UsageError(
        f"{file_label(target.path)}: expected an output called features, found {listed(target.model.outputs)}; "
        "export it with --outputs features"
    )


def _channels(record: Recorded, output: str) -> int:
    """The second axis of the output, which all kinds keep."""
    specs = () if record.signature is None else record.signature.outputs
    dims = next((spec.dims for spec in specs if spec.name == output), ())
    if len(dims) < 2 or not isinstance(dims[1], int):
        raise UsageError(f"{record.where}: expected an output (batch, channels, ...), found {dims}; export it again")
    return dims[1]


def _digest(path: Path) -> str:
    """SHA-256 of a file; of a SavedModel, that of its files' names and digests."""
    if path.is_file():
        return digest_file(path.resolve()).sha256
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            whole.update(f"{file.relative_to(path).as_posix()} {digest_file(file.resolve()).sha256}\n".encode())
    return whole.hexdigest()
