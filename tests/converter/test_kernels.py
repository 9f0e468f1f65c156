"""The table of kernels against the ONNX Runtime that is installed."""

from __future__ import annotations

import onnx_ir as oir
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from swift_export.converter.kernels import KERNELS, carrier, has_kernel
from swift_export.converter.opsets import DEFAULT_OPSET, OPSETS

TYPES = {
    "float": oir.DataType.FLOAT,
    "double": oir.DataType.DOUBLE,
    **{d.name.lower(): d for d in oir.DataType if d.name.startswith(("INT", "UINT", "BOOL", "BFLOAT", "FLOAT16"))},
}


def registered() -> dict[str, list[tuple[range, set[oir.DataType]]]]:
    """By op: versions, and the types of its data, of all kernels for the CPU."""
    found: dict[str, list[tuple[range, set[oir.DataType]]]] = {}
    for kernel in runtime.get_all_opkernel_def():
        constraints = kernel.type_constraints
        named = next((constraints[n] for n in ("T", "T1", "V", "X") if n in constraints), [])
        if kernel.domain == "" and kernel.provider == "CPUExecutionProvider":
            first, last = kernel.version_range
            types = {TYPES[t] for text in named if (t := text.removeprefix("tensor(").rstrip(")")) in TYPES}
            found.setdefault(kernel.op_name, []).append((range(first, min(last, 1000) + 1), types))
    return found


REGISTERED = registered()


@pytest.mark.parametrize("op_type", sorted(KERNELS))
def test_every_type_of_the_table_has_a_kernel(op_type: str) -> None:
    versions = [v for v in (DEFAULT_OPSET, OPSETS.stop - 1) if any(v in r for r, _ in REGISTERED[op_type])]
    assert versions
    for version in versions:
        there = set().union(*(types for versions, types in REGISTERED[op_type] if version in versions))
        assert there >= KERNELS[op_type]


def test_ops_outside_the_table_take_every_type() -> None:
    everything = set().union(*KERNELS.values())
    for op_type in ("Cast", "Concat", "Gather", "GatherND", "Identity", "Loop", "Reshape", "ScatterND", "Slice",
                    "Split", "Squeeze", "Transpose", "Unsqueeze"):  # fmt: skip
        kernels = [types for versions, types in REGISTERED[op_type] if DEFAULT_OPSET in versions]
        assert set().union(*kernels) >= everything, op_type


@pytest.mark.parametrize("op_type", sorted(KERNELS))
def test_a_carrier_holds_every_value(op_type: str) -> None:
    for dtype in set().union(*KERNELS.values()):
        wide = carrier(op_type, dtype)
        if wide is None:
            continue
        assert has_kernel(op_type, wide)
        if dtype in (oir.DataType.BOOL, wide):
            continue
        values = [dtype.min, dtype.max]
        assert wide.is_floating_point() == dtype.is_floating_point()
        assert all(wide.min <= value <= wide.max for value in values)


def test_no_carrier_where_bits_would_be_lost() -> None:
    assert carrier("Erf", oir.DataType.DOUBLE) is None
    assert carrier("ReduceMax", oir.DataType.UINT64) is None
    assert carrier("Where", oir.DataType.UINT64) is None
    assert carrier("Where", oir.DataType.UINT64, modular=True) == oir.DataType.INT64
