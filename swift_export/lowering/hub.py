"""The one lowering of the forward pass: ``forward(weights, bold)`` as StableHLO through ``jax.export``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float

from swift_export.lowering.settings import ExportSettings
from swift_export.models.swift.backbone.swift import SwiFT
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.forms import Forms

__all__ = ["argument_names", "forward", "keep_off_accelerators", "lower_closed", "lower_open", "private_locations"]

Forward = Callable[[Mapping[str, Array], Float[Array, "batch in H W D T"]], dict[str, Array]]


def forward(config: SwiFTConfig, settings: ExportSettings, forms: Forms) -> Forward:
    """``forward(weights, bold)``, giving the chosen outputs by name; ``forms`` are `choose_forms`' of the weights."""
    chosen = {place: block.form for place, block in forms.items()}

    def forward(weights: Mapping[str, Array], bold: Float[Array, "batch in H W D T"]) -> dict[str, Array]:
        return SwiFT(config, weights).named_outputs(bold, settings.outputs, settings.output_kind, chosen)

    return forward


def argument_names(config: SwiFTConfig) -> list[str]:
    """Names of the arguments of the lowered ``main``, in their order: the weights, then the clip."""
    return [*sorted(parameter_shapes(config)), "bold"]


def result_names(settings: ExportSettings) -> list[str]:
    """Names of the results of the lowered ``main``, in their order: dictionaries flatten by key."""
    return sorted(settings.outputs)


def lower_open(
    config: SwiFTConfig, settings: ExportSettings, forms: Forms, *, platforms: Sequence[str] = ("cpu",)
) -> export.Exported:
    """Lower with the weights as arguments. Only the ``forms`` of shifted blocks depend on their values."""
    shapes = {k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in parameter_shapes(config).items()}
    return _export(forward(config, settings, forms), (shapes, _clip(config, settings)), platforms)


def lower_closed(
    config: SwiFTConfig,
    tensors: Mapping[str, np.ndarray],
    settings: ExportSettings,
    forms: Forms,
    *,
    platforms: Sequence[str] = ("cpu",),
) -> export.Exported:
    """Lower with the weights as constants."""
    function = forward(config, settings, forms)
    weights = {k: jnp.asarray(tensors[k]) for k in parameter_shapes(config)}

    # Named like the open form, so that both modules carry the same scopes.
    def main(bold: Float[Array, "batch in H W D T"]) -> dict[str, Array]:
        return function(weights, bold)

    main.__name__ = function.__name__
    return _export(main, (_clip(config, settings),), platforms)


def keep_off_accelerators() -> None:
    """Let this process's jax compute on the CPU alone; for programs that only lower.

    Lowering for CUDA needs no GPU, but jax would take most of its memory, which the runtimes of a check need.
    """
    jax.config.update("jax_platforms", "cpu")


def _clip(config: SwiFTConfig, settings: ExportSettings) -> jax.ShapeDtypeStruct:
    batch: Any = settings.batch
    if batch is None:
        (batch,) = export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((batch, *settings.input_shape(config)), jnp.float32)


def _export(function: Callable[..., Any], arguments: tuple[Any, ...], platforms: Sequence[str]) -> export.Exported:
    # Precision is decided here and travels in the module: no accelerator rounds products to TF32 unasked.
    with private_locations(), jax.default_matmul_precision("highest"):
        return export.export(jax.jit(function), platforms=platforms)(*arguments)


@contextmanager
def private_locations() -> Iterator[None]:
    """Keep source files out of the lowered module's locations; the ``named_scope`` paths stay.

    They would tell the exporter's folders and make every machine's file another one.
    """
    option = "jax_traceback_in_locations_limit"
    before = jax.config.values[option]
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, before)
