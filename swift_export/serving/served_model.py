"""A model in the server's process: an ONNX file in a session, verified and compared with its golden outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from swift_export.artifacts.digests import digest_file
from swift_export.artifacts.inspect import artifact_folder
from swift_export.artifacts.layout import FORMATS, MANIFEST, ONNX_FILE
from swift_export.artifacts.manifest import read_manifest
from swift_export.errors import CheckFailed, InputError, MachineError, SwiftExportError, UsageError
from swift_export.formats.facts import Facts, read_facts
from swift_export.formats.metadata import WARNING_KEY
from swift_export.formats.signature import UNNAMED, Signature, TensorSpec
from swift_export.parity.golden.golden_outputs import draw_golden_input, golden_tolerance, read_golden
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.tolerances import Tolerance, tolerance
from swift_export.parity.targets import Artifacts, Choice, find_artifacts
from swift_export.runtimes.base import Arrays, LoadError, Session, check_device
from swift_export.runtimes.registry import find_runtime, kind_of, require
from swift_export.system.machine import all_processors, limit_processors
from swift_export.system.streams import muted_stderr
from swift_export.system.text import error_line, listed, shown

__all__ = ["ServedModel", "load_model", "onnx_file"]

#: Digits of the file's SHA-256 that are the model's version.
_VERSION_DIGITS = 12
#: The runtimes whose sessions take several calls at a time.
_SHARED = ("onnxruntime",)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded model.

    Attributes:
        name: by which clients ask for it.
        version: the first digits of the file's SHA-256.
        inputs: its inputs, in the file's order; an unknown dimension has a name.
        outputs: its outputs, likewise.
        sessions: what computes, one for each call at a time; all the same one where the runtime allows that.
        note: what clients must know of the weights, such as that they are synthetic.
        golden: whether its results were compared with golden outputs when it was loaded.
        reopen: opens the file in other sessions.
        best_batch: up to how many items of several requests are computed together.

    """

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sessions: tuple[Session, ...]
    note: str | None = None
    golden: bool = False
    reopen: Callable[[], tuple[Session, ...]] | None = None
    best_batch: int = 1

    @property
    def session(self) -> Session:
        """The first session."""
        return self.sessions[0]

    @property
    def platform(self) -> str:
        """The protocol's name of the runtime and the format."""
        return f"{self.session.info.name.lower().replace(' ', '')}_onnx"

    @property
    def batched(self) -> bool:
        """Whether requests may be joined: the first axis of all inputs and outputs is the same unknown dimension."""
        first = {spec.dims[0] if spec.dims else 0 for spec in (*self.inputs, *self.outputs)}
        (axis, *others) = first
        return not others and isinstance(axis, str) and (axis != UNNAMED or len(self.inputs) == 1)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """The number of items in inputs of these shapes, 1 if the model is not batched.

        Raises InputError for shapes that do not fit the model, or each other.
        """
        if sorted(shapes) != sorted(spec.name for spec in self.inputs):
            expected = ", ".join(spec.name for spec in self.inputs)
            found = listed(map(shown, shapes)) or "none"
            raise InputError(f"{self.name}: expected the inputs {expected}, found {found}")
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            shape = shapes[spec.name]
            fits = len(shape) == len(spec.dims) and all(n > 0 for n in shape)
            for dim, size in zip(spec.dims, shape, strict=False):
                known = size if dim == UNNAMED else sizes.setdefault(dim, size) if isinstance(dim, str) else dim
                fits = fits and size == known
            if not fits:
                found = shown(f"({', '.join(map(str, shape))})")
                agreed = ", ".join(f"{dim} {size}" for dim, size in sizes.items() if dim in spec.dims)
                why = f", where {agreed}" if len(self.inputs) > 1 and agreed else ""
                raise InputError(f"{self.name}: {spec.name}: expected {spec}{why}, found {found}")
        return shapes[self.inputs[0].name][0] if self.batched else 1

    def renewed(self) -> ServedModel:
        """The same in other sessions, without the memory that these have taken for large batches."""
        return self if self.reopen is None else replace(self, sessions=self.reopen())

    def infer(self, arrays: Arrays, instance: int = 0) -> dict[str, np.ndarray]:
        """Outputs by name, of one of the sessions.

        Raises InputError for inputs of another type or shape, MachineError if the runtime fails.
        """
        try:
            return self.sessions[instance](arrays)
        except SwiftExportError:
            raise
        except Exception as error:  # every runtime has its own error types
            raise MachineError(f"{self.name}: {self.session.info.name} failed: {error_line(error)}") from error


