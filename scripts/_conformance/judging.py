"""One case: JAX's result, ours, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from _conformance.cases import Case
from _conformance.settling import settle
from swift_export.system.arrays import as_complex, as_pairs

__all__ = ["OUTCOMES", "Verdict", "differences", "judge"]

#: pass; unsupported: the converter rejected the module; wrong: the result differs from JAX's; rejected: ONNX Runtime
#: did not load or run the file; broke: the converter raised an unexpected error; jax: JAX cannot run or export the
#: case.
OUTCOMES = ("pass", "unsupported", "wrong", "rejected", "broke", "jax")


@dataclass(frozen=True)
class Verdict:
    """The outcome of one case."""

    name: str
    primitive: str
    dtype: str
    outcome: str
    reason: str = ""
    outside: str | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def judge(case: Case) -> Verdict:
    """Run a case in JAX and, exported and converted, in ONNX Runtime."""
    start = time.perf_counter()
    outcome, reason = _outcome(case)
    outside = case.outside
    reason = " ".join(reason.split())[:400]
    seconds = round(time.perf_counter() - start, 3)
    return Verdict(case.name, case.primitive, case.dtype, outcome, reason, outside, seconds)


def _outcome(case: Case) -> tuple[str, str]:
    import jax
    from jax import export

    from swift_export.errors import SwiftExportError

    if case.unimplemented:
        return "jax", "not implemented on CPU, according to the harness"
    arguments = case.arguments()
    try:
        jitted = jax.jit(case.function)
        expected = [np.asarray(leaf) for leaf in jax.tree.leaves(jitted(*arguments))]
        exported = export.export(jitted, platforms=["cpu"])(*arguments)
    except Exception as error:
        return "jax", f"{type(error).__name__}: {error}"
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((tuple(arguments), {}))]
    given = [leaves[i].astype(exported.in_avals[i].dtype) for i in exported.module_kept_var_idx]
    try:
        model = _lowered(exported.mlir_module_serialized, len(given))
    except SwiftExportError as error:
        return "unsupported", str(error)
    except Exception as error:
        return "broke", f"{type(error).__name__}: {error}"
    settled = ""
    references = [("", expected)]
    for optimised in (False, True):
        mode = "when optimised: " if optimised else ""
        try:
            found = list(map(_numbers, _run(model, given, optimised=optimised), expected))
        except Exception as error:
            return "rejected", f"{mode}{type(error).__name__}: {error}"
        for name, reference in references:
            agrees, reason = _agrees(case, arguments, found, reference)
            if not agrees:
                return "wrong", f"{mode}{name}{reason}"
            settled = settled or reason
        # What the optimisations change must be no fault either, by the same measure.
        plain = [a.astype(b.dtype) for a, b in zip(found, expected, strict=True)]
        references.append(("unlike without: ", plain))
    return "pass", settled


def _agrees(
    case: Case, arguments: Sequence[Any], found: list[np.ndarray], expected: list[np.ndarray]
) -> tuple[bool, str]:
    """Whether results are as expected; how they differ, or why a difference is no fault."""
    reason = differences(found, expected, case.tolerance)
    settled = settle(case, arguments, found, expected) if reason else ""
    return not reason or bool(settled), settled or reason


def _lowered(module: bytes, inputs: int) -> bytes:
    import onnx
    import onnx_ir as oir

    from swift_export.converter import stablehlo_to_onnx

    model = stablehlo_to_onnx(module, argument_names=[f"x{i}" for i in range(inputs)])
    _speak_float32(model)
    proto = oir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def _speak_float32(model: Any) -> None:
    """Make bfloat16 inputs and outputs float32, because ONNX Runtime's Python binding does not accept bfloat16."""
    import onnx_ir as oir

    narrow, wide = oir.DataType.BFLOAT16, oir.DataType.FLOAT
    graph = model.graph
    for i, value in enumerate(graph.inputs):
        if value.dtype == narrow:
            outer = oir.val(f"{value.name}_float32", wide, value.shape)
            graph.inputs[i] = outer
            cast = oir.node("Cast", [outer], {"to": narrow.value})
            cast.outputs[0].dtype, cast.outputs[0].shape, cast.outputs[0].name = narrow, value.shape, f"{value.name}_"
            value.replace_all_uses_with(cast.outputs[0])
            first = next(iter(graph), None)
            graph.insert_before(first, cast) if first is not None else graph.append(cast)
    for i, value in enumerate(graph.outputs):
        if value.dtype == narrow:
            cast = oir.node("Cast", [value], {"to": wide.value})
            cast.outputs[0].dtype, cast.outputs[0].shape = wide, value.shape
            cast.outputs[0].name = f"{value.name}_float32"
            graph.append(cast)
            graph.outputs[i] = cast.outputs[0]


def _run(model: bytes, given: list[np.ndarray], *, optimised: bool) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    fed = {
        i.name: (a.astype(np.float32) if a.dtype.name == "bfloat16" else as_pairs(a)).copy(order="C")
        for i, a in zip(session.get_inputs(), given, strict=True)
    }
    return list(session.run(None, fed))


def _numbers(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """A result in pairs as the complex numbers that are expected."""
    if theirs.dtype.kind != "c" or ours.dtype != theirs.real.dtype or ours.shape != (*theirs.shape, 2):
        return ours
    return as_complex({"": ours}, {"": theirs.dtype.name})[""]


def differences(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float | None = None) -> str:
    """Describe the first difference; empty if there is none.

    The tolerance is relative and absolute, by default that of JAX's tests for the type; that of a complex number is
    relative to its magnitude. Integers and booleans must be equal. NaN, infinities and the sign of zero must be in the
    same positions.
    """
    from jax._src.public_test_util import default_tolerance

    if len(found) != len(expected):
        return f"{len(found)} results: expected {len(expected)}"
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        kind = theirs.dtype
        if kind.name == "bfloat16":
            theirs = theirs.astype(np.float32)
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return f"result {i}: {ours.dtype}{list(ours.shape)}, expected {theirs.dtype}{list(theirs.shape)}"
        allowed = tolerance if tolerance is not None else float(default_tolerance()[np.dtype(kind)])
        if reason := _difference(ours, theirs, allowed):
            return f"result {i}: {reason}"
    return ""


def _difference(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> str:
    if theirs.dtype.kind not in "fc":
        unlike = ours != theirs
        return _first("differ", ours, theirs, unlike) if unlike.any() else ""
    parts = as_pairs(ours), as_pairs(theirs)
    for value, mark in (("NaN", np.isnan), ("inf", np.isposinf), ("-inf", np.isneginf)):
        unlike = mark(parts[0]) != mark(parts[1])
        if unlike.any():
            return _first(f"{value} elsewhere", *parts, unlike)
    zeros = (parts[0] == 0) & (parts[1] == 0) & (np.signbit(parts[0]) != np.signbit(parts[1]))
    if zeros.any():
        return _first("zeros of the other sign", *parts, zeros)
    finite = np.isfinite(theirs)
    a, b = (np.where(finite, x, 0).astype(np.result_type(x, np.float64)) for x in (ours, theirs))
    unlike = np.abs(a - b) > tolerance + tolerance * np.abs(b)
    return _first(f"beyond {tolerance:g}", ours, theirs, unlike) if unlike.any() else ""


def _first(text: str, ours: np.ndarray, theirs: np.ndarray, unlike: np.ndarray) -> str:
    place = tuple(int(i) for i in np.argwhere(unlike)[0])
    return f"{text}, {int(unlike.sum())} of {unlike.size}: at {list(place)} {ours[place]!s}, expected {theirs[place]!s}"
