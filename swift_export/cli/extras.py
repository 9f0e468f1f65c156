"""Extras: missing ones are reported early and by name, or installed if scripts/swift-export is the caller."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from swift_export.errors import UsageError

__all__ = ["EXTRAS", "Extra", "need_extra", "need_runtime", "need_runtime_extras"]


@dataclass(frozen=True)
class Extra:
    """The modules that an extra installs, and its purpose."""

    packages: tuple[str, ...]
    adds: str

    def absent(self) -> list[str]:
        """The missing packages; only their parent packages are imported."""
        return [package for package in self.packages if not _importable(package)]


EXTRAS = {
    "savedmodel": Extra(("tensorflow", "tf2onnx"), "SavedModels: exporting them, TensorFlow, its C API"),
    "fmri": Extra(("nibabel",), "NIfTI scans as inputs"),
    "scale": Extra(("bids2table", "distributed", "dask_jobqueue"), "BIDS data sets; Dask clusters and batch systems"),
    "probe": Extra(("sklearn",), "fitting probes to embeddings"),
    "serve": Extra(
        ("fastapi", "uvicorn", "httptools", "prometheus_client", "grpc", "nibabel", "python_multipart"),
        "serving models over HTTP and gRPC",
    ),
    "openvino": Extra(("openvino",), "ONNX files in OpenVINO"),
    "iree": Extra(("iree.compiler", "iree.runtime"), "StableHLO files in IREE"),
    "gpu": Extra(("jax_plugins.xla_cuda13",), "JAX, ONNX Runtime and TensorFlow on NVIDIA GPUs"),
}
#: Set by scripts/swift-export: its own path, and the extras that it has installed for this command.
_LAUNCHER, _INSTALLED = "SWIFT_EXPORT_LAUNCHER", "SWIFT_EXPORT_EXTRAS"


def need_extra(extra: str, why: str) -> None:
    """Require an extra.

    Raises UsageError with the packages to install. If scripts/swift-export is the caller, the process instead returns
    to it; it installs the extra and restarts the command. So this must be called before any other work.
    """
    absent = EXTRAS[extra].absent()
    if not absent:
        return
    launcher, installed = os.environ.get(_LAUNCHER), os.environ.get(_INSTALLED, "").split()
    if launcher and extra not in installed:
        sys.stdout.flush()
        os.environ[_INSTALLED] = " ".join([*installed, extra])
        os.execv(launcher, [launcher, *sys.argv[1:]])
    raise UsageError(f"{why} needs {' and '.join(absent)}: install them with pip install 'swift-export[{extra}]'")


def need_runtime(name: str | None) -> None:
    """Require the extra of a runtime for features, if it has one; None is the artifact's runtime."""
    extra = {"openvino": "openvino", "tensorflow": "savedmodel"}.get(name or "")
    if extra is not None:
        need_extra(extra, f"--runtime {name}")


def need_runtime_extras(names: Iterable[str]) -> None:
    """Require the extras of runtimes that are named on the command line; raises UsageError for unknown names."""
    from swift_export.runtimes.registry import find_runtime

    for name in names:
        runtime = find_runtime(name)
        # Requirements of GPUs differ between machines: the runtime itself reports missing parts.
        if runtime.extra and runtime.extra != "gpu":
            need_extra(runtime.extra, f"--runtime {name}")


def _importable(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # its parent package
        return False
