"""``model.jax`` by ``jax.export.deserialize``: no code of the backbone takes part."""

from __future__ import annotations

from pathlib import Path

import jax
from jax import export

from swift_export.runtimes._xla import XlaSession, describe, find_device, parse_portable
from swift_export.runtimes.base import INPUT, Device, InputSpec, Precision

__all__ = ["load"]


def load(path: Path, device: Device, precision: Precision = "float32") -> XlaSession:
    """Load a file that ``jax.export`` serialised; XLA compiles it once a batch size."""
    target = find_device(device)
    exported = export.deserialize(bytearray(path.read_bytes()))
    (bold,) = exported.in_avals
    shape = tuple(n if isinstance(n, int) else None for n in bold.shape)
    info = describe("jax.export", target, parse_portable(exported.mlir_module_serialized))
    return XlaSession(info, target, InputSpec(INPUT, str(bold.dtype), shape), path.name, jax.jit(exported.call))
