"""Damaged and newer inputs in bytecode: one clear error, nothing on the streams, and no crash of this process."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from jax.extend.mlir import serialize_portable_artifact

import swift_export
from swift_export.errors import LoweringError, SwiftExportError
from swift_export.formats.stablehlo_module import read_module
from swift_export.sources import SourceError
from swift_export.sources.kinds import Kind, digest_of, kind_of_bytes, portable_version

sys.path.insert(0, str(Path(__file__).parent))
from exports import FIVE, bytecode, exported, shape


def portable(version: str) -> bytes:
    module = read_module(FIVE)
    with module.context:
        return bytes(serialize_portable_artifact(module, version))


def other_format(data: bytes, version: int) -> bytes:
    """The same bytecode, said to be of another version of MLIR's format; LLVM 23 aborts on a newer one."""
    return data[:4] + bytes([version << 1 | 1]) + data[5:]


def newer_op(data: bytes) -> bytes:
    """As a later StableHLO might write it: an op in a version that does not exist yet."""
    later = data.replace(b"StableHLO_v1.8.0", b"StableHLO_v9.8.0").replace(b"tanh_v", b"tanh_9")
    assert later != data
    return later


def newer_export() -> bytes:
    module = exported(lambda x: x + 1, shape(3))
    return bytes(dataclasses.replace(module, calling_convention_version=99).serialize())


DAMAGED = {
    "portable cut in half": (
        lambda: portable("1.8.0")[:250],
        "expected a portable StableHLO artifact, found a damaged or truncated one",
    ),
    "bytecode cut in half": (
        lambda: bytecode(FIVE)[:200],
        "expected a StableHLO in MLIR bytecode, found a damaged or truncated one",
    ),
    "bytecode of a newer format": (lambda: other_format(bytecode(FIVE), 43), "expected a StableHLO in MLIR bytecode"),
    "portable of a newer version": (
        lambda: newer_op(portable("1.8.0")),
        "expected StableHLO that the installed jax reads, found the newer version 9.8.0",
    ),
    "jax.export cut in half": (
        lambda: bytes(exported().serialize())[:2000],
        "expected a jax.export file, found a damaged",
    ),
    "jax.export of a newer version": (
        newer_export,
        "expected a file that the installed jax reads, found the newer calling convention 99,",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_cannot_be_read_is_refused(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, words = DAMAGED[case]
    source = tmp_path / "source.bc"
    source.write_bytes(make())
    capfd.readouterr()
    with pytest.raises(SourceError) as refused:
        swift_export.convert(source, tmp_path / "out.onnx")
    message = str(refused.value)
    assert message.startswith(f"{source}: {words}")
    assert "\n" not in message
    assert refused.value.exit_status == 2
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["source.bc"]


def test_an_older_version_and_a_newer_one_without_newer_ops_are_read(tmp_path: Path) -> None:
    """An op of a portable artifact carries its own version: what reads all of them reads the file."""
    source = tmp_path / "source.bc"
    source.write_bytes(portable("1.8.0").replace(b"StableHLO_v1.8.0", b"StableHLO_v9.8.0"))
    assert portable_version(source.read_bytes()) == "9.8.0"
    done = swift_export.convert(source, tmp_path / "out.onnx")
    assert done.inputs == ("arg0 float32 (arg0_dim0, 4)", "arg1 float32 (4, 3)")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (FIVE.encode(), Kind.TEXT),
        (b"\xef\xbb\xbf" + FIVE.encode(), Kind.TEXT),
        ("// Umläute\n".encode(), Kind.TEXT),
        (b"ML\xefR\x0dMLIR23.0.0git\0", Kind.BYTECODE),
        (b"ML\xefR\x0dStableHLO_v1.8.0\0", Kind.PORTABLE),
    ],
)
def test_kinds(data: bytes, kind: Kind) -> None:
    assert kind_of_bytes(data, "x") is kind


def test_any_flatbuffer_of_jax_export_is_recognised() -> None:
    for module in (exported(), exported(platforms=("cpu", "tpu")), exported(lambda: 1.0)):
        assert kind_of_bytes(bytes(module.serialize()), "x") is Kind.EXPORTED


def test_random_bytes_are_no_kind() -> None:
    import random

    for seed in range(200):
        with pytest.raises(SwiftExportError):
            kind_of_bytes(b"\xff" + random.Random(seed).randbytes(500), "x")


def test_the_digest_of_a_folder_is_that_of_sha256sum(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "b").mkdir()
    for name, content in (("b/c", b"1"), ("a", b"2"), ("b/.d", b"")):
        (tmp_path / name).write_bytes(content)
    shell = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    expected = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert digest_of(tmp_path, None) == expected.split()[0]


TENSOR = "tensor<2xf32>"
NEVER_ENDING = {
    "a function that calls itself": (
        f"func.func @main(%a: {TENSOR}) -> {TENSOR} {{ %0 = call @main(%a) : ({TENSOR}) -> {TENSOR}\n"
        f"return %0 : {TENSOR} }}",
        "function @main calls itself (@main -> @main)",
    ),
    # The parser's own stack ends, and with it the process that parses.
    "brackets in brackets": (f"module @x attributes {{a = {'[' * 10**5}{']' * 10**5}}} {{}}", "its reader crashed"),
    "no text": ("module {\n  func.func main", "found at line 2, column 13: "),
}


@pytest.mark.parametrize(("text", "words"), NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_text_that_never_ends_is_refused(tmp_path: Path, text: str, words: str) -> None:
    source = tmp_path / "source.mlir"
    source.write_text(text)
    with pytest.raises(SourceError) as refused:
        swift_export.convert(source, tmp_path / "out.onnx")
    assert str(refused.value).startswith(f"{source}: ")
    assert words in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source.mlir"]


def test_bytecode_of_a_function_that_calls_itself(tmp_path: Path) -> None:
    from jax._src.interpreters.mlir import make_ir_context
    from jax.extend.mlir import ir

    source = tmp_path / "source.bc"
    with source.open("wb") as file:
        ir.Module.parse(NEVER_ENDING["a function that calls itself"][0], make_ir_context()).operation.write_bytecode(
            file
        )
    with pytest.raises(SourceError, match=r"source.bc: function @main calls itself"):
        swift_export.convert(source, tmp_path / "out.onnx")


def test_branches_beyond_what_readers_of_onnx_follow(tmp_path: Path) -> None:
    body = f"%n = stablehlo.negate %a : {TENSOR}\nstablehlo.return %n : {TENSOR}"
    for i in range(31):
        other = f"{{ stablehlo.return %a : {TENSOR} }}"
        value = f'%v{i} = "stablehlo.case"(%i) ({{ {body} }}, {other}) : (tensor<i32>) -> {TENSOR}'
        body = f"{value}\n{'stablehlo.return' if i < 30 else 'return'} %v{i} : {TENSOR}"
    source = tmp_path / "source.mlir"
    source.write_text(f"func.func @main(%a: {TENSOR}, %i: tensor<i32>) -> {TENSOR} {{\n{body}\n}}")
    with pytest.raises(LoweringError, match=r"source.mlir: loops and branches: expected at most 30 .* found 31"):
        swift_export.convert(source, tmp_path / "out.onnx")
