"""The reference of every check: the Equinox model in float32, matrix products at the highest precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from swift_export.models.swift.backbone import SwiFT
from swift_export.models.swift.backbone.places import value_name
from swift_export.runtimes._xla import XlaSession, find_device
from swift_export.runtimes.base import INPUT, Device, InputSpec, Precision, RuntimeInfo
from swift_export.runtimes.reference_file import read_reference
from swift_export.system.machine import processors

__all__ = ["PRECISION", "load"]

PRECISION = "highest"


def load(path: Path, device: Device, precision: Precision = "float32") -> XlaSession:
    """Load a file of `write_reference`; XLA compiles it once a batch size and number of frames."""
    target = find_device(device)
    reference = read_reference(path)
    with jax.default_device(target):
        backbone = SwiFT(reference.config, reference.tensors)

    @eqx.filter_jit
    def forward(model: SwiFT, bold: Any) -> dict[str, Any]:
        outputs = model.named_outputs(bold, reference.outputs, reference.output_kind)
        values = model.values_at(bold, reference.places)
        return outputs | {value_name(number): values[place] for number, place in enumerate(reference.places)}

    def compute(bold: Any) -> dict[str, Any]:
        with jax.default_matmul_precision(PRECISION):
            outputs: dict[str, Any] = forward(backbone, bold)
        return outputs

    info = RuntimeInfo(
        name="Equinox",
        version=eqx.__version__,
        device=target.device_kind,
        arithmetic="float32",
        settings={
            "jax": jax.__version__,
            "jax_default_matmul_precision": PRECISION,
            "threads": str(processors()),
        },
        providers=(target.platform,),
    )
    bold = InputSpec(INPUT, "float32", (None, *reference.config.input_shape()[:4], None))
    return XlaSession(info, target, bold, path.name, compute)
