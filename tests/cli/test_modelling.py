"""``model``: any JAX model of a Python file, and what the other commands make of its artifact."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import forkserver
import onnx
import pytest

NET = """
import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = {
    "embedding": np.linspace(-1, 1, 40, dtype=np.float32).reshape(8, 5),
    "mix": np.linspace(1, 2, 15, dtype=np.float32).reshape(5, 3),
}

def score(weights, tokens, x):
    with jax.named_scope("mixing"):
        y = jnp.tanh(weights["embedding"][tokens].mean(1) @ weights["mix"])
    return y * x, y.argmax(1)

def other(weights, tokens, x):
    return jnp.cos(weights["embedding"][tokens].mean(1) @ weights["mix"]) - x, tokens.max(1)

def make():
    return score, WEIGHTS

def make_other():
    return other, WEIGHTS
"""
INPUTS = ("--input", "tokens=int32[batch,length]", "--input", "x=float32[batch,3]")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The file, and the artifact of its model; tests copy what they change."""
    folder = tmp_path_factory.mktemp("made")
    folder.joinpath("net.py").write_text(NET)
    arguments = ("model", "net.py:make", *INPUTS, "-o", "out", "--formats", "onnx,stablehlo", "--outputs", "score,best")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = forkserver.python("swift_export", arguments, environment)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_artifact_is_that_of_the_model(made) -> None:
    graph = onnx.load(made / "out/onnx/model.onnx").graph
    assert [value.name for value in graph.input] == ["tokens", "x"]
    assert [value.name for value in graph.output] == ["score", "best"]
    assert graph.name == "make"
    assert {"parity.html", "manifest.json"} <= {path.name for path in made.joinpath("out").iterdir()}


def test_it_is_inspected_and_checked_without_its_file(copy, run) -> None:
    assert "int32" in run("inspect", "out").stdout
    for how in ((), ("--quick",)):
        result = run("check", "out", "--runtime", "onnxruntime", *how)
        assert result.returncode == 0, result.stderr
    result = run("diff", "out/onnx/model.onnx", "out/stablehlo/model.jax")
    assert (result.returncode, "the same weights" in result.stdout) == (0, True), result.stderr


def test_a_file_that_changed_since_the_export_is_seen(copy, run, refused) -> None:
    check = ("check", "out", "--runtime", "onnxruntime", "--model", "net.py:make")
    result = run(*check)
    assert result.returncode == 0, result.stderr
    file = copy / "net.py"
    file.write_text(NET.replace("linspace(1, 2,", "linspace(1, 3,"))
    assert "digest" in refused(*check)
    file.write_text(NET.replace("jnp.tanh(", "jnp.sinh("))
    line = refused(*check, status=1)
    assert "first differs at mixing" in line
    # What surrounds no named scope is not located, and nothing is said of it.
    file.write_text(
        NET.replace('jax.named_scope("mixing")', "jax.disable_jit(False)").replace("jnp.tanh(", "jnp.sinh(")
    )
    result = run(*check)
    assert (result.returncode, "first differs" in result.stderr, "note:" in result.stdout) == (1, False, False)


def test_another_function_of_the_same_weights_needs_force(copy, run, refused) -> None:
    before = copy.joinpath("out/onnx/model.onnx").read_bytes()
    export = ("model", "net.py:make_other", *INPUTS, "-o", "out", "--formats", "onnx", "--no-check")
    assert "--force" in refused(*export)
    assert copy.joinpath("out/onnx/model.onnx").read_bytes() == before
    assert run(*export, "--force").returncode == 0
    assert copy.joinpath("out/onnx/model.onnx").read_bytes() != before


