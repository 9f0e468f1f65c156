"""``model.mlir.bc`` and ``model.b1.mlir.bc`` like in any StableHLO consumer: parse, fix the shapes, compile.

Nothing is traced: XLA compiles the file's own operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.extend.backend import get_backend
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from jaxlib.xla_client import CompileOptions

from swift_export.formats.argument_names import argument_names
from swift_export.formats.element_types import from_mlir
from swift_export.formats.stablehlo_module import essentials, main_function, names_of_results, walk
from swift_export.runtimes._refining import refine
from swift_export.runtimes._xla import AS_WRITTEN, XlaSession, describe, find_device, parse_portable
from swift_export.runtimes.base import Arrays, Device, InputSpec, Precision

__all__ = ["load", "lower_precision", "session_of"]


def load(path: Path, device: Device, precision: Precision = "float32") -> XlaSession:
    """Load a portable StableHLO artifact; XLA compiles it once for each combination of its inputs' shapes.

    In tf32, products have XLA's default precision instead of the file's, which is the highest.
    """
    target = find_device(device)
    data = path.read_bytes()

    def read() -> ir.Module:
        module = parse_portable(data)
        if precision == "tf32":
            lower_precision(module)
        return module

    return session_of(read, target, path.name)


def lower_precision(module: ir.Module) -> None:
    """Give every product of a module the default precision, with which a GPU rounds factors to TF32."""
    with module.context:
        for op in walk(module.operation):
            attributes = op.operation.attributes
            if "precision_config" in attributes:
                default = stablehlo.PrecisionAttr.get("DEFAULT")
                attributes["precision_config"] = ir.ArrayAttr.get([default] * len(attributes["precision_config"]))


def session_of(
    read: Callable[[], ir.Module],
    device: Any,
    where: str,
    *,
    arguments: Sequence[str] | None = None,
    results: Sequence[str] | None = None,
    fixed: Arrays | None = None,
    as_written: bool = False,
) -> XlaSession:
    """A session on a jax device of the module that ``read`` returns, newly parsed each time.

    ``arguments`` and ``results`` name all of them, by default as the module does. ``fixed`` are arguments that callers
    do not pass. With ``as_written``, XLA does not simplify. Calls raise ValueError for shapes that the module does not
    take.
    """
    module = read()
    with module.context:
        main = main_function(module)
        kinds = list(main.type.inputs)
        names = arguments or argument_names(essentials(module), len(kinds))
        returned = results or names_of_results(main)
        given = fixed or {}
        inputs = [_spec(name, kind) for name, kind in zip(names, kinds, strict=True) if name not in given]
    program = _Program(read, tuple(names), tuple(returned), given, device, as_written)
    return XlaSession(describe("StableHLO on XLA", device, module), device, inputs, where, program)


class _Program:
    """The module, compiled at the first use of shapes."""

    def __init__(
        self,
        read: Callable[[], ir.Module],
        arguments: tuple[str, ...],
        results: tuple[str, ...],
        fixed: Arrays,
        device: Any,
        as_written: bool,
    ):
        self._read = read
        self._arguments = arguments
        self._results = results
        # Copied to the device once, not in every timed call.
        with jax.enable_x64(True):
            self._fixed = {name: jax.device_put(array, device) for name, array in fixed.items()}
        self._device = device
        self._options = CompileOptions()
        if as_written:
            self._options.env_option_overrides = list(AS_WRITTEN.items())
        self._executables: dict[tuple[tuple[int, ...], ...], Any] = {}

    def __call__(self, placed: Mapping[str, Any]) -> dict[str, Any]:
        arrays = [placed[name] if name in placed else self._fixed[name] for name in self._arguments]
        shapes = tuple(tuple(array.shape) for array in arrays)
        if shapes not in self._executables:
            # jax's documented functions compile only traced Python functions. The client from the public
            # jax.extend.backend takes MLIR bytecode: the only undocumented call, identical in jax 0.10 to 0.12.
            client = get_backend(self._device.platform)
            refined = refine(self._read(), shapes)
            self._executables[shapes] = client.compile_and_load(refined, [self._device], self._options)
        return dict(zip(self._results, self._executables[shapes].execute(arrays), strict=True))


def _spec(name: str, kind: Any) -> InputSpec:
    shape = tuple(None if kind.is_dynamic_dim(axis) else n for axis, n in enumerate(kind.shape))
    return InputSpec(name, from_mlir(str(kind.element_type)), shape)
