"""The runtimes by name: which module adapts each, what it needs installed and what it must do without."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import cast

from swift_export.errors import UsageError
from swift_export.runtimes.base import Adapter

__all__ = ["REFERENCE", "RUNTIMES", "Runtime", "require"]


@dataclass(frozen=True)
class Runtime:
    """One way to run an artifact.

    ``package`` is what must be importable, ``extra`` the extra of swift-export that brings it. ``blocked`` modules
    cannot be imported in the runtime's process: whoever serves the artifact does not have them either.
    """

    name: str
    title: str
    package: str
    blocked: tuple[str, ...]
    extra: str | None = None

    @property
    def installed(self) -> bool:
        """Whether its package can be found; nothing is imported."""
        return find_spec(self.package) is not None

    def adapter(self) -> Adapter:
        """Import the module of this package that loads artifacts; only in a worker's process."""
        return cast(Adapter, importlib.import_module(f"swift_export.runtimes.{self.name}"))


_MAKER = ("equinox", "swift_export.backbone", "swift_export.lowering", "swift_export.weights")
_JAX = ("jax", "jaxlib")

RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("reference", "Equinox", "equinox", ()),
        Runtime("jax_export", "jax.export", "jax", _MAKER),
        Runtime("portable", "StableHLO on XLA", "jax", _MAKER),
        Runtime("tensorflow", "TensorFlow", "tensorflow", (*_MAKER, *_JAX), extra="savedmodel"),
        Runtime("onnxruntime", "ONNX Runtime", "onnxruntime", (*_MAKER, *_JAX)),
    )
}
REFERENCE = RUNTIMES["reference"]


def require(runtime: Runtime) -> None:
    """Raise UsageError, naming what to install, where a runtime is not installed."""
    if not runtime.installed:
        wanted = f"swift-export[{runtime.extra}]" if runtime.extra else runtime.package
        raise UsageError(f"{runtime.title} is not installed: pip install '{wanted}', or leave its artifact unchecked")
