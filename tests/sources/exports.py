"""Functions exported in every form that ``convert`` reads, for the tests of this folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from swift_export.formats.stablehlo_module import read_module

__all__ = ["FIVE", "affine", "bytecode", "exported", "shape"]

#: Five ops with an unknown dimension, as a person would write them.
FIVE = """
func.func public @main(%rows: tensor<?x4xf32>, %table: tensor<4x3xf32>) -> tensor<?x3xf32> {
  %0 = stablehlo.dot_general %rows, %table, contracting_dims = [1] x [0] : (tensor<?x4xf32>, tensor<4x3xf32>) -> tensor<?x3xf32>
  %1 = stablehlo.tanh %0 : tensor<?x3xf32>
  %2 = stablehlo.add %1, %0 : tensor<?x3xf32>
  %3 = stablehlo.negate %2 : tensor<?x3xf32>
  %4 = stablehlo.exponential %3 : tensor<?x3xf32>
  return %4 : tensor<?x3xf32>
}
"""  # noqa: E501 - a line of MLIR


def shape(*sizes: Any, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def affine(params: dict[str, jax.Array], x: jax.Array, *, scale: jax.Array) -> dict[str, Any]:
    """A tree of arguments and of results."""
    y = x @ params["w"] * scale + params["b"]
    return {"y": y, "parts": (jnp.tanh(y), x.sum(0))}


def exported(function: Callable[..., Any] = affine, *arguments: Any, **options: Any) -> export.Exported:
    """Of `affine`, or of a function with its arguments; for one platform unless ``platforms`` are given."""
    if function is affine:
        (batch,) = export.symbolic_shape("batch")
        params = {"w": shape(4, 3), "b": shape(3)}
        return export.export(jax.jit(affine), **options)(params, shape(batch, 4), scale=shape())
    return export.export(jax.jit(function), **options)(*arguments)


def bytecode(module: bytes | str) -> bytes:
    """The same module in plain MLIR bytecode."""
    parsed = read_module(module)
    written = io.BytesIO()
    parsed.operation.write_bytecode(written)
    return written.getvalue()
