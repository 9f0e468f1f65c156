"""The process that reads a module first: what it imports, and what its contexts know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from jax._src.interpreters.mlir import make_ir_context

from swift_export.formats.mlir_bindings import ir
from swift_export.formats.mlir_context import new_context
from swift_export.sources.kinds import Kind
from swift_export.sources.sandboxed_read import SandboxedRead

sys.path.insert(0, str(Path(__file__).parent))
from exports import FIVE, bytecode, exported, shape

INPUTS = {
    "TEXT": FIVE.encode(),
    "BYTECODE": bytecode(FIVE),
    "PORTABLE": exported(lambda x: x + 1, shape(3)).mlir_module_serialized,
}


@pytest.mark.parametrize("kind", INPUTS)
def test_neither_jax_nor_numpy_is_imported(kind: str) -> None:
    """They take most of a second, while a caller waits."""
    program = (
        "import sys; from swift_export.sources import first_read\n"
        f"assert first_read.main({kind!r}) == 0\n"
        "print(*(name for name in ('jax', 'numpy') if sys.modules.get(name)))"
    )
    data = INPUTS[kind]
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], input=len(data).to_bytes(8) + data, capture_output=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (b"", b"")


def test_a_conversion_imports_neither_jax_nor_sympy(tmp_path: Path) -> None:
    """Each takes about as long as the rest; onnx_ir imports sympy, and reads it for sizes that are computed."""
    (tmp_path / "five.mlir").write_text(FIVE)
    program = """
import sys
from swift_export.cli import main
assert main(["convert", "five.mlir", "-o", "five.onnx", "--quiet"]) == 0
print(*{"jax", "sympy", "sympy.core"} & set(sys.modules))
import onnx_ir
print((onnx_ir.SymbolicDim("n") + 1).value)
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("sympy\nn + 1\n", "")


def test_inputs_are_given_back() -> None:
    """The caller drops its own, which may be gigabytes."""
    data = [INPUTS["PORTABLE"], INPUTS["BYTECODE"]]
    with SandboxedRead("two", data, Kind.PORTABLE) as reading:
        reading.finish()
        assert reading.inputs() == data


def test_contexts_know_what_those_of_jax_know() -> None:
    ops = "func.call stablehlo.add vhlo.add_v1 chlo.erf mhlo.add sdy.sharding_constraint mpmd.transfer arith.addf"
    contexts = new_context(), make_ir_context()
    for context in contexts:
        ir.Context.load_all_available_dialects(context)  # at once, not with the first op of each
    ours, theirs = ({op for op in ops.split() if context.is_registered_operation(op)} for context in contexts)
    assert ours == theirs
    assert {"func.call", "stablehlo.add", "chlo.erf", "sdy.sharding_constraint", "arith.addf"} <= ours


def test_a_dialect_is_loaded_with_its_first_op() -> None:
    context = new_context()
    assert not context.is_registered_operation("arith.addf")
    text = "func.func @main(%x: f32) -> f32 {\n%y = arith.addf %x, %x : f32\nreturn %y : f32\n}"
    assert "arith.addf" in str(ir.Module.parse(text, context))
    assert context.is_registered_operation("arith.addf")
