"""The served models that take scans: SwiFT backbones, with the preparation that they state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swift_export.errors import SwiftExportError, UsageError
from swift_export.features.extractor import Backbone, find_backbone
from swift_export.serving.refusals import Refusal, Stopping
from swift_export.serving.repository import Loaded, Repository
from swift_export.serving.served_model import ServedModel
from swift_export.system.text import error_line, listed

__all__ = ["ScanModel", "ScanModels", "TakesNoScans"]


class TakesNoScans(Refusal):
    """The model is no SwiFT backbone, or several are served and none is named."""

    http_status = 409


@dataclass(frozen=True, eq=False)
class ScanModel:
    """A loaded model, and how its scans are prepared."""

    model: ServedModel
    backbone: Backbone


class ScanModels:
    """The models of a repository that take scans; follows it when artifacts are loaded again."""

    def __init__(self, repository: Repository, runtime: str):
        self._repository, self._runtime = repository, runtime
        self._found: dict[str, ScanModel | str] = {}
        for model in list(repository.models.values()):
            self._loaded(Loaded(model.name, model))
        repository.listeners.append(self._loaded)

    @property
    def by_name(self) -> Mapping[str, ScanModel | str]:
        """Each served model, or the reason why it takes no scans."""
        return self._found

    def find(self, name: str | None) -> ScanModel:
        """The model of this name, by default the only one.

        Raises Unknown if there is none of this name, TakesNoScans if it takes no scans, or if several do and none is
        named.
        """
        if name is not None:
            self._repository.find(name)
            found = self._found.get(name)
            if isinstance(found, ScanModel):
                return found
            if found is None:
                raise Stopping(f"{name}: expected a loaded model, found one that is being loaded; try again later")
            raise TakesNoScans(f"{name}: takes no scans: {found}")
        usable = {name: found for name, found in self._found.items() if isinstance(found, ScanModel)}
        if len(usable) == 1:
            return next(iter(usable.values()))
        if usable:
            raise TakesNoScans(f"expected ?model= with one of {listed(usable)}, found none")
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self._found.items())
        raise TakesNoScans(f"expected a SwiFT backbone, for scans, found none ({reasons})")

    def _loaded(self, loaded: Loaded) -> None:
        """Read how a model's scans are prepared, in the thread that loaded it."""
        if loaded.model is None:  # the older one goes on
            return
        path = next(source.path for source in self._repository.sources if source.name == loaded.name)
        try:
            self._found[loaded.name] = self._described(loaded.model, find_backbone(path, self._runtime))
        except SwiftExportError as error:
            self._found[loaded.name] = str(error).replace(f"{path}: ", "")
        except Exception as error:  # a fault of this program must not end the loading
            self._found[loaded.name] = f"{type(error).__name__}: {error_line(error)}"

    def _described(self, model: ServedModel, backbone: Backbone) -> ScanModel:
        if not str(backbone.facts["sha256"]).startswith(model.version):
            raise UsageError("its artifact changed while it was loaded; it is loaded again soon")
        return ScanModel(model, backbone)
