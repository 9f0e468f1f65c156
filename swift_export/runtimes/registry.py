"""The runtimes by name: the artifacts they read, their requirements, blocked modules, devices and precisions."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast

from swift_export.errors import UsageError
from swift_export.runtimes._blocked import block_imports
from swift_export.runtimes.base import AbsentDevice, Adapter, Device, Precision

__all__ = [
    "REFERENCE",
    "RUNTIMES",
    "Kind",
    "Runtime",
    "check_ability",
    "find_runtime",
    "kind_of",
    "missing",
    "package_folder",
    "readers",
    "remedy",
    "require",
    "version",
]

#: Kinds of artifacts for readers: a jax.export file, portable StableHLO bytecode, a SavedModel, an ONNX file.
Kind = Literal["jax", "stablehlo", "savedmodel", "onnx"]

_ENDINGS: dict[str, Kind] = {".jax": "jax", ".mlir.bc": "stablehlo", ".onnx": "onnx"}


@dataclass(frozen=True)
class Runtime:
    """A runtime for artifacts.

    ``packages`` are required modules, ``libraries`` patterns of required files in the first of them, and ``programs``
    required executables on the PATH. ``distributions`` are the packages' names on an index; the first installed one
    determines the runtime's version. ``extra`` is the extra of swift-export that installs them. ``blocked`` modules
    cannot be imported in the runtime's process, because users of the artifact do not have them either. ``precisions``
    are the available precisions by device; the runtime cannot use other devices. ``reporters`` are modules that would
    report its use over the network; they are blocked in every process. ``lacking`` are the element types of files for
    whose arithmetic it has no kernels, by device.
    """

    name: str
    title: str
    reads: tuple[Kind, ...]
    packages: tuple[str, ...]
    distributions: tuple[str, ...]
    precisions: Mapping[Device, tuple[Precision, ...]] = field(hash=False)
    blocked: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    extra: str | None = None
    reporters: tuple[str, ...] = ()
    lacking: Mapping[Device, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def installed(self) -> bool:
        """Whether all requirements are found; nothing is imported."""
        return not missing(self)

    def adapter(self) -> Adapter:
        """Import this package's module that loads the artifacts."""
        block_imports([name for name in self.reporters if name not in sys.modules])
        return cast(Adapter, importlib.import_module(f"swift_export.runtimes.{self.name}"))


_MAKER = ("equinox", "flax", "haiku", "swift_export.models", "swift_export.lowering")
_FOREIGN = (*_MAKER, "jax", "jaxlib")
#: Importing openvino would report its use.
_REPORTER = "openvino_telemetry"
_ON_CPU: dict[Device, tuple[Precision, ...]] = {"cpu": ("float32",)}
_ON_BOTH: dict[Device, tuple[Precision, ...]] = {**_ON_CPU, "gpu": ("float32",)}
_WITH_TF32: dict[Device, tuple[Precision, ...]] = {**_ON_CPU, "gpu": ("float32", "tf32")}


def _by_name(*runtimes: Runtime) -> dict[str, Runtime]:
    """The table of runtimes; raises ValueError if two have the same name."""
    table: dict[str, Runtime] = {}
    for runtime in runtimes:
        if runtime.name in table:
            raise ValueError(f"runtime {runtime.name}: registered twice, as {table[runtime.name].title} already")
        table[runtime.name] = runtime
    return table


#: In the order of `readers`: a format's own runtime comes before its other readers.
RUNTIMES = _by_name(
    Runtime("reference", "JAX", (), ("jax",), ("jax",), _ON_BOTH),
    # StableHLO files state the precision of products themselves. Bytecode is compiled from a module, which can be
    # changed before.
    Runtime("jax_export", "jax.export", ("jax",), ("jax",), ("jax",), _ON_BOTH, _MAKER),
    Runtime("portable", "StableHLO on XLA", ("stablehlo",), ("jax",), ("jax",), _WITH_TF32, _MAKER),
    Runtime(
        "iree",
        "IREE",
        ("stablehlo",),
        ("iree.compiler", "iree.runtime"),
        ("iree-base-compiler",),
        _ON_CPU,
        _FOREIGN,
        extra="iree",
    ),
    Runtime(
        "tensorflow",
        "TensorFlow",
        ("savedmodel",),
        ("tensorflow",),
        ("tensorflow-cpu", "tensorflow"),
        _WITH_TF32,
        _FOREIGN,
        extra="savedmodel",
    ),
    Runtime(
        "tensorflow_c",
        "TensorFlow C API",
        ("savedmodel",),
        ("tensorflow",),
        ("tensorflow-cpu", "tensorflow"),
        _ON_CPU,
        _FOREIGN,
        libraries=("libtensorflow_cc*", "libtensorflow_framework*", "include/tensorflow/c/c_api.h"),
        programs=("cc",),
        extra="savedmodel",
    ),
    Runtime(
        "tensorflow_serving",
        "TensorFlow Serving",
        ("savedmodel",),
        ("tensorflow", "tensorflow_serving", "grpc"),
        ("tensorflow-serving-api",),
        _ON_CPU,
        _FOREIGN,
        programs=("tensorflow_model_server",),
        extra="savedmodel",
    ),
    Runtime(
        "onnxruntime",
        "ONNX Runtime",
        ("onnx",),
        ("onnxruntime",),
        ("onnxruntime", "onnxruntime-gpu"),
        _WITH_TF32,
        _FOREIGN,
        lacking={"cpu": ("bfloat16",)},
    ),
    Runtime(
        "onnxruntime_tensorrt",
        "ONNX Runtime on TensorRT",
        ("onnx",),
        ("onnxruntime",),
        ("onnxruntime-gpu",),
        {"gpu": ("float32", "tf32", "float16")},
        _FOREIGN,
        libraries=("capi/*onnxruntime_providers_tensorrt*",),
        extra="gpu",
    ),
    Runtime(
        "openvino",
        "OpenVINO",
        ("onnx",),
        ("openvino",),
        ("openvino",),
        {"cpu": ("float32", "bfloat16", "float16")},
        (*_FOREIGN, _REPORTER),
        extra="openvino",
        reporters=(_REPORTER,),
    ),
)
REFERENCE = RUNTIMES["reference"]

