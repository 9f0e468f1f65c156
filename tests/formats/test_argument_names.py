"""Names of inputs and outputs where a file's function has positions only."""

from __future__ import annotations

import json

import pytest

from swift_export.formats.argument_names import argument_names, result_names, stated_signature
from swift_export.formats.metadata import SIGNATURE_KEY
from swift_export.formats.signature import Signature, TensorSpec


def stated(*names: str) -> dict[str, str]:
    specs = [{"name": name, "dtype": "float32", "dims": ["batch", 3]} for name in names]
    return {SIGNATURE_KEY: json.dumps({"inputs": specs, "outputs": []})}


def test_names_are_those_that_the_file_states() -> None:
    assert argument_names(stated("tokens", "mask"), 2) == ("tokens", "mask")
    assert stated_signature(stated("x")) == Signature((TensorSpec("x", "float32", ("batch", 3)),), ())


@pytest.mark.parametrize(
    "essentials",
    [
        {},
        stated("x", "y", "z"),
        stated("x", "x"),
        {SIGNATURE_KEY: "no JSON"},
        {SIGNATURE_KEY: "[" * 10**5},
        {SIGNATURE_KEY: "{}"},
        {SIGNATURE_KEY: '{"inputs": [1, 2], "outputs": []}'},
        {SIGNATURE_KEY: '{"inputs": [{"name": 1, "dtype": "float32", "dims": []}], "outputs": []}'},
        {SIGNATURE_KEY: '{"inputs": [{"name": "x", "dtype": "float32", "dims": [1.5]}], "outputs": []}'},
    ],
)
def test_a_file_that_states_none_has_positions(essentials: dict[str, str]) -> None:
    assert argument_names(essentials, 1) == ("bold",)
    assert argument_names(essentials, 2) == ("input0", "input1")


@pytest.mark.parametrize(
    ("notes", "names"),
    [
        (["result['features']"], ["features"]),
        (["result['a.b']", "result['a']['b']", 'result["it\'s"]'], ["a.b", "a.b_1", "it's"]),
        (["result['a'][0]", "result['a'][1]"], ["a.0", "a.1"]),
        (["result['stage0/block1-x.y z']", "result['a\\\\b']"], ["stage0/block1-x.y z", "a\\b"]),
        ([r"result['\x']"], [r"\x"]),
        (["result"], ["output"]),
        (["result[0]", "result[1]"], ["output_0", "output_1"]),
        (["result[0]"], ["output_0"]),
        (["result.loss", "result.logits"], ["loss", "logits"]),
        ([None], ["output"]),
        ([None, ""], ["output_0", "output_1"]),
    ],
)
def test_results_have_the_names_that_jax_noted(notes: list[str | None], names: list[str]) -> None:
    assert result_names(notes) == tuple(names)


def test_jax_itself_spells_them_so() -> None:
    import jax

    tree = {"a": (1, 2), "it's": 3, "path\\to": 4}
    notes = [f"result{jax.tree_util.keystr(path)}" for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    assert result_names(notes) == ("a.0", "a.1", "it's", "path\\to")
