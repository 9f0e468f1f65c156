"""``swift-export convert``: what it prints, how fast it is, and one line for whatever it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

REPOSITORY = Path(__file__).parents[2]
FIVE = """
func.func @main(%x: tensor<?x4xf32>, %w: tensor<4x3xf32>) -> (tensor<?x3xf32> {jax.result_info = "result['y']"}) {
  %0 = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0] : (tensor<?x4xf32>, tensor<4x3xf32>) -> tensor<?x3xf32>
  %1 = stablehlo.tanh %0 : tensor<?x3xf32>
  %2 = stablehlo.add %1, %0 : tensor<?x3xf32>
  %3 = stablehlo.negate %2 : tensor<?x3xf32>
  %4 = stablehlo.exponential %3 : tensor<?x3xf32>
  return %4 : tensor<?x3xf32>
}
"""  # noqa: E501 - a line of MLIR
#: Runs many commands in one process, and tells what each wrote to its two streams, C++ libraries included.
MANY = """
import json, os, sys, tempfile
from swift_export.cli import main

results = {}
for name, arguments in json.load(sys.stdin).items():
    streams = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
    kept = [os.dup(1), os.dup(2)]
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
    status = main(["convert", *arguments])
    sys.stdout.flush()
    sys.stderr.flush()
    for number, descriptor in enumerate(kept, start=1):
        os.dup2(descriptor, number)
    said = []
    for stream in streams:
        stream.seek(0)
        said.append(stream.read().decode())
    results[name] = [status, *said]
