"""ONNX files in one piece and in two: bytes, places of the weights, and places that no file may name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime
import pytest

from swift_export.errors import LoweringError
from swift_export.formats.onnx import read_onnx
from swift_export.formats.onnx_writing import data_of, write_model

rng = np.random.default_rng(0)
#: Of every kind that is written on its own, and some that stay in the model.
WEIGHTS = {
    "matrix": rng.standard_normal((600, 500), np.float32),
    "turned": rng.standard_normal((30, 40), np.float32).T,
    "flags": rng.integers(0, 2, 1031).astype(bool),
    "short": rng.standard_normal((40, 20)).astype(ml_dtypes.bfloat16),
    "bits": rng.integers(-8, 8, 4099).astype(ml_dtypes.int4),
    "few": np.arange(3, dtype=np.int64),
    "none": np.zeros((0, 4), np.float32),
}


def model() -> oir.Model:
    """It returns each weight as an output, but those that ONNX Runtime cannot copy."""
    graph = oir.Graph([], [], nodes=[], name="g", opset_imports={"": 21})
    for name, array in WEIGHTS.items():
        value = oir.val(name, oir.DataType.from_numpy(array.dtype), array.shape)
        value.const_value = oir.tensor(array, name=name)
        graph.register_initializer(value)
        if name == "bits":
            continue
        output = oir.val(f"{name}_output", value.dtype, array.shape)
        graph.append(oir.node("Identity", [value], outputs=[output]))
        graph.outputs.append(output)
    return oir.Model(graph, ir_version=10, metadata_props={"key": "value"}, doc_string="what it is")


def test_one_piece_is_the_plain_message(tmp_path: Path) -> None:
    made, path = model(), tmp_path / "model.onnx"
    plain = oir.to_proto(made).SerializeToString(deterministic=True)
    assert write_model(made, path, limit=len(plain)) is None
    assert path.read_bytes() == plain
    assert oir.to_proto(made).SerializeToString(deterministic=True) == plain, "writing has changed the model"
    assert write_model(made, path, limit=len(plain) - 1)


def test_two_pieces_hold_the_same_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    data = write_model(model(), path, limit=4000)
    assert data
    assert data_of(path) == [data]
    assert data.name == f"model.{hashlib.sha256(data.read_bytes()).hexdigest()[:16]}.data"
    assert path.stat().st_size < 4000
    places = {
        t.name: {e.key: e.value for e in t.external_data}
        for t in onnx.load(path, load_external_data=False).graph.initializer
    }
    assert {name for name, place in places.items() if place} == {"matrix", "turned", "flags", "short", "bits"}
    offsets = {name: int(place["offset"]) for name, place in places.items() if place}
    assert offsets["matrix"] % 65536 == 0
    assert all(offset % 64 == 0 for offset in offsets.values())
    stored = oir.load(path).graph.initializers
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(stored[name].const_value.numpy(), array)
    found = onnxruntime.InferenceSession(path).run(["matrix_output", "turned_output", "flags_output"], {})
    for name, array in zip(("matrix", "turned", "flags"), found, strict=True):
        np.testing.assert_array_equal(array, WEIGHTS[name])
    facts = read_onnx(path).details
    assert facts["data_files"] == {data.name: data.stat().st_size}
    assert facts["initializer_bytes"] == read_onnx_bytes(tmp_path)
    content = path.read_bytes()
    assert write_model(model(), path, limit=4000) == data
    assert path.read_bytes() == content
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert write_model(oir.load(path), elsewhere / "joined.onnx") is None
    assert (elsewhere / "joined.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


def read_onnx_bytes(folder: Path) -> int:
    whole = folder / "whole.onnx"
    write_model(model(), whole)
    assert data_of(whole) == []
    size = read_onnx(whole).details["initializer_bytes"]
    assert isinstance(size, int)
    return size


def test_a_graph_beyond_the_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(LoweringError, match=r"graph: expected at most 0.00 GB without its weights, .* found 0.00 GB"):
        write_model(model(), tmp_path / "model.onnx", limit=100)
    assert list(tmp_path.iterdir()) == []


PLACES = {
    "../weights": "expected its elements in a file beside the model, found the path ../weights",
    "/etc/passwd": "found the path /etc/passwd",
    "folder/weights": "found the path folder/weights",
    "folder\\weights": "found the path",
    "..": "found the path ..",
    "": "found the path",
    "link": "expected its elements in a plain file beside the model, found the link link",
    "absent": "its file absent is missing beside the model; copy it there, too",
    "short": "expected 1200000 bytes at 0 in short, found a file of 9; copy it again",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("inside", [False, True])
def test_weights_elsewhere_are_refused(place: str, inside: bool, tmp_path: Path) -> None:
    """Also where they are deep in the file."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "short").write_bytes(b"too short")
    (tmp_path / "weights").write_bytes(bytes(WEIGHTS["matrix"].nbytes))
    (folder / "link").symlink_to(tmp_path / "weights")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[600, 500], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", place), ("offset", "0"), ("length", str(WEIGHTS["matrix"].nbytes))):
        tensor.external_data.add(key=key, value=value)
    graph = onnx.GraphProto(name="g", initializer=[tensor])
    if inside:
        branch = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["y"], value=tensor)], "branch", [], [])
        graph = onnx.GraphProto(name="g", node=[onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch)])
    onnx.save(onnx.helper.make_model(graph), path := folder / "model.onnx")
    with pytest.raises(ValueError, match="tensor w: ") as refused:
        read_onnx(path)
    assert PLACES[place] in str(refused.value)
