"""A StableHLO module on XLA's CPU compiler: the operations of the file, compiled once a shape of its inputs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.backend import get_backend
from jax.extend.mlir import ir, refine_polymorphic_shapes
from jax.extend.mlir.dialects import stablehlo
from jax.extend.mlir.passmanager import PassManager

from swift_export.converter import mlir
from swift_export.converter.sources.source import Arrays, SizesError
from swift_export.errors import MachineError
from swift_export.formats.element_types import FLOATING, from_mlir

__all__ = ["XlaReference", "float_types", "one_line"]


class XlaReference:
    """``main`` of a module, by the names of its arguments and results.

    ``fixed`` are arguments that no caller gives.
    """

    def __init__(self, data: bytes | str, arguments: Sequence[str], results: Sequence[str], fixed: Arrays) -> None:
        self.title = f"XLA, jax {jax.__version__}"
        self.floats = float_types(mlir.read_module(data))
        self._data = data
        self._arguments = tuple(arguments)
        self._results = tuple(results)
        self._fixed = dict(fixed)

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        given = {**inputs, **self._fixed}
        arrays = [given[name] for name in self._arguments]
        client = get_backend("cpu")
        (device, *_) = client.local_devices()
        refined = self._refined(arrays)
        try:
            executable = client.compile_and_load(refined, [device])
            # Without it, jax would make float32 of float64 on the way in.
            with jax.enable_x64(True):
                results = executable.execute([jax.device_put(array, device) for array in arrays])
        except jax.errors.JaxRuntimeError as error:
            raise MachineError(f"--check: {self.title} cannot run the source: {one_line(error)}") from None
        return {name: np.asarray(result) for name, result in zip(self._results, results, strict=True)}

    def _refined(self, arrays: Sequence[np.ndarray]) -> bytes:
        """The module for the shapes of ``arrays``, as MLIR bytecode."""
        stablehlo.register_stablehlo_passes()
        module = mlir.read_module(self._data)
        parameters = mlir.main_function(module).regions[0].blocks[0].arguments
        kinds = [
            f"tensor<{''.join(f'{n}x' for n in array.shape)}{parameter.type.element_type}>"
            for array, parameter in zip(arrays, parameters, strict=True)
        ]
        bytecode = io.BytesIO()
        try:
            with module.context:
                passes = f"builtin.module(stablehlo-refine-arguments{{types={','.join(kinds)}}})"
                PassManager.parse(passes).run(module.operation)
                module.operation.write_bytecode(bytecode)
            refined: bytes = refine_polymorphic_shapes(bytecode.getvalue())
        except (ValueError, ir.MLIRError, jax.errors.JaxRuntimeError) as error:
            raise SizesError(one_line(error)) from None
        return refined


def float_types(module: Any) -> frozenset[str]:
    """All types of floating-point numbers that a module's values have, under NumPy's names."""
    blocks = [block for function in mlir.functions(module).values() for block in function.regions[0].blocks]
    parameters = [parameter for block in blocks for parameter in block.arguments]
    results = [result for op in mlir.walk(module.operation) for result in op.results]
    kinds = [value.type for value in (*parameters, *results)]
    found = {from_mlir(str(kind.element_type)) for kind in kinds if isinstance(kind, ir.RankedTensorType)}
    return frozenset(found & set(FLOATING))


def one_line(error: Exception) -> str:
    """What a library said, in one line that is not too long."""
    return " ".join(str(error).split())[:300]
