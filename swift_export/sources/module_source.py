"""StableHLO modules as files: MLIR text, MLIR bytecode, portable artifacts."""

from __future__ import annotations

from functools import partial

import numpy as np

from swift_export.converter import mlir, stablehlo_to_onnx
from swift_export.converter.complex_pairs import is_complex
from swift_export.converter.dims import Dim, Size
from swift_export.converter.entry_signature import PLATFORM_INDEX, EntrySignature, read_entry_signature
from swift_export.errors import UsageError
from swift_export.formats.element_types import from_mlir
from swift_export.sources.interface import DimNames, Lowered, Options, Reference, SourceError

__all__ = ["ModuleSource", "chosen_dims"]


class ModuleSource:
    """A module with a function ``@main``. For several platforms, the requested one or the first is converted."""

    exact = True

    def __init__(self, data: bytes | str, kind: str, digest: str, options: Options, platforms: tuple[str, ...] = ()):
        self.kind, self.digest = kind, digest
        self.notes: list[str] = []
        self._data, self._options = data, options
        # The module is kept: its ops live as long as it does. The conversion uses it up.
        self._module = mlir.read_module(data)
        functions = mlir.functions(self._module)
        if "main" not in functions:
            found = ", ".join(f"@{name}" for name in functions) or "no function at all"
            raise SourceError(f"expected a function @main, the module's entry, found {found}; rename the entry")
        self.signature = read_entry_signature(self._module, data if isinstance(data, str) else None)
        self.pairs, pairs_of_results = self._complex()
        for name, kind in (self.pairs | pairs_of_results).items():
            self.notes.append(f"{name} is {kind}: a last axis of size 2 holds real and imaginary parts")
        self._fixed = {}
        if self.signature.platform_index is not None:
            self._fixed[PLATFORM_INDEX] = np.asarray(self._platform(platforms), np.int32)
        elif options.platform is not None and options.platform not in platforms:
            lowered_for = f"only for {platforms[0]}" if platforms else "for one platform, which it does not name"
            raise UsageError(f"--platform {options.platform}: the module was lowered {lowered_for}")

    def to_onnx(self) -> Lowered:
        """The module, converted by this project's lowering."""
        signature = self.signature
        dims = chosen_dims(signature, self._options.dim_names or {})
        module = self._module or mlir.read_module(self._data)
        parameters = mlir.main_function(module).regions[0].blocks[0].arguments
        shapes = {signature.arguments[i]: mlir.static_shape(parameters[i]) for i in signature.inputs}
        self._module = None
        model = stablehlo_to_onnx(
            module,
            constants=self._fixed,
            argument_names=signature.arguments,
            result_names=signature.results,
            dim_names=dims,
            opset=self._options.opset,
            target=self._options.target,
        )
        known = {name: tuple(map(_either, shape, dims[name])) for name, shape in shapes.items()}
        return Lowered(model, {name: (*shape, 2) if name in self.pairs else shape for name, shape in known.items()})

    def reference(self) -> Reference:
        """The module, run by XLA."""
        import jax

        from swift_export.runtimes import portable
        from swift_export.sources.source_reference import SessionReference, float_types

        session_of = partial(
            portable.session_of,
            lambda: mlir.read_module(self._data),
            jax.devices("cpu")[0],
            self.kind,
            arguments=self.signature.arguments,
            results=self.signature.results,
            fixed=self._fixed,
        )
        return SessionReference(
            session_of(),
            f"XLA, jax {jax.__version__}",
            float_types(mlir.read_module(self._data)),
            (ValueError,),
            (jax.errors.JaxRuntimeError,),
            self.pairs,
            partial(session_of, as_written=True),
        )

    def _complex(self) -> tuple[dict[str, str], dict[str, str]]:
        """The types of complex inputs and results by name."""
        kind = mlir.main_function(self._module).attributes["function_type"].value
        names = (self.signature.arguments, kind.inputs), (self.signature.results, kind.results)
        found = [
            {name: from_mlir(str(of.element_type)) for name, of in zip(given, kinds, strict=True) if is_complex(of)}
            for given, kinds in names
        ]
        return found[0], found[1]

    def _platform(self, names: tuple[str, ...]) -> int:
        """The index of the platform to translate for; a bare module has only numbers for its platforms."""
        chosen = self._options.platform
        if chosen in names:
            return names.index(chosen)
        if chosen is not None and (names or not chosen.isdigit()):
            known = ", ".join(names) or "a number: the module does not name its platforms"
            raise UsageError(f"--platform {chosen}: expected {known}")
        index = int(chosen) if chosen is not None else names.index("cpu") if "cpu" in names else 0
        self.notes.append(f"converted for {names[index] if names else f'number {index}'}, one of its platforms")
        return index


def chosen_dims(signature: EntrySignature, given: DimNames) -> dict[str, list[Size | None]]:
    """Unknown dimensions by argument: the module's own, except those that ``given`` names.

    Raises UsageError if ``given`` names an unknown input or another number of axes.
    """
    dims = {signature.arguments[i]: list(signature.dims[i]) for i in signature.inputs}
    for name, labels in given.items():
        if name not in dims:
            raise UsageError(f"dimension names: no input {name}; found {', '.join(dims)}")
        if len(labels) != len(dims[name]):
            raise UsageError(f"dimension names: {name} has {len(dims[name])} axes, found names for {len(labels)}")
        for axis, label in enumerate(labels):
            if label is not None and dims[name][axis] is not None:
                dims[name][axis] = Dim.parse(label)
    return dims


def _either(known: int | None, dim: Size | None) -> Size:
    size = dim if known is None else known
    assert size is not None, "an unknown size has a name"
    return size
