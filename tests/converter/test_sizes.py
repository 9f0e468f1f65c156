"""Sizes that are known by name: what a file takes, and what it refuses at run time as the program does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime
import pytest
from jax import export

from swift_export.converter import stablehlo_to_onnx
from swift_export.converter.dims import Dim
from swift_export.errors import LoweringError


def lowered(function: Callable[..., Any], *shapes: str, constraints: Sequence[str] = ()) -> oir.Model:
    scope = export.SymbolicScope(constraints)
    symbolic = [export.symbolic_shape(shape, scope=scope) for shape in shapes]
    structs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in symbolic]
    exported = export.export(jax.jit(function), platforms=["cpu"])(*structs)
    names = [f"x{i}" for i in range(len(shapes))]
    dims = {name: [str(d) for d in shape] for name, shape in zip(names, symbolic, strict=True)}
    model = stablehlo_to_onnx(exported.mlir_module_serialized, argument_names=names, dim_names=dims)
    onnx.checker.check_model(oir.to_proto(model), full_check=True)
    return model


def run(model: oir.Model, *shapes: tuple[int, ...]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(oir.to_proto(model).SerializeToString(), options)
    given = {f"x{i}": np.full(shape, i + 1, np.float32) for i, shape in enumerate(shapes)}
    return np.asarray(session.run(None, given)[0])


def refuses(model: oir.Model, *shapes: tuple[int, ...]) -> bool:
    try:
        run(model, *shapes)
    except Exception as error:
        # That of the guard, or of an op before it that cannot work on these sizes.
        return "out of data bounds" in str(error) or "cannot be reshaped" in str(error)
    return False


def test_sizes_of_one_name_are_held_to_be_equal() -> None:
    model = lowered(lambda x, y: x + y, "b, 4", "b, 4")
    np.testing.assert_array_equal(run(model, (3, 4), (3, 4)), np.full((3, 4), 3))
    # ONNX would broadcast the one row.
    assert refuses(model, (3, 4), (1, 4))


def test_constraints_on_sizes_hold_in_the_file() -> None:
    model = lowered(lambda x: x * 2, "b, 4", constraints=["b >= 3"])
    assert run(model, (3, 4)).shape == (3, 4)
    assert refuses(model, (2, 4))


def test_a_square_stays_a_square() -> None:
    model = lowered(lambda x: x + x.T, "n, n")
    assert run(model, (3, 3)).shape == (3, 3)
    assert refuses(model, (1, 3))


def test_that_a_size_is_at_least_one_costs_no_node() -> None:
    assert [node.op_type for node in lowered(lambda x: x * 2, "b, 4").graph] == ["Mul"]


@pytest.mark.parametrize(("size", "fits", "not_"), [("2*b", 4, 5), ("2*b + 1", 5, 4)])
def test_sizes_that_are_polynomials_of_one_name(size: str, fits: int, not_: int) -> None:
    model = lowered(lambda x, y: (x + 1, y), f"{size}, 2", "b")
    assert run(model, (fits, 2), (2,)).shape == (fits, 2)
    assert refuses(model, (not_, 2), (2,))
    assert refuses(model, (fits, 2), (3,))


def test_a_size_is_computed_from_a_polynomial() -> None:
    model = lowered(lambda x: x.reshape(-1, 4) * x.shape[0], "2*b, 2")
    np.testing.assert_array_equal(run(model, (6, 2)), np.full((3, 4), 6))
    assert refuses(model, (5, 2))


def test_sizes_of_different_names_are_never_taken_for_equal() -> None:
    exported = export.export(jax.jit(lambda x, y: x + y))(
        *[jax.ShapeDtypeStruct(export.symbolic_shape("b, 4", scope=scope), jnp.float32) for scope in (SCOPE, SCOPE)]
    )
    with pytest.raises(LoweringError, match="cannot be broadcast together"):
        stablehlo_to_onnx(
            exported.mlir_module_serialized,
            argument_names=["x", "y"],
            dim_names={"x": ["a", None], "y": ["c", None]},
        )


SCOPE = export.SymbolicScope()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("b", ((("b",), 1),)),
        ("2*b + 1", ((("b",), 2), ((), 1))),
        ("a*b^2 - a", ((("a", "b", "b"), 1), (("a",), -1))),
        ("batch-size", ((("batch-size",), 1),)),
        ("batch size", ((("batch size",), 1),)),
        ("floordiv(b, 2)", ((("floordiv(b, 2)",), 1),)),
    ],
)
def test_names_of_sizes(text: str, terms: object) -> None:
    size = Dim.parse(text)
    assert isinstance(size, Dim)
    assert size.terms == terms
