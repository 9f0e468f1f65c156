"""OpenVINO Model Server's configuration: by its own schema, and by OpenVINO itself."""

from __future__ import annotations

import json
import shutil
import sys

import jsonschema
import numpy as np
import pytest

#: After the schema in the server's source, as far as layouts use it.
MODEL = {
    "type": "object",
    "required": ["name", "base_path"],
    "properties": {
        "name": {"type": "string"},
        "base_path": {"type": "string"},
        "batch_size": {"type": ["integer", "string"]},
        "shape": {"type": ["object", "string"]},
        "nireq": {"type": "integer", "minimum": 0},
        "target_device": {"type": "string"},
        "plugin_config": {"type": "object"},
        "model_version_policy": {"type": "object"},
    },
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "required": ["model_config_list"],
    "properties": {
        "model_config_list": {
            "type": "array",
            "items": {"required": ["config"], "properties": {"config": MODEL}, "additionalProperties": False},
        }
    },
    "additionalProperties": False,
}


def config_of(folder):
    given = json.loads((folder / "config.json").read_text())
    jsonschema.validate(given, SCHEMA)
    (model,) = given["model_config_list"]
    return model["config"]


def test_the_shapes_that_are_taken(laid_out) -> None:
    assert config_of(laid_out("ovms"))["shape"] == {"tokens": "(1:4,-1)", "x": "(1:4,3)", "bias": "(1:4)"}
    assert config_of(laid_out("ovms", "centred"))["shape"] == {"x": "(-1,3)"}
    folder = laid_out("ovms", "fixed")
    fixed = config_of(folder)
    assert "shape" not in fixed
    assert fixed["nireq"] == 1
    # From the configuration, wherever the folder lies.
    assert (folder / fixed["base_path"] / "1" / "model.onnx").is_file()
    assert not fixed["base_path"].startswith("/")


@pytest.mark.requires("openvino")
def test_openvino_takes_the_configuration_and_agrees(laid_out) -> None:
    from swift_export.runtimes._blocked import block_imports

    if "openvino_telemetry" not in sys.modules:
        block_imports(["openvino_telemetry"])  # it would report the use of openvino, from a fork of this process
    import openvino

    folder, core = laid_out("ovms"), openvino.Core()
    config, case = config_of(folder), json.loads((folder / "layout.json").read_text())["smoke_test"]
    model = core.read_model(folder / "models" / "pooled" / "1" / "model.onnx")
    bounds = {
        name: [tuple(map(int, dim.split(":"))) if ":" in dim else int(dim) for dim in shape.strip("()").split(",")]
        for name, shape in config["shape"].items()
    }
    model.reshape({name: openvino.PartialShape([openvino.Dimension(*d) if isinstance(d, tuple) else d for d in dims])
                   for name, dims in bounds.items()})  # fmt: skip
    compiled = core.compile_model(model, config["target_device"], config["plugin_config"])
    read = {t["name"]: np.fromfile(folder / t["file"], t["dtype"]).reshape(t["shape"])
            for t in (*case["inputs"], *case["outputs"])}  # fmt: skip
    found = compiled({tensor["name"]: read[tensor["name"]] for tensor in case["inputs"]})
    for tensor in case["outputs"]:
        np.testing.assert_allclose(found[tensor["name"]], read[tensor["name"]], rtol=1e-5)


def test_operators_of_another_runtime_are_refused(exported, tmp_path, refused) -> None:
    from swift_export.errors import UsageError
    from swift_export.serving.layouts.layout_folder import write_layout

    folder = shutil.copytree(exported("fixed"), tmp_path / "artifact")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["artifacts"]["onnx"]["details"]["target"] = "onnxruntime"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with refused("found onnxruntime's own", "--target portable", error=UsageError):
        write_layout("ovms", folder, tmp_path / "layout")
    assert not (tmp_path / "layout").exists()
