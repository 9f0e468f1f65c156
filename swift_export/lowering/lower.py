"""The one lowering of a model: ``forward(weights, *inputs)`` as StableHLO through ``jax.export``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from swift_export.errors import LoweringError, SwiftExportError, UsageError
from swift_export.formats.signature import TensorSpec
from swift_export.models import Model
from swift_export.models.model import Sizes
from swift_export.models.reasons import reason
from swift_export.system.arrays import dtype_of
from swift_export.system.text import shown

__all__ = ["Lowered", "keep_off_accelerators", "lower_closed", "lower_open", "named_forward", "private_locations"]


@dataclass(frozen=True)
class Lowered:
    """A lowered model.

    ``arguments`` and ``results`` are the names in the order of the module's ``main``; ``outputs`` are the names of the
    results in the model's order.
    """

    exported: export.Exported
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def module(self) -> bytes:
        """The module as MLIR bytecode."""
        return self.exported.mlir_module_serialized


def named_forward(model: Model) -> Callable[..., Any]:
    """``forward(weights, *inputs)`` with the inputs' names as parameter names, which lowered modules keep."""
    return _with_parameters(lambda weights, *inputs: model.forward(weights, *inputs), "weights", *_names(model))


def lower_open(model: Model, *, platforms: Sequence[str] = ("cpu",)) -> Lowered:
    """Lower with the weights as arguments, in the order of their names.

    Raises UsageError if JAX cannot trace the model, or if the model returns other outputs than it states.
    """
    shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in model.stored_weights.items()}
    return _lowered(model, named_forward(model), (shapes,), None, platforms)


def lower_closed(model: Model, *, platforms: Sequence[str] = ("cpu",), sizes: Sizes | None = None) -> Lowered:
    """Lower with the weights as constants; the unknown dimensions named in ``sizes`` become fixed."""
    weights = {name: jnp.asarray(array) for name, array in model.stored_weights.items()}
    function = _with_parameters(lambda *inputs: model.forward(weights, *inputs), *_names(model))
    return _lowered(model, function, (), sizes, platforms)


def keep_off_accelerators() -> None:
    """Restrict jax in this process to the CPU; for programs that only lower.

    Lowering for CUDA needs no GPU, but jax would reserve most of its memory, which the runtimes of a check need.
    """
    jax.config.update("jax_platforms", "cpu")


def _names(model: Model) -> list[str]:
    return [spec.name for spec in model.inputs]


def _with_parameters(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    # Every form has the same name and so the same scopes. jax takes the names of arguments from the signature.
    function.__name__ = function.__qualname__ = "forward"
    kind = inspect.Parameter.POSITIONAL_ONLY
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name if name.isidentifier() else f"input{i}", kind) for i, name in enumerate(names)]
    )
    return function


def _lowered(
    model: Model, function: Callable[..., Any], weights: tuple[Any, ...], sizes: Sizes | None, platforms: Sequence[str]
) -> Lowered:
    inputs = _abstract(model, sizes or {})
    # The module states the precision set here: no accelerator rounds products to TF32 by default.
    with private_locations(), jax.default_matmul_precision("highest"), _traced(model):
        exported = export.export(jax.jit(function, keep_unused=True), platforms=platforms)(*weights, *inputs)
    arguments = (*(sorted(model.weights) if weights else ()), *_names(model))
    _check_types(model, exported.in_avals[len(exported.in_avals) - len(inputs) :])
    results = _results(model, exported)
    found = dict(zip(results, exported.out_avals, strict=True))
    outputs = tuple(TensorSpec(name, str(found[name].dtype), _dims(found[name].shape)) for name in model.outputs)
    return Lowered(exported, arguments, results, outputs)


def _abstract(model: Model, sizes: Sizes) -> tuple[jax.ShapeDtypeStruct, ...]:
    scope = export.SymbolicScope()

    def struct(spec: TensorSpec) -> jax.ShapeDtypeStruct:
        dims = ", ".join(str(sizes.get(dim, dim) if isinstance(dim, str) else dim) for dim in spec.dims)
        return jax.ShapeDtypeStruct(export.symbolic_shape(dims, scope=scope), dtype_of(spec.dtype))

    return tuple(map(struct, model.inputs))


def _results(model: Model, exported: export.Exported) -> tuple[str, ...]:
    outputs = jax.tree_util.tree_unflatten(exported.out_tree, range(len(exported.out_avals)))
    if not isinstance(outputs, dict) or sorted(outputs) != sorted(model.outputs):
        found = ", ".join(map(str, outputs)) if isinstance(outputs, dict) else "no dictionary"
        raise UsageError(f"model {model.name}: expected the outputs {', '.join(model.outputs)}, found {shown(found)}")
    return tuple(sorted(outputs))  # as dictionaries flatten


def _check_types(model: Model, found: Sequence[Any]) -> None:
    for spec, aval in zip(model.inputs, found, strict=True):
        if str(aval.dtype) != spec.dtype:
            raise UsageError(
                f"input {spec.name}: expected {spec.dtype}, but JAX computes in {aval.dtype}; give {aval.dtype}, or "
                "set jax_enable_x64"
            )


def _dims(shape: Sequence[Any]) -> tuple[str | int, ...]:
    return tuple(size if isinstance(size, int) else str(size) for size in shape)


@contextmanager
def _traced(model: Model) -> Iterator[None]:
    """Report in one line why JAX cannot trace the function."""
    try:
        yield
    except (SwiftExportError, KeyboardInterrupt):
        raise
    except Exception as error:
        # jax explains at length and with links: its first sentence states the fault.
        raise LoweringError(f"model {model.name}: JAX cannot trace it: {reason(error)}") from error


@contextmanager
def private_locations() -> Iterator[None]:
    """Keep source files out of the lowered module's locations, but not the ``named_scope`` paths.

    They would reveal the exporter's folders and make files differ between machines.
    """
    option = "jax_traceback_in_locations_limit"
    before = jax.config.values[option]
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)
