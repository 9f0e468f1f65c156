"""``model.mlir.bc`` and ``model.b1.mlir.bc`` in IREE, a consumer of StableHLO independent of JAX and XLA.

IREE takes only static shapes. A file of static shapes is compiled directly. From a dynamic one, a separate process,
which ends before IREE starts, makes a static file for every combination of shapes that occurs.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from iree import runtime
from iree.compiler.api import Session as Compiler
from iree.compiler.api import Source
from iree.compiler.tools import compile_str

from swift_export.formats.argument_names import argument_names, result_names
from swift_export.formats.element_types import from_mlir
from swift_export.formats.metadata import METADATA_ATTRIBUTE, RESULT_NOTE, essentials_in
from swift_export.runtimes._refining_apart import refined_apart
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    InputSpec,
    Precision,
    RuntimeInfo,
    check_inputs,
)
from swift_export.system.machine import processors

__all__ = ["IreeSession", "load"]

_BACKEND, _DRIVER = "llvm-cpu", "local-task"
_FLAGS = [
    # For this processor, like every other runtime here.
    "--iree-llvmcpu-target-cpu=host",
    # By default, IREE would turn float64 into float32.
    "--iree-input-demote-f64-to-f32=false",
]

_TENSOR = re.compile(r"!vhlo\.tensor_v1<((?:(?:\d+|\?)x)*)!vhlo\.(\w+)_v1>")
_RESULT = re.compile(rf"""#vhlo\.string_v1<"{re.escape(RESULT_NOTE)}"> = #vhlo\.string_v1<"((?:[^"\\]|\\.)*)">""")


class IreeSession:
    """A portable artifact, compiled at the first use of shapes."""

    def __init__(self, path: Path):
        self._path = path
        self.inputs, self._outputs = _signature(path.read_bytes())
        threads = processors()
        # By default, IREE starts one thread per physical core; the other runtimes start one per processor.
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
        self._config = runtime.Config(_DRIVER)
        self._programs: dict[tuple[tuple[int, ...], ...], Any] = {}
        self.info = RuntimeInfo(
            name="IREE",
            version=metadata.version("iree-base-compiler"),
            device="cpu",
            arithmetic="float32",
            settings={"threads": str(threads), "compiled for": "this processor"},
            providers=(_BACKEND, str(self._config.device)),
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        found = self._run(self._put(inputs))
        return {name: array.to_host() for name, array in zip(self._outputs, found, strict=True)}

    def place(self, inputs: Arrays) -> Computation:
        """Copy the inputs to the device."""
        placed = self._put(inputs)
        return lambda: self._run(placed)

    def _put(self, inputs: Arrays) -> list[Any]:
        check_inputs(self.inputs, inputs, self._path.name)
        return [runtime.asdevicearray(self._config.device, inputs[spec.name]) for spec in self.inputs]

    def _run(self, placed: list[Any]) -> tuple[Any, ...]:
        shapes = tuple(tuple(array.shape) for array in placed)
        if shapes not in self._programs:
            self._programs[shapes] = self._compile(shapes)
        found = self._programs[shapes].main(*placed)
        return found if isinstance(found, tuple) else (found,)

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        fixed = all(shape == spec.shape for shape, spec in zip(shapes, self.inputs, strict=True))
        static = self._path.read_bytes() if fixed else refined_apart(self._path, shapes)
        binary = compile_str(static, input_type="stablehlo", target_backends=[_BACKEND], extra_args=_FLAGS)
        return runtime.load_vm_module(runtime.VmModule.copy_buffer(self._config.vm_instance, binary), self._config)


def load(path: Path, device: Device, precision: Precision = "float32") -> IreeSession:
    """Load a portable StableHLO artifact; IREE compiles it once for each combination of its inputs' shapes."""
    return IreeSession(path)


def _signature(data: bytes) -> tuple[tuple[InputSpec, ...], tuple[str, ...]]:
    """Inputs, and the outputs' names, as the file declares them.

    IREE parses the file. Only jaxlib has Python classes for its dialect, VHLO, so attributes are read from their
    text.
    """
    with Compiler() as compiler, Source.wrap_buffer(compiler, data) as source, compiler.invocation() as invocation:
        if not invocation.parse_source(source):
            raise ValueError("expected portable StableHLO bytecode, found data that IREE cannot parse")
        module = invocation.export_module()
        essentials = module.attributes[METADATA_ATTRIBUTE].value if METADATA_ATTRIBUTE in module.attributes else ""
        attributes = [operation.attributes for operation in module.regions[0].blocks[0]]
        mains = [
            (str(found["function_type"]), str(found["res_attrs"]) if "res_attrs" in found else "")
            for found in attributes
            if "sym_name" in found and str(found["sym_name"]) == '#vhlo.string_v1<"main">'
        ]
    if not mains:
        raise ValueError("expected portable StableHLO bytecode with a function main")
    ((kind, results),) = mains
    sides = kind.split("->")
    arguments, returned = (_TENSOR.findall(side) for side in sides)
    if [len(arguments), len(returned)] != [side.count("!vhlo.tensor_v1<") for side in sides]:
        raise ValueError(f"expected tensors of plain numbers, found {kind}")
    notes = [_unescaped(note) for note in _RESULT.findall(results)]
    inputs = argument_names(essentials_in(essentials), len(arguments))
    outputs = result_names(notes if len(notes) == len(returned) else [None] * len(returned))
    return tuple(map(_spec, inputs, arguments)), outputs


def _spec(name: str, found: tuple[str, str]) -> InputSpec:
    dims, element = found
    return InputSpec(name, from_mlir(element), tuple(None if n == "?" else int(n) for n in dims.split("x")[:-1]))


def _unescaped(text: str) -> str:
    """A string from MLIR's printed form, in which unprintable bytes are two hexadecimal digits."""
    plain = re.sub(rb"\\(?:([0-9A-F]{2})|(.))", lambda m: bytes.fromhex(m[1].decode()) if m[1] else m[2], text.encode())
    return plain.decode(errors="replace")