def onnx_file(path: Path) -> Path:
    """The ONNX file at ``path``: the file itself, or that of an artifact folder.

    Raises UsageError if there is none.
    """
    folder = artifact_folder(path)
    if folder is None:
        if path.is_file() and kind_of(path.name) == "onnx":
            return path
        found = "no such file or folder" if not path.exists() else "another"
        raise UsageError(f"{path}: expected an artifact folder or an .onnx file, found {found}")
    if "onnx" not in read_manifest(folder).artifacts:
        raise UsageError(
            f"{path}: expected an artifact with an ONNX file, found none; export one with swift-export onnx"
        )
    return folder / ONNX_FILE


def load_model(
    path: Path,
    name: str,
    runtime: str = "onnxruntime",
    *,
    threads: int | None = None,
    instances: int = 1,
    golden: bool = True,
) -> ServedModel:
    """Load the ONNX file at ``path`` into this process, for ``instances`` calls at a time that share ``threads``.

    An artifact folder is first verified against its manifest. With ``golden``, results are compared with the golden
    outputs, if the artifact has any.

    Raises:
        ArtifactError: the file is missing, damaged, or changed since its export.
        CheckFailed: a result differs from a golden output.
        LoadError: the runtime cannot load the file.
        UsageError: there is no ONNX file, or the runtime is not installed.

    """
    reader = find_runtime(runtime)
    require(reader)
    file = onnx_file(path)
    folder = artifact_folder(file)
    found = None if folder is None else find_artifacts(file, Choice((reader.name,)))
    digest = digest_file(file.resolve()).sha256
    signature, note = _described(file, digest, found)

    total = min(threads or all_processors(), all_processors())
    # Each call is computed by the thread that makes it and the session's pool, which counts one such thread.
    shared = reader.name in _SHARED
    limit = total - instances + 1 if shared else max(1, total // instances)

    def opened() -> tuple[Session, ...]:
        limit_processors(limit)
        try:
            with muted_stderr():
                load, device = reader.adapter().load, check_device("cpu")
                session = load(file, device)
                return session, *(session if shared else load(file, device) for _ in range(instances - 1))
        except SwiftExportError:
            raise
        except Exception as error:  # every runtime has its own error types for a damaged file
            raise LoadError(f"{file}: {reader.title} cannot load it: {error_line(error)}") from error

    sessions = opened()
    checked = golden and found is not None and _check_golden(found, folder, sessions[0])
    return ServedModel(
        name, digest[:_VERSION_DIGITS], signature.inputs, signature.outputs, sessions, note, checked, opened
    )


def _described(file: Path, digest: str, found: Artifacts | None) -> tuple[Signature, str | None]:
    """The signature of a file, and the note on its weights."""
    if found is not None:
        record = found.records[ONNX_FILE]
        if record.signature is not None:
            return record.signature, found.note
    facts = _facts(file, digest)
    if facts.signature is None or not facts.signature.inputs or not facts.signature.outputs:
        raise UsageError(f"{file}: expected a model with inputs and outputs, found none")
    return facts.signature, facts.details.get("metadata", {}).get(WARNING_KEY)


@lru_cache(maxsize=16)
def _facts(file: Path, digest: str) -> Facts:
    """The facts in a file of this digest, whose reading takes a process."""
    return read_facts(file)


def _check_golden(found: Artifacts, folder: Path | None, session: Session) -> bool:
    """Compare a session with the golden outputs; False if there are none. Raises CheckFailed for a difference."""
    manifest, target = found.manifest, found.targets[0]
    if manifest is None or folder is None or (golden := manifest.artifacts["onnx"].golden) is None:
        return False
    batched = target.model.batched
    expected = read_golden(folder, manifest, FORMATS["onnx"].name, batched)
    arithmetic = session.info.arithmetic
    recorded = golden_tolerance(golden, folder / MANIFEST, target.integers)
    allowed: Tolerance = recorded if arithmetic == "float32" else tolerance(arithmetic, "cpu")
    inputs = draw_golden_input(golden, found.records[ONNX_FILE])
    repeated = target.model.batch or 1
    if repeated > 1:
        inputs = {name: np.repeat(array, repeated, axis=0) for name, array in inputs.items()}
    outputs = session(inputs)
    for name, right in expected.items():
        item = outputs[name][:1] if batched else outputs[name]
        difference = compare(item, right)
        if not difference.within(allowed):
            raise CheckFailed(
                f"{folder / ONNX_FILE}: {name} differs from its golden output: {difference}; export again"
            )
    return True