REFUSED = {
    "a file that does not import": (
        "import no_such_module",
        "x",
        "x=float32[3]",
        ("cannot be imported", "no_such_module"),
    ),
    "a file with a fault of syntax": ("def f(:", "x", "x=float32[3]", ("cannot be imported", "line 1")),
    "no such name": ("def f(x): return x", "g", "x=float32[3]", ("expected a model g", "found f")),
    "a name that is no model": ("f = 3", "f", "x=float32[3]", ("found int",)),
    "a maker that raises": ("def f(): raise ValueError('no luck')", "f", "x=float32[3]", ("f() raised", "no luck")),
    "not traceable": (
        "def f(x): return x if x.sum() > 0 else -x",
        "f",
        "x=float32[3]",
        ("TracerBool", "net.py, line 1"),
    ),
    "shapes that do not fit": ("def f(x): return x @ x", "f", "x=float32[3,4]", ("net.py, line 1",)),
    "outputs that are no arrays": ("def f(x): return x, 'text'", "f", "x=float32[3]", ("str",)),
    "an input without dimensions": ("def f(x): return x", "f", "x=float32", ("DTYPE[DIM,...]", "'float32'")),
    "duplicate names": ("def f(x): return {'a': {'b': x}, 'a.b': x}", "f", "x=float32[3]", ("a.b",)),
    "weights that are none": (
        "w = {'a': 'text'}\ndef g(w, x): return x\nf = (g, w)",
        "f",
        "x=float32[3]",
        ("a", "str"),
    ),
    "weights missing": ("def g(w, x): return x @ w['b']\nf = (g, {'a': 1.0})", "f", "x=float32[3]", ("'b'",)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_input_is_refused_in_one_line(kind, tmp_path, refused) -> None:
    source, name, spec, told = REFUSED[kind]
    tmp_path.joinpath("net.py").write_text(source)
    line = refused("model", f"net.py:{name}", "--input", spec, "-o", "out", "--formats", "onnx")
    assert [part for part in told if part not in line] == [], line
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("__pycache__", "cache")] == ["net.py"]


@pytest.mark.parametrize("given", ["train", "train=", "train=False", "=1", "a b=1"])
def test_a_keyword_argument_of_another_form_is_refused(given, tmp_path, refused) -> None:
    tmp_path.joinpath("net.py").write_text("def f(x, train): return x")
    told = refused("model", "net.py:f", "--input", "x=float32[3]", "--call", given, "-o", "out", "--formats", "onnx")
    assert f"--call {given}: expected NAME=VALUE with a JSON value, such as train=false" in told


def test_an_input_given_twice_is_refused(tmp_path, refused) -> None:
    tmp_path.joinpath("net.py").write_text("def f(x): return x")
    assert "twice" in refused("model", "net.py:f", *(2 * ("--input", "x=float32[3]")), "-o", "out", "--formats", "onnx")


def test_ctrl_c_leaves_no_file(tmp_path, start) -> None:
    slow = "import jax, time, pathlib\ndef f(x):\n    pathlib.Path('begun').touch()\n    time.sleep(60)\n    return x\n"
    tmp_path.joinpath("net.py").write_text(slow)
    process = start("model", "net.py:f", "--input", "x=float32[3]", "-o", "out", "--formats", "onnx")
    deadline = time.monotonic() + 120
    while not tmp_path.joinpath("begun").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_a_file_that_turns_64_bits_on_is_exported_in_them(tmp_path, run, refused) -> None:
    wide = 'import jax\njax.config.update("jax_enable_x64", True)\ndef f(x): return x / 3\n'
    tmp_path.joinpath("net.py").write_text(wide)
    export = ("model", "net.py:f", "--input", "x=float64[n]", "-o", "out", "--formats", "onnx")
    result = run(*export)
    assert result.returncode == 0, result.stderr
    assert (
        onnx.load(tmp_path / "out/onnx/model.onnx").graph.output[0].type.tensor_type.elem_type
        == onnx.TensorProto.DOUBLE
    )
    tmp_path.joinpath("net.py").write_text("def f(x): return x / 3\n")
    assert "jax_enable_x64" in refused(*export)
