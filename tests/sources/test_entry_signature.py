"""Names that a module carries: of arguments, results and unknown dimensions."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import export

from swift_export.converter.entry_signature import PLATFORM_INDEX, read_entry_signature, unique
from swift_export.formats.argument_names import plain_path
from swift_export.formats.stablehlo_module import read_module

sys.path.insert(0, str(Path(__file__).parent))
from exports import FIVE, bytecode, exported, shape


def dims(signature) -> list[list]:
    return [
        [size if size is None or isinstance(size, int) else str(size) for size in sizes] for sizes in signature.dims
    ]


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda", "cpu")])
@pytest.mark.parametrize("form", [lambda data: data, bytecode])
def test_a_tree_of_arguments_and_results_keeps_its_names(form, platforms) -> None:
    module = read_module(form(exported(platforms=platforms).mlir_module_serialized))
    signature = read_entry_signature(module)
    own = ("params.b", "params.w", "x", "scale")
    index = () if len(platforms) == 1 else (PLATFORM_INDEX,)
    assert signature.arguments == (*index, *own)
    assert signature.platform_index == (0 if index else None)
    assert [signature.arguments[i] for i in signature.inputs] == list(own)
    assert signature.results == ("parts.0", "parts.1", "y")
    assert dims(signature)[len(index) :] == [[None], [None, None], ["batch", None], []]


def test_sizes_that_the_module_asserts_to_be_equal_are_one() -> None:
    a, b = export.symbolic_shape("a, b", constraints=("b >= 2",))

    def function(x, y, z, w):
        return jnp.concatenate([x, x]) + y, z.sum(1) * w

    arguments = shape(a), shape(2 * a), shape(b, a * b + 1), shape(b)
    signature = read_entry_signature(read_module(exported(function, *arguments).mlir_module_serialized))
    assert signature.arguments == ("x", "y", "z", "w")
    assert dims(signature) == [["a"], ["2*a"], ["b", "a*b+1"], ["b"]]
    assert signature.results == ("output_0", "output_1")


def test_a_static_function_has_the_names_of_its_arguments() -> None:
    signature = read_entry_signature(
        read_module(exported(lambda left, right: left - right, shape(3), shape(3)).mlir_module_serialized)
    )
    assert (signature.arguments, signature.results) == (("left", "right"), ("output",))


def test_text_names_its_arguments_itself() -> None:
    signature = read_entry_signature(read_module(FIVE), FIVE)
    assert signature.arguments == ("rows", "table")
    assert dims(signature) == [["rows_dim0", None], [None, None]]
    assert read_entry_signature(read_module(FIVE)).arguments == ("arg0", "arg1")
    printed = str(read_module(FIVE))
    assert read_entry_signature(read_module(printed), printed).arguments == ("arg0", "arg1")


def test_a_location_that_all_arguments_share_is_no_name() -> None:
    text = """
func.func @main(%arg0: tensor<f32> loc("XLA_Args"), %arg1: tensor<f32> loc("XLA_Args")) -> tensor<f32> {
  return %arg0 : tensor<f32>
}"""
    assert read_entry_signature(read_module(text), text).arguments == ("arg0", "arg1")
    assert read_entry_signature(read_module(text.replace('"XLA_Args")) ', '"bias")) ')), text).arguments == (
        "arg0",
        "bias",
    )


def test_results_that_are_called_as_an_argument() -> None:
    module = exported(lambda x, y: {"x": x + y, "y": x - y}, shape(3), shape(3)).mlir_module_serialized
    assert read_entry_signature(read_module(module)).results == ("x_1", "y_1")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("params['w'][0]", "params.w.0"),
        ("result['a']['b-c']", "result.a.b-c"),
        ('x["quoted"]', "x.quoted"),
        ("[0]", ".0"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_places_in_a_tree_have_plain_names(path: str, name: str) -> None:
    assert plain_path(path) == name


def test_names_become_different() -> None:
    assert unique(["a", "a", "b", "a_1", "a"]) == ["a", "a_1", "b", "a_1_1", "a_2"]
    assert unique(["a", "b"], taken=["b"]) == ["a", "b_1"]


def test_jax_itself_calls_them_so() -> None:
    """What the reader relies on: where jax leaves names."""
    text = exported().mlir_module()
    assert 'jax.global_constant = "batch"' in text
    assert "jax.result_info = \"result['y']\"" in text
    assert "@shape_assertion" in text
    assert jax.__version_info__ >= (0, 10)
