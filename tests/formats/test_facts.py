"""Signatures of files with several inputs and outputs, of several types, with unknown dimensions by their names."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import onnx
import pytest
from jax import export

from swift_export.formats.argument_names import SIGNATURE_KEY
from swift_export.formats.onnx import read_onnx
from swift_export.formats.signature import Signature, TensorSpec
from swift_export.formats.stablehlo import read_exported, read_portable
from swift_export.lowering.portable import portable

INPUTS = (TensorSpec("tokens", "int32", ("rows", "length")), TensorSpec("x", "bfloat16", ("rows", 4)))
OUTPUTS = (
    TensorSpec("longer/by-2", "int32", ("rows", "length + 2")),
    TensorSpec("mask", "bool", ("rows", "length")),
    TensorSpec("y.0", "bfloat16", ("rows", 4)),
)
SIGNATURE = Signature(INPUTS, OUTPUTS)


def stated(inputs: tuple[TensorSpec, ...] = INPUTS) -> dict[str, str]:
    sides = {"inputs": inputs, "outputs": OUTPUTS}
    written = {
        side: [{"name": s.name, "dtype": s.dtype, "dims": list(s.dims)} for s in specs] for side, specs in sides.items()
    }
    return {SIGNATURE_KEY: json.dumps(written)}


@pytest.fixture(scope="module")
def exported() -> export.Exported:
    def function(tokens, x):
        return {"longer/by-2": jnp.pad(tokens, ((0, 0), (1, 1))), "mask": tokens > 0, "y.0": x * 2}

    rows, length = export.symbolic_shape("rows, length")
    arguments = jax.ShapeDtypeStruct((rows, length), jnp.int32), jax.ShapeDtypeStruct((rows, 4), jnp.bfloat16)
    return export.export(jax.jit(function))(*arguments)


def test_jax_export_files(exported: export.Exported, tmp_path: Path) -> None:
    path = tmp_path / "model.jax"
    path.write_bytes(exported.serialize())
    found = read_exported(path).signature
    assert found is not None
    assert [spec.name for spec in found.inputs] == ["input0", "input1"]
    assert found.outputs == OUTPUTS


def test_portable_files_by_what_they_state(exported: export.Exported, tmp_path: Path) -> None:
    path = tmp_path / "model.mlir.bc"
    path.write_bytes(portable(exported.mlir_module_serialized, stated()))
    assert read_portable(path).signature == SIGNATURE
    path.write_bytes(portable(exported.mlir_module_serialized, {}))
    assert read_portable(path).signature == Signature(
        (TensorSpec("input0", "int32", ("batch", "?")), TensorSpec("input1", "bfloat16", ("batch", 4))),
        (
            TensorSpec("longer/by-2", "int32", ("batch", "?")),
            TensorSpec("mask", "bool", ("batch", "?")),
            TensorSpec("y.0", "bfloat16", ("batch", 4)),
        ),
    )


def test_onnx_files(tmp_path: Path) -> None:
    kinds = {"int32": onnx.TensorProto.INT32, "bfloat16": onnx.TensorProto.BFLOAT16, "bool": onnx.TensorProto.BOOL}
    ends = [
        [onnx.helper.make_tensor_value_info(s.name, kinds[s.dtype], list(s.dims)) for s in side]
        for side in (INPUTS, OUTPUTS)
    ]
    nodes = [onnx.helper.make_node("Identity", ["x"], [spec.name]) for spec in OUTPUTS]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", *ends)), tmp_path / "model.onnx")
    assert read_onnx(tmp_path / "model.onnx").signature == SIGNATURE


@pytest.mark.requires("savedmodel")
def test_savedmodels_by_what_they_state(tmp_path: Path) -> None:
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    from swift_export.formats.savedmodel import read_savedmodel

    saved = saved_model_pb2.SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    serving = graph.signature_def["serving_default"]
    for side, specs in ((serving.inputs, INPUTS), (serving.outputs, OUTPUTS)):
        for spec in specs:
            side[spec.name].dtype = types_pb2.DataType.Value(f"DT_{spec.dtype.upper()}")
            for dim in spec.dims:
                side[spec.name].tensor_shape.dim.add().size = dim if isinstance(dim, int) else -1
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "swift_export.json").write_text(json.dumps(stated()))
    assert read_savedmodel(tmp_path).signature == SIGNATURE
    # TensorFlow sorts them by name.
    (assets / "swift_export.json").write_text(json.dumps(stated(INPUTS[::-1])))
    assert read_savedmodel(tmp_path).signature == Signature(INPUTS[::-1], OUTPUTS)
    (assets / "swift_export.json").unlink()
    found = read_savedmodel(tmp_path).signature
    assert found is not None
    assert found.inputs == (TensorSpec("tokens", "int32", ("batch", "?")), TensorSpec("x", "bfloat16", ("batch", 4)))
