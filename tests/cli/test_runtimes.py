"""``runtimes``: what is here, told at once, and what would bring the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NAMES = [
    "jax_export",
    "portable",
    "iree",
    "tensorflow",
    "tensorflow_c",
    "tensorflow_serving",
    "onnxruntime",
    "onnxruntime_tensorrt",
    "openvino",
]
# As on a machine that has nothing but the core: the import system finds no such packages.
CORE = """
import sys
for name in ("tensorflow", "tensorflow_serving", "tf2onnx", "openvino", "iree", "iree.compiler", "iree.runtime"):
    sys.modules[name] = None
from swift_export.cli import main
sys.exit(main())
"""


@pytest.fixture
def core(tmp_path):
    """Runs the command on a machine without extras, and without any program on the PATH."""

    def core(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PATH": str(tmp_path)}
        command = [sys.executable, "-P", "-c", CORE, "runtimes", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    return core


def test_every_runtime_has_a_line_with_its_version(run) -> None:
    lines = run("runtimes").stdout.splitlines()

    assert [line.split()[0] for line in lines[1 : len(NAMES) + 1]] == NAMES
    assert f"onnxruntime           onnx        {metadata.version('onnxruntime')}" in "\n".join(lines)


def test_no_runtime_is_imported_to_say_whether_it_is_here() -> None:
    program = "import sys; from swift_export.cli import main; main(['runtimes']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)

    # The folder `iree` is a namespace of two packages, and holds no code.
    imported = set(done.stderr.split())
    assert "swift_export.runtimes.registry" in imported
    assert not {"jax", "iree.compiler", "iree.runtime", "tensorflow", "grpc", "onnxruntime", "openvino"} & imported


def test_what_is_absent_is_told_with_what_brings_it(core) -> None:
    told = core()

    for name, remedy in {
        "iree": "pip install 'swift-export[iree]'",
        "tensorflow": "pip install 'swift-export[savedmodel]'",
        "tensorflow_c": "pip install 'swift-export[savedmodel]' and install a C compiler, such as gcc",
        "tensorflow_serving": (
            "pip install 'swift-export[savedmodel]' and pip install --no-deps tensorflow-serving-api and install "
            "TensorFlow Serving's server, "
        ),
        "openvino": "pip install 'swift-export[openvino]'",
    }.items():
        lines = [line.split(maxsplit=1)[1] for line in told.splitlines() if line.startswith(f"{name} ")]
        assert any("not installed" in line for line in lines)
        assert any(line.startswith(remedy) for line in lines)


def test_extras_are_listed_with_what_they_add(core) -> None:
    told = core()

    for name in ("savedmodel", "openvino", "iree"):
        (line,) = [line for line in told.splitlines() if line.startswith(f"{name} ") and " no " in line]
        assert line.split(maxsplit=2)[2].strip()


def test_json_says_everything(run, core) -> None:
    here, bare = json.loads(run("runtimes", "--json").stdout), json.loads(core("--json"))

    assert (
        [runtime["name"] for runtime in here["runtimes"]] == [runtime["name"] for runtime in bare["runtimes"]] == NAMES
    )
    absent = {runtime["name"]: runtime["missing"] for runtime in bare["runtimes"] if not runtime["installed"]}
    assert absent["tensorflow_c"] == ["tensorflow", "cc"]
    assert absent["iree"] == ["iree.compiler", "iree.runtime"]
    onnxruntime = next(runtime for runtime in here["runtimes"] if runtime["name"] == "onnxruntime")
    assert onnxruntime == {
        "name": "onnxruntime",
        "title": "ONNX Runtime",
        "reads": ["onnx"],
        "installed": True,
        "version": metadata.version("onnxruntime"),
        "devices": ["cpu", "gpu"],
        "precisions": {"cpu": ["float32"], "gpu": ["float32", "tf32"]},
        "missing": [],
        "install": "",
    }
    extras = {"savedmodel", "fmri", "scale", "probe", "serve", "openvino", "iree", "gpu"}
    assert {extra["name"] for extra in here["extras"]} == extras


def test_a_program_on_the_path_is_found(run, tmp_path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "cc").symlink_to(shutil.which("true") or "/bin/true")

    with_cc, without = (
        next(
            runtime["missing"]
            for runtime in json.loads(run("runtimes", "--json", PATH=str(path)).stdout)["runtimes"]
            if runtime["name"] == "tensorflow_c"
        )
        for path in (programs, tmp_path)
    )

    assert "cc" not in with_cc
    assert "cc" in without
