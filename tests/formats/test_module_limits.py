"""Modules that would never end: refused by name before anything is made of them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError
from swift_export.formats.module_limits import MAX_DEPTH, MAX_OPS, ModuleError
from swift_export.formats.stablehlo_module import read_module

T = "tensor<2xf32>"


def function(name: str, *calls: str) -> str:
    """A function that passes its argument through others, one after the other; without any, it negates it."""
    values = ["%a", *(f"%{i}" for i in range(len(calls)))]
    body = "".join(
        f"{after} = call @{callee}({before}) : ({T}) -> {T}\n"
        for callee, before, after in zip(calls, values, values[1:], strict=False)
    )
    body = body or f"%n = stablehlo.negate %a : {T}\n"
    return f"func.func @{name}(%a: {T}) -> {T} {{\n{body}return {values[-1] if calls else '%n'} : {T}\n}}\n"


def chain(length: int, calls: int = 1) -> str:
    """``main`` and ``length`` functions more, each of which calls the next so many times."""
    names = ["main", *(f"f{i}" for i in range(length))]
    inner = "".join(function(name, *[after] * calls) for name, after in pairwise(names))
    return inner + function(names[-1])


def branches(depth: int) -> str:
    body = f"%n = stablehlo.negate %a : {T}\nstablehlo.return %n : {T}"
    for i in range(depth):
        other = f"{{ stablehlo.return %a : {T} }}"
        value = f'%v{i} = "stablehlo.case"(%i) ({{ {body} }}, {other}) : (tensor<i32>) -> {T}'
        body = f"{value}\n{'stablehlo.return' if i < depth - 1 else 'return'} %v{i} : {T}"
    return f"func.func @main(%a: {T}, %i: tensor<i32>) -> {T} {{\n{body}\n}}"


def composite(name: str) -> str:
    return (
        f'func.func @{name}(%a: {T}) -> {T} {{\n%0 = stablehlo.composite "x.y" %a {{decomposition = @f}} : '
        f"({T}) -> {T}\nreturn %0 : {T}\n}}\n"
    )


ENDLESS = {
    "a function that calls itself": (
        function("main", "f") + function("f", "f"),
        r"function @f calls itself \(@f -> @f\): ONNX has no recursion",
    ),
    "main that calls itself": (function("main", "main"), r"function @main calls itself"),
    "functions that call each other": (
        function("main", "f") + function("f", "g") + function("g", "h") + function("h", "f"),
        r"calls itself \((@f -> @g -> @h -> @f|@g -> @h -> @f -> @g|@h -> @f -> @g -> @h)\)",
    ),
    "a composite of itself": (composite("main") + composite("f"), r"function @f calls itself"),
    "calls in calls": (chain(2000), rf"at most {MAX_DEPTH} nested calls and regions, found {MAX_DEPTH + 1}"),
    "branches in branches": (branches(150), rf"function @main: .* {MAX_DEPTH} nested calls and regions, found 150"),
    "every function calls the next twice": (chain(60, 2), rf"expected at most {MAX_OPS:,} operations, .* found \d+"),
    "a callee without a body": (
        f"func.func private @f({T}) -> {T}\n" + function("main", "f"),
        r"function @f: expected a body, found only a declaration",
    ),
}


@pytest.mark.parametrize(("module", "words"), ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_refused(module: str, words: str) -> None:
    with pytest.raises(ModuleError, match=words):
        read_module(module)


def test_names_of_functions_cannot_break_the_line() -> None:
    name = '"\\1B[2J' + "k" * 1000 + '"'
    with pytest.raises(ModuleError) as found:
        read_module(function("main", name) + function(name, name))
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 500


def test_what_ends_is_translated() -> None:
    assert [node.op_type for node in stablehlo_to_onnx(chain(MAX_DEPTH)).graph] == ["Neg"]
    assert len(list(stablehlo_to_onnx(chain(4, 2)).graph)) == 16
    unused = f"func.func private @never({T}) -> {T}\n" + function("main")
    assert [node.op_type for node in stablehlo_to_onnx(unused).graph] == ["Neg"]


@pytest.mark.parametrize(
    "call",
    [
        "@shape_assertion() {has_side_effect = true} : () -> ()",
        f"@shape_assertion(%a) {{has_side_effect = true}} : ({T}) -> ()",
        f"@ApproxTopK(%a) : ({T}) -> ()",
        f"@mhlo.topk(%a) : ({T}) -> ()",
        "@mhlo.erf() : () -> ()",
    ],
)
def test_custom_calls_that_lack_what_they_have(call: str) -> None:
    module = f"func.func @main(%a: {T}) -> {T} {{\nstablehlo.custom_call {call}\nreturn %a : {T}\n}}"
    with pytest.raises(LoweringError, match=r"custom call \S+: its rule does not handle these operands and attributes"):
        stablehlo_to_onnx(module)


def test_an_entry_that_gives_nothing() -> None:
    with pytest.raises(LoweringError, match="@main: expected at least one result"):
        stablehlo_to_onnx("func.func @main() {\nreturn\n}")
    with pytest.raises(LoweringError, match="@main: expected a body"):
        stablehlo_to_onnx(f"func.func private @main({T}) -> {T}")
