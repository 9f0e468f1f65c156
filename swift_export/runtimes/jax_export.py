"""``model.jax`` through ``jax.export.deserialize``, without any code of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_unflatten

from swift_export.formats.argument_names import argument_names, result_names
from swift_export.formats.stablehlo_module import essentials
from swift_export.runtimes._xla import AS_WRITTEN, XlaSession, describe, find_device, parse_portable
from swift_export.runtimes.base import Device, InputSpec, Precision

__all__ = ["load", "session_of"]


def load(path: Path, device: Device, precision: Precision = "float32") -> XlaSession:
    """Load a ``jax.export`` file; XLA compiles it once for each combination of its inputs' shapes."""
    target = find_device(device)
    return session_of(export.deserialize(bytearray(path.read_bytes())), target, path.name)


def session_of(
    exported: export.Exported,
    device: Any,
    where: str,
    *,
    arguments: Sequence[str] | None = None,
    results: Sequence[str] | None = None,
    as_written: bool = False,
) -> XlaSession:
    """A session of an exported function on a jax device.

    ``arguments`` names the arguments that the module uses, ``results`` its results; by default, all have the file's
    names. With ``as_written``, XLA does not simplify. Calls raise ValueError for shapes that the function does not
    take.
    """
    module = parse_portable(exported.mlir_module_serialized)
    avals = exported.in_avals
    if arguments is None:
        names = dict(enumerate(argument_names(essentials(module), len(avals))))
    else:
        names = dict(zip(exported.module_kept_var_idx, arguments, strict=True))
    outputs = results or result_names(_notes(exported))

    def compute(placed: Mapping[str, Any]) -> dict[str, Any]:
        # Passed for unused arguments; jax keeps all arguments with unknown dimensions.
        flat = [placed[names[i]] if i in names else np.zeros(aval.shape, aval.dtype) for i, aval in enumerate(avals)]
        positional, named = tree_unflatten(exported.in_tree, flat)
        return dict(zip(outputs, tree_leaves(exported.call(*positional, **named)), strict=True))

    jitted = jax.jit(compute, compiler_options=AS_WRITTEN if as_written else None)
    inputs = [_spec(name, avals[i]) for i, name in names.items()]
    return XlaSession(describe("jax.export", device, module), device, inputs, where, jitted)


def _spec(name: str, aval: Any) -> InputSpec:
    return InputSpec(name, str(aval.dtype), tuple(n if isinstance(n, int) else None for n in aval.shape))


def _notes(exported: export.Exported) -> list[str]:
    """The outputs' places in the tree of results, in jax's notation in modules."""
    outputs = tree_unflatten(exported.out_tree, exported.out_avals)
    return [f"result{keystr(path)}" for path, _ in tree_leaves_with_path(outputs)]
