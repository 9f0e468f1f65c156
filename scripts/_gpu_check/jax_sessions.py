"""SwiFT under ``jax.jit`` in a chosen precision: as defined, and as sets of tokens for attention kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from _gpu_check.sets_swift import SetsSwiFT
from _gpu_check.wide_heads import widened
from swift_export.models.swift.backbone.swift import SwiFT
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.forms import choose_forms
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.runtimes._xla import XlaSession, find_device
from swift_export.runtimes.base import InputSpec, RuntimeInfo, check_device

__all__ = ["plain_session", "sets_session"]

#: Element types of the weights. The TF32 of a GPU is float32 with products at the default precision.
_TYPES = {"float32": jnp.float32, "tf32": jnp.float32, "float16": jnp.float16, "bfloat16": jnp.bfloat16}


def plain_session(config: SwiFTConfig, tensors: Mapping[str, Any], precision: str, device: str) -> XlaSession:
    """The backbone by its definition, with every mask, on weights of the precision."""
    target = find_device(check_device(device))
    model = SwiFT(config, tensors, "float32" if precision == "tf32" else precision)
    model = jax.tree.map(lambda array: jax.device_put(array, target), model)
    return _session("jax.jit", config, precision, target, lambda model, bold: model(bold), model)


def sets_session(
    config: SwiFTConfig, tensors: Mapping[str, Any], precision: str, device: str, kernel: str
) -> XlaSession:
    """The exported form, attention by ``jax.nn.dot_product_attention`` with the implementation ``kernel``."""
    target = find_device(check_device(device))
    chosen = choose_forms(config, tensors, SwiFTSettings(precision="float32" if precision == "tf32" else precision))
    model = SetsSwiFT(config, {place: block.form for place, block in chosen.items()}, kernel)
    weights = {
        name: jax.device_put(array.astype(_TYPES[precision]), target)
        for name, array in widened(config, tensors).items()
    }
    return _session(f"jax.jit, attention {kernel}", config, precision, target, model, weights)


def _session(
    name: str, config: SwiFTConfig, precision: str, target: Any, forward: Callable[[Any, Any], Any], weights: Any
) -> XlaSession:
    wanted = "highest" if precision == "float32" else "default"

    @jax.jit
    def run(weights: Any, bold: Any) -> dict[str, Any]:
        return {"features": forward(weights, bold.astype(_TYPES[precision])).astype(jnp.float32)}

    def compute(placed: Mapping[str, Any]) -> Mapping[str, Any]:
        with jax.default_matmul_precision(wanted):
            found: Mapping[str, Any] = run(weights, placed["bold"])
        return found

    info = RuntimeInfo(
        name=name,
        version=jax.__version__,
        device=target.device_kind,
        arithmetic=precision,
        settings={"jax_default_matmul_precision": wanted},
        providers=(target.platform,),
    )
    spec = InputSpec("bold", "float32", (None, *config.input_shape()))
    return XlaSession(info, target, [spec], name, compute, wide=False)
