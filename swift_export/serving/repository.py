"""The models of a server by name, loaded again when their artifacts change."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from swift_export.artifacts.inspect import artifact_folder
from swift_export.artifacts.layout import MANIFEST
from swift_export.errors import ArtifactError, SwiftExportError, UsageError
from swift_export.serving.batch_choice import best_batch
from swift_export.serving.refusals import Unknown
from swift_export.serving.serve_settings import ServeSettings
from swift_export.serving.served_model import ServedModel, load_model, onnx_file
from swift_export.serving.tensors import DATATYPES
from swift_export.system.text import error_line, listed, shown

__all__ = ["Loaded", "Repository", "Source", "sources_of"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

#: Device, inode, size and time of a file: another one means that the file was replaced.
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Source:
    """An artifact to serve, and its name for clients."""

    name: str
    path: Path


@dataclass(frozen=True)
class Loaded:
    """An attempt to load a model: the model, or the error."""

    name: str
    model: ServedModel | None
    error: str | None = None


def sources_of(paths: Sequence[Path], names: Sequence[str] = ()) -> tuple[Source, ...]:
    """The artifacts with their names: those given, in order, else those of their folders, or files.

    Raises UsageError for a name that is not usable, or that two artifacts have.
    """
    if not paths:
        raise UsageError("expected an artifact to serve, found none")
    if names and len(names) != len(paths):
        raise UsageError(f"--name: expected one for each of {len(paths)} artifacts, found {len(names)}")
    found: dict[str, Source] = {}
    for number, path in enumerate(paths):
        name = names[number] if names else _own_name(path)
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{path}: expected a name of letters, digits, - _ and ., found {shown(name)}; give one with --name"
            )
        if name in found:
            raise UsageError(f"{path}: {name} is the name of {found[name].path} already; give others with --name")
        found[name] = Source(name, path)
    return tuple(found.values())


class Repository:
    """The served models. One thread loads; any thread may look a model up.

    ``on_loaded`` is called after every attempt to load a model, in the thread that made it.
    """

    def __init__(
        self, sources: Sequence[Source], settings: ServeSettings, on_loaded: Callable[[Loaded], None] | None = None
    ):
        self.sources = tuple(sources)
        self.listeners: list[Callable[[Loaded], None]] = [] if on_loaded is None else [on_loaded]
        self._settings = settings
        self._models: dict[str, ServedModel] = {}
        self._stamps: dict[str, Stamp | None] = {}
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """The loaded models by name."""
        return self._models

    @property
    def ready(self) -> bool:
        """Whether all models are loaded."""
        return len(self._models) == len(self.sources)

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """The model of this name; raises Unknown if there is none, or none of this version."""
        model = self._models.get(name)
        if model is None:
            raise Unknown(f"model {shown(name)}: expected one of {listed(self._models)}")
        if version not in (None, "", model.version):
            raise Unknown(f"model {name}, version {shown(version)}: expected {model.version}")
        return model

    def load(self) -> None:
        """Load all models; raises the error of the first that cannot be loaded."""
        for source in self.sources:
            self._stamps[source.name] = _stamp(source.path)
            self.put(self._load(source))

    def refresh(self) -> None:
        """Load the models whose artifacts changed. Where that fails, the older model stays."""
        for source in self.sources:
            stamp = _stamp(source.path)
            if stamp is None or stamp == self._stamps.get(source.name):
                continue
            # Of a failed attempt, too: the same file would fail again.
            self._stamps[source.name] = stamp
            try:
                model = self._load(source)
            except SwiftExportError as error:
                self._tell(Loaded(source.name, None, str(error)))
            except Exception as error:  # a fault of this program must not end the watch
                self._tell(Loaded(source.name, None, f"{type(error).__name__}: {error_line(error)}"))
            else:
                self.put(model)

    def watch(self) -> None:
        """Refresh from time to time, in a thread, until `close`."""
        if self._settings.watch_s and self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """End the watch."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join(timeout=5)

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.watch_s):
            self.refresh()

    def _load(self, source: Source) -> ServedModel:
        how, before = self._settings, _stamp(source.path)
        model = load_model(
            source.path, source.name, how.runtime, threads=how.threads, instances=how.instances, golden=how.golden
        )
        if strange := [str(spec) for spec in (*model.inputs, *model.outputs) if spec.dtype not in DATATYPES]:
            raise UsageError(f"{source.path}: {strange[0]}: expected numbers that the protocol can send, found others")
        best = best_batch(model, how.batching, how.max_batch)
        if best == 1 and model.batched and how.batching != "off":
            # The runtime keeps the memory of the largest batch that it has computed.
            model = model.renewed()
        if _stamp(source.path) != before:
            raise ArtifactError(f"{source.path}: changed while it was loaded; load it again")
        return replace(model, best_batch=best)

    def put(self, model: ServedModel) -> None:
        """Serve a model from now on, instead of an older one of its name."""
        self._models[model.name] = model
        self._tell(Loaded(model.name, model))

    def _tell(self, loaded: Loaded) -> None:
        for listener in self.listeners:
            listener(loaded)


def _own_name(path: Path) -> str:
    folder = artifact_folder(path)
    return path.stem if folder is None else folder.resolve().name


def _stamp(path: Path) -> Stamp | None:
    """The stamp of what is renamed into place last; None while it is away."""
    folder = artifact_folder(path)
    try:
        found = (onnx_file(path) if folder is None else folder / MANIFEST).stat()
    except (OSError, SwiftExportError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