print(json.dumps(results))
"""


def module(line: str, kind: str = "tensor<4xf32>") -> str:
    return f"func.func @main(%x: {kind}) -> {kind} {{\n  %y = {line}\n  return %y : {kind}\n}}\n"


LONG = "n" * 300

#: For each bad input: what lies there (None: nothing), further arguments, and what the line has to say.
BAD: dict[str, tuple[bytes | str | None, list[str], list[str]]] = {
    "absent.mlir": (None, [], ["absent.mlir: no such file or folder"]),
    "empty.mlir": (b"", [], ["empty.mlir: expected a StableHLO module", "found an empty file"]),
    "blank.mlir": (b" \n\n", [], ["found an empty file"]),
    "prose.mlir": ("no MLIR\n", [], ["prose.mlir: expected StableHLO text, found at line 1, column 1:"]),
    "cut.mlir": (FIVE[:200], [], ["cut.mlir: expected StableHLO text, found at line 3, column"]),
    "hlo.txt": ("HloModule m\n", [], ["hlo.txt: expected a StableHLO module", "HLO text: lower to StableHLO"]),
    "binary.bc": (bytes(range(256)) * 3, [], ["binary.bc: expected a StableHLO module", "binary data of another kind"]),
    "model.keras": (b"PK\x03\x04" + bytes(40), [], ["model.keras: expected", "a zip archive"]),
    "other.onnx": (b"\x08\x0a\x12\xff" + bytes(40), [], ["other.onnx: expected", "found an ONNX file"]),
    "packed.mlir": (
        b"\x1f\x8b\x08" + bytes(30),
        [],
        ["packed.mlir: expected", "found a gzip archive: unpack it"],
    ),
    "wide.mlir": (b"\xff\xfe" + FIVE.encode("utf-16-le"), [], ["wide.mlir: expected", "text in UTF-16"]),
    "pointer.bc": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", [], ["a pointer of Git LFS: fetch"]),
    LONG: (None, [], [f"{LONG}: the name is too long for the file system"]),
    "long.mlir": (FIVE, ["-o", f"{LONG}.onnx"], [f"{LONG}.onnx: the name is too long for the file system"]),
    "stdout.mlir": (FIVE, ["-o", "-"], ["--output -: expected a file name"]),
    "no-main.mlir": (
        "".join(f"func.func @{n}(%x: tensor<f32>) -> tensor<f32> {{ return %x : tensor<f32> }}\n" for n in "fg"),
        [],
        ["no-main.mlir: expected a function @main, the module's entry, found @f, @g; rename the entry"],
    ),
    "op.mlir": (
        module("stablehlo.custom_call @mystery(%x) : (tensor<4xf32>) -> tensor<4xf32>"),
        [],
        ["op.mlir: stablehlo.custom_call at", ":2:", "mystery"],
    ),
    "type.mlir": (
        module("stablehlo.negate %x : tensor<4xf6E3M2FN>", "tensor<4xf6E3M2FN>"),
        [],
        ["type.mlir: ", "f6E3M2FN", "ONNX has no equivalent"],
    ),
    "attribute.mlir": (
        module("stablehlo.negate %x {exotic = 1 : i32} : tensor<4xf32>"),
        [],
        ["attribute.mlir: stablehlo.negate at", ":2:", "attribute exotic"],
    ),
    "opset.mlir": (FIVE, ["--opset", "7"], ["--opset 7: expected 18 to"]),
    "target.mlir": (FIVE, ["--target", "coreml"], ["--target", "coreml"]),
    "dims.mlir": (FIVE, ["--dims", "x"], ["--dims x: expected an input and a name for each of its axes"]),
    "dims-input.mlir": (FIVE, ["--dims", "z=a,b"], ["dimension names: no input z; found x, w"]),
    "dims-axes.mlir": (FIVE, ["--dims", "x=a"], ["dimension names: x has 2 axes, found names for 1"]),
    "platform.mlir": (FIVE, ["--platform", "cuda"], ["--platform cuda: the module was lowered for one platform"]),
    "signature.mlir": (FIVE, ["--signature", "serve"], ["--signature serve: expected a SavedModel, found"]),
    "nowhere.mlir": (FIVE, ["-o", "absent/model.onnx"], ["absent/model.onnx: expected an existing folder absent"]),
    "folder.mlir": (FIVE, ["-o", "folder"], ["folder: expected a file name, found a folder"]),
    "same.mlir": (FIVE, ["-o", "same.mlir"], ["same.mlir: is also the input"]),
    "device.mlir": (FIVE, ["-o", "/dev/null"], ["/dev/null: expected a regular file or none, found a device"]),
    "proc.mlir": (FIVE, ["-o", "/proc/model.onnx"], ["/proc/model.onnx: cannot be written"]),
    "folder": (None, [], ["folder: expected a SavedModel, a folder with a file saved_model.pb"]),
    "versions": (None, [], ["versions: expected one SavedModel, found 1, 12; give one, such as versions/12"]),
    "plain-savedmodel": (
        None,
        [],
        ["plain-savedmodel: expected a SavedModel with StableHLO in an operator XlaCallModule"],
    ),
    "versions/1/saved_model.pb": (
        None,
        [],
        ["saved_model.pb: expected a SavedModel folder, found a file inside one; give the folder"],
    ),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """All of them converted by one process, and the folder afterwards."""
    place = tmp_path_factory.mktemp("bad")
    (place / "folder").mkdir()
    for name in ("versions/1", "versions/12", "plain-savedmodel"):
        (place / name).mkdir(parents=True)
        (place / name / "saved_model.pb").write_bytes(b"\x08\x01 no such operator")
    commands = {}
    for name, (content, options, _) in BAD.items():
        if content is not None:
            (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
        commands[name] = [name, *([] if "-o" in options else ["-o", "out.onnx"]), *options]
    done = subprocess.run(
        [sys.executable, "-P", "-c", MANY],
        input=json.dumps(commands),
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1]), place


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_with_status_2_and_leaves_no_file(bad: tuple[dict[str, Any], Path], name: str) -> None:
    results, place = bad
    status, out, err = results[name]
    assert (status, out) == (2, ""), err
    assert err.startswith("swift-export: error: ")
    assert err.count("\n") == 1, err
    for words in BAD[name][2]:
        assert words in err
    assert "Traceback" not in err
    present = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    made = {f"{folder}/saved_model.pb" for folder in ("versions/1", "versions/12", "plain-savedmodel")}
    assert present == made | {name for name, (content, _, _) in BAD.items() if content is not None}


def test_the_summary(run, tmp_path: Path) -> None:
    (tmp_path / "five.mlir").write_text(FIVE)
    result = run("convert", "five.mlir", "-o", "five.onnx", "--check", "--dims", "x=batch,-")
    assert result.returncode == 0, result.stderr
    size = (tmp_path / "five.onnx").stat().st_size
    lines = result.stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["source", "StableHLO text"],
        ["inputs", "x float32 (batch, 4); w float32 (4, 3)"],
        ["outputs", "y float32 (batch, 3)"],
        ["file", f"5 nodes, {size} bytes, opset 20"],
        ["check", lines[4].split(maxsplit=1)[1]],
        ["wrote", "five.onnx"],
    ]
    assert lines[4].startswith("check    1 output as in XLA, jax ")
    assert lines[4].endswith(" on 2 random inputs")
    assert result.stderr == ""
    onnx.checker.check_model(onnx.load(tmp_path / "five.onnx"), full_check=True)


def test_quiet_says_nothing(run, tmp_path: Path) -> None:
    (tmp_path / "five.mlir").write_text(FIVE)
    result = run("convert", "five.mlir", "-o", "five.onnx", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "five.onnx").is_file()
