"""Files that ``jax.export`` wrote."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import export

from swift_export.converter import mlir
from swift_export.converter.sources.module_source import ModuleSource
from swift_export.converter.sources.source import Arrays, Lowered, Options, Reference, SizesError
from swift_export.converter.sources.xla import float_types, one_line
from swift_export.errors import MachineError

__all__ = ["ExportedSource"]


class ExportedSource:
    """What ``Exported.serialize()`` gave. Its inputs are the arguments that its module uses."""

    exact = True

    def __init__(self, data: bytes, kind: str, digest: str, options: Options) -> None:
        self._exported = export.deserialize(bytearray(data))
        serialized = self._exported.mlir_module_serialized
        self._module = ModuleSource(serialized, kind, digest, options, self._exported.platforms)
        self.kind, self.digest = kind, digest
        unused = len(self._exported.in_avals) - len(self._exported.module_kept_var_idx)
        dropped = f"{unused} of its {len(self._exported.in_avals)} arguments change nothing and are no inputs"
        self.notes = [*self._module.notes, *([dropped] if unused else [])]

    def to_onnx(self) -> Lowered:
        """Its module through this project's lowering."""
        return self._module.to_onnx()

    def reference(self) -> Reference:
        """The call that ``jax.export`` offers."""
        signature = self._module.signature
        return _Call(self._exported, [signature.arguments[i] for i in signature.inputs], signature.results)


class _Call:
    def __init__(self, exported: export.Exported, inputs: list[str], results: tuple[str, ...]) -> None:
        self.title = f"jax.export, jax {jax.__version__}"
        self.floats = float_types(mlir.read_module(exported.mlir_module_serialized))
        self._exported = exported
        self._inputs, self._results = inputs, results
        if "cpu" not in exported.platforms:
            raise MachineError(
                f"--check: the file was exported for {', '.join(exported.platforms)}, and checks run on the CPU; "
                "export it for cpu too, or convert it with --no-check"
            )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        given = dict(zip(self._exported.module_kept_var_idx, (inputs[name] for name in self._inputs), strict=True))
        flat = [given[i] if i in given else _zeros(aval) for i, aval in enumerate(self._exported.in_avals)]
        arguments, keywords = jax.tree_util.tree_unflatten(self._exported.in_tree, flat)
        # Without it, jax would make float32 of float64 on the way in.
        with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
            try:
                results = self._exported.call(*arguments, **keywords)
            except ValueError as error:
                raise SizesError(one_line(error)) from None
            except jax.errors.JaxRuntimeError as error:
                raise MachineError(f"--check: {self.title} cannot run the source: {one_line(error)}") from None
        leaves = jax.tree_util.tree_leaves(results)
        return {name: np.asarray(leaf) for name, leaf in zip(self._results, leaves, strict=True)}


def _zeros(aval: Any) -> np.ndarray:
    """What is passed for an argument that changes nothing; jax keeps all that have unknown dimensions."""
    return np.zeros(aval.shape, aval.dtype)
