"""``model.mlir.bc`` and ``model.b1.mlir.bc`` in IREE: a consumer of StableHLO that shares nothing with JAX and XLA.

IREE takes static shapes only. A file of one batch size is compiled as it is; of a dynamic one, a static one is made
for every shape that is met, by a process that ends before IREE begins.
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

from swift_export.runtimes._refining_apart import refined_apart
from swift_export.runtimes.base import (
    INPUT,
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

_DTYPES = {"f64": "float64", "f32": "float32", "f16": "float16"}
_BACKEND, _DRIVER = "llvm-cpu", "local-task"
#: For this very processor, as every other runtime here compiles or picks its kernels.
_TARGET = "--iree-llvmcpu-target-cpu=host"

_TENSOR = re.compile(r"!vhlo\.tensor_v1<((?:(?:\d+|\?)x)*)!vhlo\.(\w+)_v1>")
_RESULT = re.compile(r"""#vhlo\.string_v1<"jax\.result_info"> = #vhlo\.string_v1<"result\['(\w+)'\]">""")


class IreeSession:
    """A portable artifact, compiled when a shape is first met."""

    def __init__(self, path: Path):
        self._path = path
        self._bold, self._outputs = _signature(path.read_bytes())
        self.inputs = (self._bold,)
        threads = processors()
        # By itself it would take a thread a physical core; the others take one a processor.
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
        self._config = runtime.Config(_DRIVER)
        self._programs: dict[tuple[int, ...], Any] = {}
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
        bold = self._put(inputs)
        return lambda: self._run(bold)

    def _put(self, inputs: Arrays) -> Any:
        check_inputs(self.inputs, inputs, self._path.name)
        return runtime.asdevicearray(self._config.device, inputs[INPUT])

    def _run(self, bold: Any) -> tuple[Any, ...]:
        shape = tuple(bold.shape)
        if shape not in self._programs:
            self._programs[shape] = self._compile(shape)
        found = self._programs[shape].main(bold)
        return found if isinstance(found, tuple) else (found,)

    def _compile(self, shape: tuple[int, ...]) -> Any:
        static = self._path.read_bytes() if shape == self._bold.shape else refined_apart(self._path, shape)
        binary = compile_str(static, input_type="stablehlo", target_backends=[_BACKEND], extra_args=[_TARGET])
        return runtime.load_vm_module(runtime.VmModule.copy_buffer(self._config.vm_instance, binary), self._config)


def load(path: Path, device: Device, precision: Precision = "float32") -> IreeSession:
    """Load a portable StableHLO artifact; IREE compiles it once a shape of its input."""
    return IreeSession(path)


def _signature(data: bytes) -> tuple[InputSpec, tuple[str, ...]]:
    """The input and the outputs' names, as the file declares them.

    IREE parses the file; of VHLO, the dialect that it is written in, there are no Python classes but in jaxlib, so
    what the two attributes say is read from their text.
    """
    with Compiler() as compiler, Source.wrap_buffer(compiler, data) as source, compiler.invocation() as invocation:
        if not invocation.parse_source(source):
            raise ValueError("expected portable StableHLO bytecode, found something that IREE does not parse")
        attributes = [operation.attributes for operation in invocation.export_module().regions[0].blocks[0]]
        mains = [
            (str(found["function_type"]), str(found["res_attrs"]))
            for found in attributes
            if "sym_name" in found and str(found["sym_name"]) == '#vhlo.string_v1<"main">'
        ]
    if not mains:
        raise ValueError("expected portable StableHLO bytecode with a function main")
    ((kind, results),) = mains
    arguments, returned = (_TENSOR.findall(side) for side in kind.split("->"))
    names = tuple(_RESULT.findall(results))
    if len(arguments) != 1 or not names or len(names) != len(returned):
        raise ValueError(f"expected one input and results named by jax.result_info, found {kind} and {results}")
    ((dims, element),) = arguments
    shape = tuple(None if n == "?" else int(n) for n in dims.split("x")[:-1])
    return InputSpec(INPUT, _DTYPES[element], shape), names
