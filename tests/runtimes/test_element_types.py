"""Functions of many inputs and outputs, of every element type, with two unknown dimensions and a scalar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.formats.metadata import SIGNATURE_KEY
from swift_export.runtimes.messages import Request, Run
from swift_export.runtimes.process import run_worker
from swift_export.runtimes.registry import RUNTIMES
from swift_export.system.arrays import dtype_of, load_array, save_array

#: Not sorted, for an order of arguments is not an order of names.
NAMES = ("uint8", "bool", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
FLOATS = ("float16", "bfloat16", "float32", "float64")
INPUTS = (*NAMES, *FLOATS, "scale")


def arrays(batch: int, length: int, *, bits: int = 64) -> dict[str, np.ndarray]:
    """An input of each type, of numbers that have as many bits as the type has, or ``bits`` at most."""
    rng = np.random.default_rng(7)
    found = {"bool": rng.integers(0, 2, (batch, length)).astype(bool)}
    for name in NAMES:
        if name != "bool":
            own = np.iinfo(name)
            limits = own if own.bits <= bits else np.iinfo("int32")
            found[name] = rng.integers(max(own.min, limits.min), limits.max, (batch, length), dtype=name)
    for name in FLOATS:
        found[name] = rng.standard_normal((batch, length)).astype(f"f{bits // 8}").astype(dtype_of(name))
    return {name: found[name] for name in (*NAMES, *FLOATS)} | {"scale": np.asarray(2.5, np.float32)}


def expected(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the function computes: nothing but exact operations."""
    twice = {f"twice {name}": np.concatenate([array, array], 1) for name, array in given.items() if array.ndim}
    chosen = np.where(given["bool"], given["int32"], 0).astype(np.int32)
    return twice | {"chosen": chosen, "scaled": given["float32"] * given["scale"], "same scale": given["scale"]}


def function(*inputs: Any) -> dict[str, Any]:
    import jax.numpy as jnp

    given = dict(zip(INPUTS, inputs, strict=True))
    twice = {f"twice {name}": jnp.concatenate([x, x], 1) for name, x in given.items() if x.ndim}
    chosen = jnp.where(given["bool"], given["int32"], jnp.int32(0))
    return twice | {"chosen": chosen, "scaled": given["float32"] * given["scale"], "same scale": given["scale"]}


def stablehlo(path: Path) -> Path:
    import dataclasses

    import jax
    from jax import export

    from swift_export.lowering.portable import portable

    shape = export.symbolic_shape("batch, length")
    with jax.enable_x64(True):
        shapes = [jax.ShapeDtypeStruct(() if n == "scale" else shape, arrays(1, 1)[n].dtype) for n in INPUTS]
        exported = export.export(jax.jit(function), platforms=["cpu"])(*shapes)
    specs = [{"name": name, "dtype": str(shape.dtype), "dims": []} for name, shape in zip(INPUTS, shapes, strict=True)]
    facts = {SIGNATURE_KEY: json.dumps({"inputs": specs, "outputs": []})}
    exported = dataclasses.replace(exported, mlir_module_serialized=portable(exported.mlir_module_serialized, facts))
    path.write_bytes(exported.serialize() if path.suffix == ".jax" else exported.mlir_module_serialized)
    return path


