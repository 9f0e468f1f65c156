"""A worker writes only into its folder, for any names of outputs in the artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from swift_export.runtimes.base import LoadError
from swift_export.runtimes.messages import Request, Run
from swift_export.runtimes.process import run_worker


def model(path: Path, nodes: list[onnx.NodeProto], outputs: dict[str, int]) -> Path:
    """An ONNX file that takes `bold`; ``outputs`` are names and element types."""
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("bold", TensorProto.FLOAT, ("batch", 2))],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> str:
    np.save(tmp_path / "clip.npy", np.float32([[1, 2]]))
    return str(tmp_path / "clip.npy")


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path: Path, clip: str) -> None:
    names = ("../../escaped", str(tmp_path / "absolute"), "a/b", "features", "0", "x" * 300)
    nodes = [helper.make_node("Mul", ["bold", "bold"], [name]) for name in names]
    path = model(tmp_path / "model.onnx", nodes, dict.fromkeys(names, TensorProto.FLOAT))
    folder = tmp_path / "deep" / "worker"
    folder.mkdir(parents=True)

    answer = run_worker(Request("onnxruntime", str(path), "cpu", (Run({"bold": (clip,)}),)), folder)

    (run,) = answer.runs
    assert set(run.outputs) == set(names)
    for file in run.outputs.values():
        assert Path(file).resolve().is_relative_to(folder)
        np.testing.assert_array_equal(np.load(file), [[1, 4]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.npy", "deep", "model.onnx"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["worker"]


def test_an_output_that_is_no_array_of_numbers_is_refused(tmp_path: Path, clip: str) -> None:
    text = helper.make_node("Cast", ["bold"], ["text"], to=TensorProto.STRING)
    path = model(tmp_path / "model.onnx", [text], {"text": TensorProto.STRING})
    with pytest.raises(LoadError, match=r"model\.onnx: output text: expected an array of numbers, found object"):
        run_worker(Request("onnxruntime", str(path), "cpu", (Run({"bold": (clip,)}),)), tmp_path)


@pytest.mark.requires("savedmodel")
@pytest.mark.parametrize("place", ["x:0 float32 /elsewhere 1", "x:0\nget 0 /elsewhere", ""])
def test_a_savedmodels_names_in_its_graph_are_words(tmp_path: Path, place: str) -> None:
    """They are told to the C program line by line, with the names of files among them."""
    from tensorflow.core.protobuf import saved_model_pb2

    from swift_export.runtimes._serving_signature import read_signature

    saved = saved_model_pb2.SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    signature = graph.signature_def["serving_default"]
    signature.inputs["bold"].name = "serving_default_bold:0"
    signature.outputs["features"].name = "StatefulPartitionedCall:0"
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert read_signature(tmp_path).places["features"] == "StatefulPartitionedCall:0"
    signature.outputs["features"].name = place
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(ValueError, match="features: expected the name of a tensor in the graph"):
        read_signature(tmp_path)
