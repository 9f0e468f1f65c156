"""Outputs of one run against the reference's: each type of elements by what it is allowed."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from swift_export.parity.measure.cases import Case
from swift_export.parity.measure.running import compare_runs, part_key
from swift_export.parity.measure.tolerances import tolerance
from swift_export.runtimes.base import RuntimeInfo
from swift_export.runtimes.messages import Answer, RunResult
from swift_export.system.arrays import save_array

INFO = RuntimeInfo("a runtime", "1", "cpu", "float32", {}, ())
RIGHT = {
    "double": np.linspace(1, 2, 50),
    "single": np.linspace(1, 2, 50, dtype=np.float32),
    "brain": np.linspace(1, 2, 50).astype(ml_dtypes.bfloat16),
    "count": np.arange(50),
    "flag": np.arange(50) > 20,
}


def passed(folder: Path, changed: dict[str, np.ndarray], floats: set[str] | None) -> dict[str, bool]:
    found = RIGHT | changed
    files = {name: str(folder / f"{name}.npy") for name in found}
    for name, array in found.items():
        save_array(files[name], array)
    part = {"x": ("x.npy",)}
    case = Case("random", {"batch": 50}, part, (part,))
    answer = Answer(INFO, 0.0, (RunResult(files, 0.0, (), ()),), 0)
    usual = tolerance("float32", "cpu")
    compared = compare_runs(answer, (case,), {part_key(part): RIGHT}, list(RIGHT), usual, floats)
    return {comparison.output: comparison.passed for comparison in compared}


def test_what_is_right_passes(tmp_path: Path) -> None:
    assert all(passed(tmp_path, {}, {"float64"}).values())


@pytest.mark.parametrize(
    ("name", "factor", "floats", "expected"),
    [
        ("double", 1 + 1e-8, {"float64"}, False),
        ("double", 1 + 1e-8, {"float64", "float32"}, True),
        ("double", 1 + 1e-4, {"float32"}, False),
        ("single", 1 + 5e-6, {"float32"}, True),
        ("single", 1 + 1e-3, {"float32"}, False),
        ("single", 1 + 1e-3, {"bfloat16"}, True),
        ("brain", 1.01, {"float32"}, True),
        ("brain", 1.2, {"bfloat16"}, False),
        # As the user says.
        ("brain", 1.01, None, False),
    ],
)
def test_the_coarsest_type_on_the_way_decides(
    tmp_path: Path, name: str, factor: float, floats: set[str] | None, expected: bool
) -> None:
    found = (RIGHT[name].astype(np.float64) * factor).astype(RIGHT[name].dtype)

    assert passed(tmp_path, {name: found}, floats) == dict.fromkeys(RIGHT, True) | {name: expected}


def test_integers_and_booleans_have_no_tolerance(tmp_path: Path) -> None:
    wrong = {"count": RIGHT["count"] + (RIGHT["count"] == 7), "flag": RIGHT["flag"] ^ (RIGHT["count"] == 7)}

    result = passed(tmp_path, wrong, {"bfloat16"})

    assert (result["count"], result["flag"]) == (False, False)
