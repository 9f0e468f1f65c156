"""A sample of JAX's harness of primitives, as ``scripts/conformance`` runs all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def conformance(*arguments: object) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)])
    command = [sys.executable, "-P", "-m", "_conformance", *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)


@pytest.mark.parametrize("mode", [[], ["--x64"]], ids=["default types", "64-bit types"])
def test_a_sample_has_no_wrong_result_and_no_rejected_file(mode: list[str], tmp_path: Path) -> None:
    done = conformance("--sample", 90, "--list", "--results", tmp_path, *mode)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("*.jsonl")
    verdicts = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(verdicts) == 90
    counted = [v for v in verdicts if v["outside"] is None and v["outcome"] != "jax"]
    assert len(counted) > 70
    assert sum(v["outcome"] == "pass" for v in counted) >= 0.9 * len(counted), done.stdout
    # A run that is started again has nothing left to do.
    again = conformance("--sample", 90, "--results", tmp_path, *mode)
    assert again.returncode == 0
    assert len(file.read_text().splitlines()) == 90


def test_differences_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from _conformance.judging import differences

    floats = np.array([0.0, 1.0, np.nan, np.inf], np.float32)
    integers = np.array([1, 2], np.int32)
    assert differences([floats, integers], [floats.copy(), integers.copy()]) == ""
    assert differences([floats * np.float32(1 + 1e-7)], [floats]) == ""
    for other, what in (
        (np.array([-0.0, 1.0, np.nan, np.inf], np.float32), "zeros of the other sign"),
        (np.array([0.0, 1.0, 0.0, np.inf], np.float32), "NaN elsewhere"),
        (np.array([0.0, 1.0, np.nan, -np.inf], np.float32), "inf elsewhere"),
        (np.array([0.0, 1.00001, np.nan, np.inf], np.float32), "beyond 1e-06"),
        (floats[:3], "expected float32[4]"),
        (floats.astype(np.float64), "expected float32[4]"),
    ):
        assert what in differences([other], [floats])
    assert "differ" in differences([integers + 1], [integers])
    numbers = np.array([3 + 1e-9j], np.complex64)
    assert differences([numbers * np.float32(1 + 1e-7) + np.complex64(1e-7j)], [numbers]) == ""
    assert "beyond 1e-06" in differences([numbers + np.complex64(1e-5j)], [numbers])
    assert "zeros of the other sign" in differences([np.conj(numbers.real + 0j)], [numbers.real + 0j])
    assert differences([], [integers]) == "0 results: expected 1"


def test_factors_are_held_to_errors_and_vectors_to_what_they_satisfy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from _conformance.factorizations import as_accurate, other_vectors

    exact = np.array([[4.0, 1.0], [1.0, 3.0]])
    theirs, pivots = (exact * (1 + 1e-6)).astype(np.float32), np.array([1, 0], np.int32)
    for factor, others, passes in ((1 + 3e-6, pivots, True), (1 + 9e-6, pivots, False), (1, pivots[::-1], False)):
        ours = (exact * factor).astype(np.float32)
        assert bool(as_accurate([ours, others], [theirs, pivots], [exact, pivots])) == passes
    # In float64 no wider type tells the errors.
    assert as_accurate([exact * (1 + 2e-15)], [exact], None)
    assert not as_accurate([exact * (1 + 2e-14)], [exact], None)

    values, vectors = np.linalg.eigh(exact.astype(np.float32))
    signs, mixed = np.array([1, -1], np.float32), np.array([[1, 1], [-1, 1]], np.float32) / np.float32(np.sqrt(2))
    assert other_vectors([vectors * signs, values], [vectors, values])
    assert not other_vectors([vectors * 2, values], [vectors, values])
    assert not other_vectors([vectors @ mixed, values], [vectors, values])
    assert not other_vectors([vectors, values * np.float32(1 + 1e-5)], [vectors, values])
