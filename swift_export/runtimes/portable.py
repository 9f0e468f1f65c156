"""``model.mlir.bc`` and ``model.b1.mlir.bc`` as any StableHLO consumer takes them: parse, fix the batch, compile.

Nothing is traced: the operations that XLA compiles are those of the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jax.extend.backend import get_backend
from jax.extend.mlir import ir

from swift_export.runtimes._refining import main_function, refine
from swift_export.runtimes._xla import XlaSession, describe, find_device, parse_portable
from swift_export.runtimes.base import INPUT, Device, InputSpec, Precision

__all__ = ["load"]

_DTYPES = {"f64": "float64", "f32": "float32", "f16": "float16"}


def load(path: Path, device: Device, precision: Precision = "float32") -> XlaSession:
    """Load a portable StableHLO artifact; XLA compiles it once a shape of its input."""
    target = find_device(device)
    data = path.read_bytes()
    module = parse_portable(data)
    with module.context:
        main = main_function(module)
        (kind,) = main.type.inputs
        shape = tuple(None if kind.is_dynamic_dim(i) else n for i, n in enumerate(kind.shape))
        bold = InputSpec(INPUT, _DTYPES[str(kind.element_type)], shape)
        outputs = [_result_name(attributes) for attributes in main.attributes["res_attrs"]]
    info = describe("StableHLO on XLA", target, module)
    return XlaSession(info, target, bold, path.name, _Program(data, outputs, target))


class _Program:
    """The module of the file, compiled when a shape is first met."""

    def __init__(self, data: bytes, outputs: list[str], device: Any):
        self._data = data
        self._outputs = outputs
        self._device = device
        self._executables: dict[tuple[int, ...], Any] = {}

    def __call__(self, bold: Any) -> dict[str, Any]:
        if bold.shape not in self._executables:
            # jax's documented ways to compile begin with a Python function to trace. The client, which the public
            # jax.extend.backend gives, takes MLIR bytecode: the one undocumented call, the same in jax 0.10 to 0.12.
            client = get_backend(self._device.platform)
            self._executables[bold.shape] = client.compile_and_load(refine(self._data, bold.shape), [self._device])
        return dict(zip(self._outputs, self._executables[bold.shape].execute([bold]), strict=True))


def _result_name(attributes: Any) -> str:
    """``features`` from the note that jax leaves at a result, ``result['features']``."""
    note = ir.StringAttr(attributes["jax.result_info"]).value
    found = re.fullmatch(r"result\['(\w+)'\]", note)
    if not found:
        raise ValueError(f"expected a result named by jax.result_info, found {note!r}")
    return found[1]
