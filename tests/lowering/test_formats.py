"""Written files: the same computation in every format, the golden features, and nothing about this machine."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import export

from swift_export.converter.mlir import functions, main_function, read_module
from swift_export.converter.opsets import TARGETS
from swift_export.errors import ArchitectureError, UsageError, WeightsError
from swift_export.lowering.lower import Lowered, lower_closed, lower_open
from swift_export.lowering.onnx_file import write_onnx
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.lowering.savedmodel import write_savedmodel
from swift_export.lowering.stablehlo import write_stablehlo
from swift_export.models import Model
from swift_export.models.swift.backbone import SwiFT, parameter_shapes
from swift_export.models.swift.settings import ATTENTION, SwiFTSettings
from swift_export.models.swift.swift_model import swift_model

sys.path.insert(0, str(Path(__file__).parent))
from cases import LIMITS, TINY, clip, features, frames, relative_error, weights


def ort(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])


@cache
def lowered(name: str, settings: SwiFTSettings) -> tuple[Model, Lowered]:
    model = swift_model(weights(name), settings)
    return model, lower_open(model)


def write(name: str, path: Path, onnx: OnnxSettings | None = None, **settings: Any) -> None:
    """The ONNX file of a case, which is lowered once for all of the same settings."""
    model, module = lowered(name, SwiFTSettings(**settings))
    write_onnx(model, path, onnx, module)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", TINY)
def test_onnx_gives_the_golden_features(name: str, attention: str, target: str, tmp_path: Path) -> None:
    write(name, tmp_path, OnnxSettings(target=target), frames=frames(name), attention=attention)
    (found,) = ort(tmp_path).run(["features"], {"bold": clip(name)})
    assert relative_error(found, features(name)) <= LIMITS.get(name, 2e-6)
    domains = {opset.domain for opset in onnx.load(tmp_path / "onnx" / "model.onnx").opset_import}
    assert domains == {""} | ({"com.microsoft"} if target == "onnxruntime" else set())


@pytest.mark.parametrize("name", ["tiny-windowed", "sharp"])
def test_every_file_tells_the_form_of_each_block(name: str, tmp_path: Path) -> None:
    w = weights(name)
    for attention in ATTENTION:
        model = swift_model(w, SwiFTSettings(attention=attention))
        write_onnx(model, tmp_path / attention)
        write_stablehlo(model, tmp_path / attention)
        props = {p.key: p.value for p in onnx.load(tmp_path / attention / "onnx" / "model.onnx").metadata_props}
        module = read_module((tmp_path / attention / "stablehlo" / "model.mlir.bc").read_bytes())
        facts = json.loads(module.operation.attributes["swift_export.metadata"].value)
        assert facts["swift_export.attention"] == props["swift_export.attention"]
        told = json.loads(props["swift_export.attention"])
        shifted = {f"stage{i}/block1" for i in range(3) if w.config.window_plan(i, 1).shifted}
        assert set(told) == shifted
        for form in told.values():
            assert (form["form"] == "regions") == (attention == "auto" and form["excess"] <= form["limit"])
        # The bound of the second stage of `sharp` passes the limit.
        regions = shifted - ({"stage1/block1"} if name == "sharp" else set()) if attention == "auto" else set()
        assert {place for place, form in told.items() if form["form"] == "regions"} == regions


@pytest.mark.requires("savedmodel")
@pytest.mark.parametrize("name", ["tiny-windowed", "tiny-padded"])
def test_the_long_road_leads_to_the_same_graph(name: str, tmp_path: Path) -> None:
    model = swift_model(weights(name), SwiFTSettings(frames=frames(name), outputs=("stage0", "features")))
    write_onnx(model, tmp_path / "short")
    write_onnx(model, tmp_path / "long", OnnxSettings(via="savedmodel"))
    short, long = (onnx.load(tmp_path / p / "onnx" / "model.onnx").graph for p in ("short", "long"))
    assert sorted(n.SerializeToString() for n in short.node) == sorted(n.SerializeToString() for n in long.node)
    assert sorted(v.SerializeToString() for v in short.initializer) == sorted(
        v.SerializeToString() for v in long.initializer
    )
    assert [v.name for v in short.output] == [v.name for v in long.output] == ["stage0", "features"]
    (found,) = ort(tmp_path / "long").run(["features"], {"bold": clip(name)})
    assert relative_error(found, features(name)) <= 2e-6


@pytest.mark.requires("savedmodel")
def test_tf2onnx_is_left_as_it_was_found(tmp_path: Path) -> None:
    from tf2onnx import handler, tf_utils, tfonnx

    assert tfonnx, "importing it registers all handlers"

    def state() -> tuple[Any, ...]:
        registry = handler.tf_op
        return set(tf_utils.TF_IGNORED_NODE_ATTRS), {d: list(v) for d, v in registry._OPSETS.items()}, registry._MAPPING

    before = state()
    write_onnx(swift_model(weights("tiny-windowed")), tmp_path, OnnxSettings(via="savedmodel"))
    assert state() == before


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("target", TARGETS)
def test_initializers_are_the_checkpoints_tensors(target: str, attention: str, tmp_path: Path) -> None:
    w = weights("tiny-windowed")
    write("tiny-windowed", tmp_path, OnnxSettings(target=target), frames=frames("tiny-windowed"), attention=attention)
    stored = {
        i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(tmp_path / "onnx" / "model.onnx").graph.initializer
    }
    parts: dict[str, dict[tuple[int, int], np.ndarray]] = {}
    for name, array in stored.items():
        if part := re.fullmatch(r"(.+)\[(\d+):(\d+)\]", name):
            parts.setdefault(part[1], {})[int(part[2]), int(part[3])] = array
    for name in parameter_shapes(w.config):
        if name not in stored:
            # Of queries, keys and values each has its own rows, and says which.
            assert ".attn.qkv." in name
            found = [w.tensors[name][slice(*rows)] for rows in sorted(parts[name])]
            np.testing.assert_array_equal(np.concatenate(found), w.tensors[name])
            for rows, array in parts[name].items():
                np.testing.assert_array_equal(array, w.tensors[name][slice(*rows)])
        else:
            np.testing.assert_array_equal(stored[name], w.tensors[name])
    assert set(parts) <= set(parameter_shapes(w.config)) - set(stored)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("target", TARGETS)
def test_names_types_and_metadata(target: str, attention: str, tmp_path: Path) -> None:
    w = weights("tiny-windowed")
    outputs = ("features", "stage0", "stage1", "stage2")
    write("tiny-windowed", tmp_path, OnnxSettings(target=target), outputs=outputs, attention=attention)
    model = onnx.load(tmp_path / "onnx" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    own = {"com.microsoft": 1} if target == "onnxruntime" else {}
    assert {o.domain: o.version for o in model.opset_import} == {"": 20} | own
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "bold": ["batch", 1, 48, 48, 48, 8],
        "features": ["batch", 48, 2, 2, 2, 8],
        "stage0": ["batch", 24, 4, 4, 4, 8],
        "stage1": ["batch", 48, 2, 2, 2, 8],
        "stage2": ["batch", 48, 2, 2, 2, 8],
    }
    made = {o for node in model.graph.node for o in node.output}
    assert {f"stage{i}/block{j}/output" for i in range(3) for j in range(2)} <= made
    typed = {v.name: v for v in (*model.graph.value_info, *model.graph.output)}
    for name in made:
        kind = typed[name].type.tensor_type
        assert kind.elem_type
        assert all(d.dim_param or d.dim_value for d in kind.shape.dim)
    in_blocks = re.compile(
        r"(patch_embed|features|stage\d(/(embedding|mask|map|merging|block\d/(norm1|attention|norm2|mlp|output)))?)/\w+$"
    )
    assert [n.name for n in model.graph.node if not in_blocks.match(n.name)] == []
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["swift_export.weights_sha256"] == w.digest
    assert json.loads(facts["swift_export.architecture"]) == w.config.to_dict()
    assert facts["licence"] == "Apache-2.0"


def test_every_output_that_can_be_asked_for(tmp_path: Path) -> None:
    w = weights("tiny-full")
    names = ("stage1", "features", "stage0", "stage2")
    write_onnx(swift_model(w, SwiFTSettings(outputs=names)), tmp_path)
    session = ort(tmp_path)
    assert [o.name for o in session.get_outputs()] == list(names)
    expected = eqx.filter_jit(SwiFT.from_weights(w).named_outputs)(clip("tiny-full"), names)
    for name, found in zip(names, session.run(None, {"bold": clip("tiny-full")}), strict=True):
        assert relative_error(found, np.asarray(expected[name])) <= 2e-6


def test_embeddings(tmp_path: Path) -> None:
    write_onnx(swift_model(weights("tiny-full"), SwiFTSettings(output_kind="embedding")), tmp_path)
    (found,) = ort(tmp_path).run(None, {"bold": clip("tiny-full")})
    assert relative_error(found, features("tiny-full").mean((2, 3, 4, 5))) <= 2e-6


@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_every_opset(opset: int, tmp_path: Path) -> None:
    write("tiny-windowed", tmp_path, OnnxSettings(opset=opset))
    model = onnx.load(tmp_path / "onnx" / "model.onnx")
    assert model.opset_import[0].version == opset
    assert sum(n.op_type == "Gelu" for n in model.graph.node) == (6 if opset >= 20 else 0)
    (found,) = ort(tmp_path).run(None, {"bold": clip("tiny-windowed")})
    assert relative_error(found, features("tiny-windowed")) <= 2e-6


def test_wrong_clips_are_errors_at_run_time(tmp_path: Path) -> None:
    write("tiny-windowed", tmp_path)
    session, bold = ort(tmp_path), clip("tiny-windowed")
    for wrong in (bold[0], np.moveaxis(bold, 1, -1), bold[..., :4], bold.astype(np.float64), bold.astype(np.int16)):
        with pytest.raises(Exception, match=r"(?i)invalid|unexpected|rank|dimension"):
            session.run(None, {"bold": wrong})


def test_static_batch_and_fewer_frames(tmp_path: Path) -> None:
    w, bold = weights("tiny-windowed"), clip("tiny-windowed")[..., :5]
    model = swift_model(w, SwiFTSettings(batch=2, frames=5))
    write_onnx(model, tmp_path)
    session = ort(tmp_path)
    assert session.get_inputs()[0].shape == [2, 1, 48, 48, 48, 5]
    both = np.concatenate([bold, bold[::-1] * 2])
    (found,) = session.run(None, {"bold": both})
    assert relative_error(found, np.asarray(eqx.filter_jit(SwiFT.from_weights(w))(both))) <= 2e-6
    write_stablehlo(model, tmp_path)
    exported = export.deserialize((tmp_path / "stablehlo" / "model.jax").read_bytes())
    assert exported.in_avals[0].shape == (2, 1, 48, 48, 48, 5)


def ops(region: Any, inner: dict[str, Any]) -> Iterator[str]:
    """Ops of a module in the order in which they run on the CPU; calls in place, constants left out."""
    for op in region.blocks[0].operations:
        name = op.operation.name
        if name == "func.call":
            yield from ops(inner[op.attributes["callee"].value].regions[0], inner)
        elif name == "stablehlo.case":
            # Modules for several platforms: the first branch is the CPU's.
            yield from ops(op.regions[0], inner)
        elif "mhlo.erf" in str(op.attributes.get("call_target_name")) or "chlo.erf" in str(op.attributes.get("name")):
            yield f"erf {[str(r.type) for r in op.results]}"
        elif name not in ("stablehlo.constant", "func.return", "stablehlo.return", "stablehlo.custom_call"):
            attributes = {k: str(op.attributes[k]) for k in op.attributes if k != "decomposition"}
            body = [o.operation.name for r in op.regions for o in r.blocks[0].operations]
            yield f"{name} {attributes} {[str(r.type) for r in op.results]} {body}"


def op_sequence(source: bytes) -> list[str]:
    module = read_module(source)
    return list(ops(main_function(module).regions[0], functions(module)))


def test_open_and_closed_modules_run_the_same_ops() -> None:
    model = swift_model(weights("tiny-padded"))
    sequence = op_sequence(lower_open(model).module)
    assert len(sequence) > 300
    assert op_sequence(lower_closed(model).module) == sequence
    assert op_sequence(lower_closed(model, platforms=("cpu", "cuda")).module) == sequence


@pytest.mark.requires("savedmodel")
def test_the_savedmodel_holds_the_same_ops_once(tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    padded = swift_model(weights("tiny-padded"))
    write_savedmodel(padded, tmp_path)
    model = saved_model_pb2.SavedModel.FromString((tmp_path / "savedmodel" / "1" / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0].graph_def
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    (call,) = [n for n in nodes if n.op == "XlaCallModule"]
    # TensorFlow's StableHLO is older than jax's: the module inside must not be newer.
    assert b"StableHLO_v1.8.0" in call.attr["module"].s
    assert op_sequence(call.attr["module"].s) == op_sequence(lower_open(padded).module)


def test_no_file_tells_where_it_was_made_and_two_exports_are_one(tmp_path: Path) -> None:
    model = swift_model(weights("tiny-padded"))
    here = [str(Path(__file__).parents[2]).encode(), str(tmp_path).encode(), b"/site-packages/"]
    for run in ("a", "b"):
        # Tracing anew: what jax remembers of the first lowering must not be what makes the second equal.
        jax.clear_caches()
        write_stablehlo(model, tmp_path / run)
        write_onnx(model, tmp_path / run)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*") if p.is_file()]
    assert len(files) == 4
    for path in files:
        content = (tmp_path / "a" / path).read_bytes()
        assert content == (tmp_path / "b" / path).read_bytes()
        assert not any(place in content for place in here)


@pytest.mark.requires("savedmodel")
def test_the_savedmodel_tells_nothing_of_this_machine(tmp_path: Path) -> None:
    write_savedmodel(swift_model(weights("tiny-padded")), tmp_path)
    here = [str(Path(__file__).parents[2]).encode(), str(tmp_path).encode(), b"/site-packages/"]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or not any(place in path.read_bytes() for place in here)
    facts = json.loads((tmp_path / "savedmodel" / "1" / "assets" / "swift_export.json").read_text())
    assert facts["licence"] == "Apache-2.0"


def test_stablehlo_files_carry_their_origin_and_precision(tmp_path: Path) -> None:
    w = weights("tiny-padded")
    write_stablehlo(swift_model(w), tmp_path)
    for name in ("model.mlir.bc", "model.b1.mlir.bc"):
        module = read_module((tmp_path / "stablehlo" / name).read_bytes())
        facts = json.loads(module.operation.attributes["swift_export.metadata"].value)
        assert facts["swift_export.weights_sha256"] == w.digest
        main = main_function(module)
        assert len(main.regions[0].blocks[0].arguments) == 1
        assert "HIGHEST" in str(module)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"batch": 0}, UsageError),
        ({"frames": 9}, ArchitectureError),
        ({"frames": 0}, ArchitectureError),
        ({"outputs": ("features", "stage7")}, UsageError),
        ({"outputs": ()}, UsageError),
        ({"outputs": ("features", "features")}, UsageError),
        ({"output_kind": "tokens"}, UsageError),
        ({"output_kind": "logits"}, WeightsError),
        ({"attention": "none"}, UsageError),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        swift_model(weights("tiny-padded"), SwiFTSettings(**change))


@pytest.mark.parametrize("change", [{"opset": 12}, {"target": "openvino"}, {"via": "torch"}])
def test_choices_about_the_onnx_file_that_cannot_be(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_onnx(swift_model(weights("tiny-padded")), tmp_path, OnnxSettings(**change))
    assert list(tmp_path.iterdir()) == []
