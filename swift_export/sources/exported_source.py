"""Files written by ``jax.export``."""

from __future__ import annotations

from functools import partial

import jax
from jax import export

from swift_export.converter import mlir
from swift_export.errors import MachineError
from swift_export.sources.interface import Lowered, Options, Reference
from swift_export.sources.module_source import ModuleSource
from swift_export.sources.source_reference import SessionReference, float_types

__all__ = ["ExportedSource"]


class ExportedSource:
    """The bytes of ``Exported.serialize()``. Its inputs are the arguments that its module uses."""

    exact = True

    def __init__(self, data: bytes, kind: str, digest: str, options: Options) -> None:
        self._exported = export.deserialize(bytearray(data))
        serialized = self._exported.mlir_module_serialized
        self._module = ModuleSource(serialized, kind, digest, options, self._exported.platforms)
        self.kind, self.digest = kind, digest
        unused = len(self._exported.in_avals) - len(self._exported.module_kept_var_idx)
        dropped = f"{unused} of its {len(self._exported.in_avals)} arguments are unused and do not become inputs"
        self.notes = [*self._module.notes, *([dropped] if unused else [])]

    def to_onnx(self) -> Lowered:
        """The module, converted by this project's lowering."""
        return self._module.to_onnx()

    def reference(self) -> Reference:
        """The exported function, called through ``jax.export``."""
        from swift_export.runtimes import jax_export

        platforms, signature = self._exported.platforms, self._module.signature
        if "cpu" not in platforms:
            raise MachineError(
                f"--check: expected a file exported for cpu, found one for {', '.join(platforms)}; "
                "export it for cpu too, or use --no-check"
            )
        session_of = partial(
            jax_export.session_of,
            self._exported,
            jax.devices("cpu")[0],
            self.kind,
            arguments=[signature.arguments[i] for i in signature.inputs],
            results=signature.results,
        )
        return SessionReference(
            session_of(),
            f"jax.export, jax {jax.__version__}",
            float_types(mlir.read_module(self._exported.mlir_module_serialized)),
            (ValueError,),
            (jax.errors.JaxRuntimeError,),
            self._module.pairs,
            partial(session_of, as_written=True),
        )