def savedmodel(path: Path) -> Path:
    import tensorflow as tf

    specs = [tf.TensorSpec(() if n == "scale" else (None, None), arrays(1, 1)[n].dtype, name=n) for n in INPUTS]

    def serve(*inputs: Any) -> dict[str, Any]:
        given = dict(zip(INPUTS, inputs, strict=True))
        twice = {f"twice {name}": tf.concat([x, x], 1) for name, x in given.items() if x.shape.rank}
        chosen = tf.where(given["bool"], given["int32"], tf.constant(0, tf.int32))
        same = tf.identity(given["scale"])
        return twice | {"chosen": chosen, "scaled": given["float32"] * given["scale"], "same scale": same}

    module = tf.Module()
    module.serve = tf.function(serve, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


def onnx_file(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, dtype: str, *shape: int | str) -> onnx.ValueInfoProto:
        spelled = {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype, dtype.upper())
        return helper.make_tensor_value_info(name, getattr(TensorProto, spelled), shape)

    twice = [*NAMES, *FLOATS]
    nodes = [helper.make_node("Concat", [name, name], [f"twice {name}"], axis=1) for name in twice]
    nodes += [
        helper.make_node("Where", ["bool", "int32", "zero"], ["chosen"]),
        helper.make_node("Mul", ["float32", "scale"], ["scaled"]),
        helper.make_node("Identity", ["scale"], ["same scale"]),
    ]
    inputs = [value(name, name, "batch", "length") for name in twice] + [value("scale", "float32")]
    outputs = [value(f"twice {name}", name, "batch", "twice") for name in twice]
    outputs += [
        value("chosen", "int32", "batch", "length"),
        value("scaled", "float32", "batch", "length"),
        value("same scale", "float32"),
    ]
    zero = helper.make_tensor("zero", TensorProto.INT32, [], [0])
    graph = helper.make_graph(nodes, "toy", inputs, outputs, [zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "jax": ("model.jax", stablehlo),
    "stablehlo": ("model.mlir.bc", stablehlo),
    "savedmodel": ("1", savedmodel),
    "onnx": ("model.onnx", onnx_file),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("files")

    def file(runtime: str) -> Path:
        name, write = WRITERS[RUNTIMES[runtime].reads[0]]
        return folder / name if (folder / name).exists() else write(folder / name)

    return file


def check(found: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> None:
    right = expected(given)
    assert sorted(found) == sorted(right)
    for name, array in right.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_every_type_goes_in_and_comes_out_unchanged(files: Callable[[str], Path], runtime: str) -> None:
    session = RUNTIMES[runtime].adapter().load(files(runtime), "cpu")

    assert {spec.name: spec.dtype for spec in session.inputs} == {
        name: array.dtype.name for name, array in arrays(1, 1).items()
    }
    assert {spec.name: spec.shape for spec in session.inputs}["int8"] == (None, None)
    for sizes in ((2, 3), (1, 4)):
        # OpenVINO computes in 32 bits what has 64.
        given = arrays(*sizes, bits=32 if runtime == "openvino" else 64)
        check(session(given), given)
    session.place(given)()
    with pytest.raises(InputError, match=r"int8: expected int8 \(any, any\), found int16 \(1, 4\)"):
        session(given | {"int8": given["int16"]})
    with pytest.raises(InputError, match=r"expected the inputs .*scale.*, found .*float64$"):
        session({name: array for name, array in given.items() if name != "scale"})


def test_every_type_goes_to_a_worker_and_back(files: Callable[[str], Path], tmp_path: Path) -> None:
    given = arrays(3, 2)
    inputs = {}
    for name, array in given.items():
        parts = [array] if name == "scale" else [array[:1], array[1:]]
        inputs[name] = tuple(str(tmp_path / f"{name}{number}.npy") for number in range(len(parts)))
        for file, part in zip(inputs[name], parts, strict=True):
            save_array(file, part)

    answer = run_worker(Request("onnxruntime", str(files("onnxruntime")), "cpu", (Run(inputs, 1),)), tmp_path)

    check({name: load_array(file) for name, file in answer.runs[0].outputs.items()}, given)


@pytest.mark.parametrize("name", ["portable", pytest.param("iree", marks=pytest.mark.requires("iree"))])
def test_results_without_names_are_numbered(tmp_path: Path, name: str) -> None:
    import jax
    from jax import export

    shapes = [jax.ShapeDtypeStruct((2,), "float32")] * 2
    for function, outputs in (
        (lambda x, y: (x + y, x - y), ["output_0", "output_1"]),
        (lambda x, y: x * y, ["output"]),
    ):
        path = tmp_path / f"{len(outputs)}.mlir.bc"
        path.write_bytes(export.export(jax.jit(function))(*shapes).mlir_module_serialized)

        session = RUNTIMES[name].adapter().load(path, "cpu")

        assert [spec.name for spec in session.inputs] == ["input0", "input1"]
        one = np.ones(2, np.float32)
        assert list(session({"input0": one, "input1": one})) == outputs


def test_numbers_of_eight_bits_go_through_onnxruntime(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    kinds = {"float8_e4m3fn": TensorProto.FLOAT8E4M3FN, "float8_e5m2": TensorProto.FLOAT8E5M2}
    nodes = [helper.make_node("Identity", [name], [f"same {name}"]) for name in kinds]
    inputs = [helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info(f"same {name}", kind, ["n"]) for name, kind in kinds.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    given = {name: np.arange(4).astype(getattr(ml_dtypes, name)) for name in kinds}

    found = RUNTIMES["onnxruntime"].adapter().load(path, "cpu")(given)

    for name, array in given.items():
        assert found[f"same {name}"].dtype == array.dtype
        np.testing.assert_array_equal(found[f"same {name}"], array)
