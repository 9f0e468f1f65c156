"""Models in files of Python code."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import UsageError, WeightsError
from swift_export.formats.signature import Signature, TensorSpec
from swift_export.models.input_specs import parse_input
from swift_export.models.python_files import load_again, load_model, load_object, rebuild, split_target

NET = """
import numpy as np
from beside import SCALE
from swift_export.models.from_python import as_model

NUMBER = 3
WEIGHTS = {"w": np.full((3, 2), SCALE, np.float32)}

def net(weights, x):
    return x @ weights["w"]

def plain(x):
    return SCALE * x

def make():
    from beside import SCALE
    return net, WEIGHTS

def finished():
    return as_model(plain, {"x": ("batch", 3)}, name="finished")

def number():
    return 3

def broken():
    raise RuntimeError("no luck")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("SCALE = 2.0\n")
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


@pytest.fixture(autouse=True)
def _no_neighbours_stay():
    path = list(sys.path)
    yield
    assert sys.path == path
    sys.modules.pop("beside", None)


def test_a_function_and_a_maker_and_a_model(file) -> None:
    inputs = dict([parse_input("x=float32[batch,3]")])
    x = np.ones((2, 3), np.float32)
    plain = load_model(file, "plain", inputs)
    assert (plain.name, plain.inputs[0].dims) == ("plain", ("batch", 3))
    np.testing.assert_array_equal(plain.forward({}, x)["output"], 2 * x)
    made = load_model(file, "make", inputs, outputs={"output": "y"}, licence="MIT")
    assert (made.name, made.outputs, made.card.licence) == ("make", ("y",), "MIT")
    np.testing.assert_array_equal(made.forward(made.weights, x)["y"], np.full((2, 2), 6))
    assert load_model(file, "finished", {}).name == "finished"


def test_another_process_makes_the_function_again(file) -> None:
    model = load_model(file, "make", {"x": "float32[batch,3]"})
    assert model.rebuild is not None
    assert model.rebuild.module == "swift_export.models.python_files"
    arguments = json.loads(json.dumps(model.rebuild.arguments))
    again = rebuild(arguments, {"w": np.ones((3, 2), np.float32)})
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(again.forward(again.weights, x)["output"], np.full((2, 2), 3))
    assert (again.name, again.inputs, again.outputs) == (model.name, model.inputs, model.outputs)


def test_a_file_that_changed_since_is_refused(file, refused) -> None:
    model = load_model(file, "make", {"x": "float32[batch,3]"})
    assert model.rebuild is not None
    file.write_text(NET + "\n")
    with refused("net.py", "changed", error=UsageError):
        rebuild(model.rebuild.arguments, model.weights)


def test_a_file_that_changed_within_a_second_is_read_again(tmp_path, monkeypatch) -> None:
    """Python's cache of compiled files would not see it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "quick.py"
    for factor in (2, 3):
        path.write_text(f"def scaled(x):\n    return {factor} * x\n")
        os.utime(path, (10**9, 10**9))
        assert load_object(path, "scaled")(1) == factor


def test_a_file_that_makes_other_weights_each_time_is_refused(file, refused) -> None:
    model = load_model(file, "make", {"x": "float32[batch,3]"})
    assert model.rebuild is not None
    with refused("net.py", "same weights each time", error=UsageError):
        rebuild(model.rebuild.arguments, {"v": np.ones((3, 2), np.float32)})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", ("expected a model absent", "net", "plain")),
        ("NUMBER", ("NUMBER", "found int")),
        ("number", ("number", "found int")),
        ("broken", ("broken() raised RuntimeError: no luck (net.py, line 26)",)),
    ],
)
def test_names_that_are_no_model(file, name, told, refused) -> None:
    with refused("net.py", *told, error=UsageError):
        load_object(file, name)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nowhere\n", ("ModuleNotFoundError", "nowhere", "net.py, line 1")),
        ("x = 1\nx +\n", ("SyntaxError", "net.py, line 2")),
        ("\nraise SystemExit(3)\n", ("SystemExit", "net.py, line 2")),
        ("\0", ("cannot be imported",)),
    ],
)
def test_files_that_do_not_import(tmp_path, text, told, refused) -> None:
    path = tmp_path / "net.py"
    path.write_text(text)
    with refused("net.py", "cannot be imported", *told, error=UsageError):
        load_object(path, "net")


def test_a_file_that_is_absent_or_no_python(tmp_path, refused) -> None:
    with refused("net.py", "no such file", error=UsageError):
        load_object(tmp_path / "net.py", "net")
    (tmp_path / "net.txt").write_text(NET)
    with refused("net.txt", "FILE.py", error=UsageError):
        load_object(tmp_path / "net.txt", "net")


def test_what_the_model_itself_is_refused_for(file, refused) -> None:
    with refused("inputs", error=UsageError):
        load_model(file, "plain", {})
    with refused("finished", "--input", error=UsageError):
        load_model(file, "finished", {"x": "float32[3]"})
    with refused("TypeError", "net.py, line 10", error=UsageError):
        load_model(file, "make", {"x": "float32[batch,4]"})
    file.write_text("def make():\n    return (lambda w, x: x), {'w': 'text'}\n")
    with refused("weights", "w", "str", error=WeightsError):
        load_model(file, "make", {"x": "float32[3]"})


@pytest.mark.parametrize("target", ["net.py", "net.py:", ":net", "net.py:a-b", ""])
def test_a_target_of_another_form(target, refused) -> None:
    with refused("FILE.py:NAME", error=UsageError):
        split_target(target)


def test_keyword_arguments_and_names_are_those_of_the_artifact_when_a_model_is_made_again(tmp_path) -> None:
    file = tmp_path / "net.py"
    file.write_text("def scaled(x, by): return x * by\n\ndef make(): return scaled\n")
    model = load_model(file, "make", {"x": "float32[batch,3]"}, call={"by": 3}, outputs=("y",))
    assert (model.name, model.outputs, dict(model.settings)) == ("scaled", ("y",), {"call": {"by": 3}})
    signature = Signature(model.inputs, (TensorSpec("y", "float32", ("batch", 3)),))
    again = load_again(file, "make", signature, {**model.settings, "opset": 20})
    np.testing.assert_array_equal(again.forward({}, np.ones((2, 3), np.float32))["y"], np.full((2, 3), 3.0))


def test_a_target() -> None:
    assert split_target("a:b/net.py:make") == (Path("a:b/net.py"), "make")


@pytest.mark.parametrize(
    "text", ["x", "=float32[3]", "x=float32", "x=[3]", "x=float32[3", "x=float32[3][4]", "x=int[a b]"]
)
def test_an_input_of_another_form(text, refused) -> None:
    with refused(error=UsageError):
        parse_input(text)


def test_an_input() -> None:
    assert parse_input(" x = float32[batch, 3]") == ("x", "float32[batch, 3]")
