"""IREE: static shapes made of dynamic ones on the way, and files that it cannot take."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export

from swift_export.errors import MachineError
from swift_export.runtimes.registry import RUNTIMES

pytestmark = pytest.mark.requires("iree")


def save(path, function, shape):
    exported = export.export(jax.jit(function))(jax.ShapeDtypeStruct(export.symbolic_shape(shape), "float32"))
    path.write_bytes(exported.mlir_module_serialized)
    return path


def load(path):
    return RUNTIMES["iree"].adapter().load(path, "cpu")


def test_a_shape_is_compiled_once(tmp_path):
    session = load(save(tmp_path / "model.mlir.bc", lambda bold: {"features": bold + 1}, "batch, 3"))

    for batch in (1, 2, 1, 2):
        found = session({"bold": np.zeros((batch, 3), np.float32)})
        np.testing.assert_array_equal(found["features"], np.ones((batch, 3)))

    assert sorted(session._programs) == [((1, 3),), ((2, 3),)]


def test_functions_beyond_stablehlo_are_computed(tmp_path):
    # CHLO's erf, which travels as a composite that refining unwraps.
    path = save(tmp_path / "model.mlir.bc", lambda bold: {"features": jax.lax.erf(bold)}, "batch, 3")

    found = load(path)({"bold": np.float32([[0, 1, -2]])})

    np.testing.assert_allclose(found["features"], [[0, 0.8427007929, -0.9953222650]], rtol=1e-6)


def test_numbers_that_it_does_not_take_are_an_error(tmp_path):
    exported = export.export(jax.jit(lambda bold: bold + 1j))(jax.ShapeDtypeStruct((3,), "complex64"))
    path = tmp_path / "model.mlir.bc"
    path.write_bytes(exported.mlir_module_serialized)

    with pytest.raises(ValueError, match=r"expected tensors of plain numbers, found .*complex"):
        load(path)


def test_a_file_without_a_main_function_is_an_error(tmp_path):
    path = tmp_path / "model.mlir.bc"
    path.write_text("module {}")

    with pytest.raises(ValueError, match="expected portable StableHLO bytecode with a function main"):
        load(path)


def test_a_shape_that_the_file_does_not_allow_is_told_by_the_refining_process(tmp_path):
    from swift_export.runtimes._refining_apart import refined_apart

    path = save(tmp_path / "model.mlir.bc", lambda bold: {"features": bold}, "batch, 3")

    with pytest.raises(
        MachineError, match=r"^model\.mlir\.bc for the shape \(2, 4\): ended with exit status 1: "
    ) as told:
        refined_apart(path, [(2, 4)])

    assert "\n" not in str(told.value)


def test_nothing_is_left_behind(tmp_path):
    path = save(tmp_path / "model.mlir.bc", lambda bold: {"features": bold + 1}, "batch, 3")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "import sys, numpy; from pathlib import Path\n"
        "from swift_export.runtimes.iree import load\n"
        "load(Path(sys.argv[1]), 'cpu')({'bold': numpy.zeros((2, 3), 'float32')})\n"
    )

    environment = {**os.environ, "TMPDIR": str(scratch)}
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=environment)

    assert list(scratch.iterdir()) == []
