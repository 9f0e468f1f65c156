"""The reference: any model, in a process that makes it again or in this one, in the precision that nothing excels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.formats.signature import TensorSpec
from swift_export.models import Card, Model, Procedure, Provenance
from swift_export.models.model import value_name
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.parity.measure.cases import Case
from swift_export.parity.measure.running import measure_noise, part_key, run_reference
from swift_export.runtimes.base import LoadError
from swift_export.runtimes.reference import session_of
from swift_export.runtimes.reference_file import read_reference, write_reference
from swift_export.system.arrays import save_array


def forward(weights, tokens, mask):
    rows = weights["table"][tokens] * mask[..., None].astype(weights["table"].dtype)
    return {"rows": rows, "count": mask.sum(1, dtype=jnp.int32), "mean": rows.mean(1)}


@pytest.fixture
def model() -> Model:
    table = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    return Model(
        name="toy",
        forward=forward,
        weights={"table": table},
        inputs=(TensorSpec("tokens", "int32", ("batch", "length")), TensorSpec("mask", "bool", ("batch", "length"))),
        outputs=("rows", "count", "mean"),
        provenance=Provenance("python", "toy"),
        card=Card("toy"),
    )


INPUTS = {"tokens": np.array([[1, 2, 3], [4, 5, 6]], np.int32), "mask": np.array([[True, False, True], [True] * 3])}


def test_a_model_of_this_process_is_computed_by_name(model: Model) -> None:
    session = session_of(model)

    found = session(dict(reversed(INPUTS.items())))

    rows = model.weights["table"][INPUTS["tokens"]] * INPUTS["mask"][..., None]
    np.testing.assert_array_equal(found["rows"], rows)
    np.testing.assert_array_equal(found["count"], [2, 3])
    assert found["count"].dtype == np.int32
    np.testing.assert_allclose(found["mean"], rows.mean(1), rtol=1e-6)
    assert (session.info.name, session.info.arithmetic) == ("JAX", "float32")
    assert list(session_of(model, ["count"])(INPUTS)) == ["count"]
    with pytest.raises(InputError, match=r"toy: tokens: expected int32 \(any, any\), found int64 \(2, 3\)"):
        session(INPUTS | {"tokens": INPUTS["tokens"].astype(np.int64)})


def test_another_form_of_the_function_is_the_reference(model: Model) -> None:
    other = replace(model, reference=lambda weights, tokens, mask: {"count": -mask.sum(1, dtype=jnp.int32)})

    np.testing.assert_array_equal(session_of(other, ["count"])(INPUTS)["count"], [-2, -3])


@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16])
def test_weights_keep_their_type(model: Model, dtype: type) -> None:
    before = jax.config.jax_enable_x64
    table = (np.ones((7, 3)) / 3).astype(dtype)

    rows = session_of(replace(model, weights={"table": table}))(INPUTS)["rows"]

    assert rows.dtype == dtype
    assert rows[0, 0, 0] == table[0, 0]
    assert jax.config.jax_enable_x64 == before


def test_products_are_as_precise_as_the_device_can() -> None:
    session = session_of(
        Model(
            name="toy",
            forward=lambda weights, x: {"y": x @ weights["w"]},
            weights={"w": np.ones((2, 2), np.float32)},
            inputs=(TensorSpec("x", "float32", (2, 2)),),
            outputs=("y",),
            provenance=Provenance("python", "toy"),
            card=Card("toy"),
        )
    )

    assert session.info.settings["jax_default_matmul_precision"] == "highest"
    np.testing.assert_array_equal(session({"x": np.eye(2, dtype=np.float32)})["y"], np.ones((2, 2)))


def files(arrays: dict[str, np.ndarray], folder: Path) -> dict[str, tuple[str, ...]]:
    for name, array in arrays.items():
        save_array(folder / f"{name}.npy", array)
    return {name: (str(folder / f"{name}.npy"),) for name in arrays}


def test_noise_of_a_model_that_no_other_process_can_make(model: Model, tmp_path: Path) -> None:
    given = files(INPUTS, tmp_path)
    case = Case("random", {"batch": 2, "length": 3}, given, (given,))

    info, expected = run_reference(model, [given], tmp_path)
    noise = measure_noise(model, [case], expected, tmp_path)

    assert info.name == "JAX"
    np.testing.assert_array_equal(expected[part_key(given)]["rows"], session_of(model)(INPUTS)["rows"])
    # Of the outputs with fractions; the last bit of a float32 number is 6e-8 to 1.2e-7 of it.
    assert 2e-8 < noise.relative_l2 < 2e-7


def test_values_inside_come_beside_the_outputs(model: Model) -> None:
    def inner(weights, tokens, mask):
        with jax.named_scope("lookup"):
            rows = weights["table"][tokens] * 2
        return {"mean": rows.mean(1)}

    found = session_of(replace(model, forward=inner), ["mean"], ["lookup"])(INPUTS)

    assert sorted(found) == ["mean", value_name(0)]
    np.testing.assert_array_equal(found[value_name(0)], 2 * model.weights["table"][INPUTS["tokens"]])


def test_a_file_holds_all_that_another_process_needs(model: Model, tmp_path: Path) -> None:
    weights = {
        "w": np.arange(3).astype(ml_dtypes.bfloat16),
        "n": np.ones((), np.int64),
        "q": np.ones(2, ml_dtypes.int4),
    }
    procedure = Procedure("swift_export.models.swift.swift_model", {"sizes": [1, 2], "name": "x"})

    path = tmp_path / "reference.safetensors"
    write_reference(replace(model, weights=weights, rebuild=procedure), path, outputs=["mean"], places=["a/b"])
    found = read_reference(path)

    assert found.rebuild == procedure
    assert (found.outputs, found.places) == (("mean",), ("a/b",))
    for name, array in weights.items():
        assert (found.weights[name].dtype, found.weights[name].shape) == (array.dtype, array.shape)
        assert found.weights[name].tobytes() == array.tobytes()
    with pytest.raises(ValueError, match="model toy: expected one that another process can rebuild"):
        write_reference(model, path)


def test_no_module_but_those_of_models_is_imported(model: Model, tmp_path: Path) -> None:
    foreign = replace(model, rebuild=Procedure("antigravity", {}))

    with pytest.raises(LoadError, match=r"antigravity: expected a module of swift_export\.models"):
        run_reference(foreign, [files(INPUTS, tmp_path)], tmp_path)


def test_another_process_makes_swift_again(weights, tmp_path: Path) -> None:
    model = swift_model(weights, SwiFTSettings(outputs=("stage0", "features")))
    shape = weights.config.input_shape()
    given = {"bold": np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)}

    _, expected = run_reference(model, [files(given, tmp_path)], tmp_path)

    (found,) = expected.values()
    assert list(found) == ["features", "stage0"]
    for name, array in session_of(model)(given).items():
        np.testing.assert_array_equal(found[name], array)