#: Packages outside all extras, with pip's arguments. With dependencies, this one would install a second TensorFlow.
_BESIDE = {"tensorflow_serving": "--no-deps tensorflow-serving-api"}
#: Descriptions of the programs, and their origin.
_PROGRAMS = {
    "cc": "a C compiler, such as gcc",
    "tensorflow_model_server": "TensorFlow Serving's server, see https://www.tensorflow.org/tfx/serving/setup",
}


def kind_of(file: str) -> Kind:
    """The kind of a path's artifact, by its suffix; a SavedModel is a folder of any name."""
    return next((kind for ending, kind in _ENDINGS.items() if file.endswith(ending)), "savedmodel")


def readers(kind: Kind) -> tuple[Runtime, ...]:
    """The runtimes for a kind of artifacts, installed or not; the format's own runtime comes first."""
    return tuple(runtime for runtime in RUNTIMES.values() if kind in runtime.reads)


def find_runtime(name: str) -> Runtime:
    """The runtime of this name, with ``-`` or ``_``; raises UsageError for an unknown name."""
    found = RUNTIMES.get(name.replace("-", "_"))
    if found is None or not found.reads:
        known = ", ".join(runtime.name for runtime in RUNTIMES.values() if runtime.reads)
        raise UsageError(f"--runtime {name}: expected one of {known}")
    return found


def missing(runtime: Runtime) -> tuple[str, ...]:
    """The missing packages, files of packages and programs of a runtime; nothing is imported."""
    absent = [package for package in runtime.packages if not _folders(package)]
    if not absent:
        absent = [f"{runtime.packages[0]}/{library}" for library in runtime.libraries if not _has(runtime, library)]
    return (*absent, *(program for program in runtime.programs if not shutil.which(program)))


def remedy(runtime: Runtime) -> str:
    """How to install the missing requirements, in words; empty if none are missing."""
    absent = missing(runtime)
    beside = [package for package in absent if package in _BESIDE]
    programs = [program for program in absent if program in runtime.programs]
    packages = [package for package in absent if package not in (*beside, *programs)]
    wanted = f"'swift-export[{runtime.extra}]'" if runtime.extra else " ".join(packages)
    steps = [f"pip install {wanted}"] if packages else []
    steps += [f"pip install {_BESIDE[package]}" for package in beside]
    return " and ".join([*steps, *(f"install {_PROGRAMS[program]}" for program in programs)])


def require(runtime: Runtime) -> None:
    """Raise UsageError, with the missing parts and how to install them, unless a runtime is installed."""
    if absent := missing(runtime):
        raise UsageError(
            f"{runtime.title} is not installed ({', '.join(absent)} not found): {remedy(runtime)}, "
            "or leave its artifact unchecked"
        )


def check_ability(runtime: Runtime, device: Device, precision: Precision) -> None:
    """Raise AbsentDevice or UsageError if a runtime cannot use the device or the precision."""
    if device not in runtime.precisions:
        usable = " or ".join(runtime.precisions)
        raise AbsentDevice(f"--device {device}: {runtime.title} runs only on the {usable}; use --device {usable}")
    granted = runtime.precisions[device]
    if precision not in granted:
        raise UsageError(f"--precision {precision}: {runtime.title} on the {device} computes in {' or '.join(granted)}")


def version(runtime: Runtime) -> str | None:
    """The version of a runtime's package, from its installation record."""
    for name in runtime.distributions:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def package_folder(package: str) -> Path:
    """The location of an installed package; nothing is imported."""
    return Path(_folders(package)[0])


def _folders(package: str) -> list[str]:
    """The locations of a package; empty if it cannot be imported."""
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:  # the package around it
        return []
    return list(spec.submodule_search_locations or ()) if spec else []


def _has(runtime: Runtime, library: str) -> bool:
    return any(next(Path(folder).glob(library), None) for folder in _folders(runtime.packages[0]))
