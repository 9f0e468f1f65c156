"""Triton's model repository: by Triton's own schema, and by its own clients against a stand-in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from swift_export.serving.layouts.smoke_test import main

pytestmark = pytest.mark.requires("tritonclient")


@pytest.fixture(scope="module")
def server(load_module):
    return load_module(Path(__file__).with_name("oip_server.py"))


def dims(tensors) -> dict[str, tuple[str, list[int], bool]]:
    return {t.name: (t.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[t.data_type].name,
                     list(t.dims), t.HasField("reshape")) for t in tensors}  # fmt: skip


def test_a_batch_is_combined_of_independent_items(server, laid_out) -> None:
    model = laid_out("triton") / "models" / "pooled"
    config = server.read_config(model / "config.pbtxt")

    assert (config.name, config.backend, config.max_batch_size) == ("pooled", "onnxruntime", 4)
    assert dims(config.input) == {
        "tokens": ("TYPE_INT32", [-1], False),
        "x": ("TYPE_FP32", [3], False),
        "bias": ("TYPE_FP32", [1], True),
    }
    assert dims(config.output) == {
        "score": ("TYPE_FP32", [3], False),
        "best": ("TYPE_INT32", [1], True),
        "total": ("TYPE_FP32", [1], True),
    }
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4]
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    assert config.version_policy.latest.num_versions == 1
    (warmup,) = config.model_warmup
    assert warmup.batch_size == 1
    for name, sample in warmup.inputs.items():
        data = model / "warmup" / sample.input_data_file
        assert np.prod(sample.dims) * 4 == data.stat().st_size, name


@pytest.mark.parametrize(("name", "why"), [("fixed", "no batch of unknown size"), ("centred", "affect each other")])
def test_others_are_not_combined(server, laid_out, name, why) -> None:
    folder = laid_out("triton", name)
    text = (folder / "models" / name / "config.pbtxt").read_text()
    config = server.read_config(folder / "models" / name / "config.pbtxt")

    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert not any(tensor.HasField("reshape") for tensor in (*config.input, *config.output))
    assert why in text
    assert why in (folder / "README.md").read_text()


def test_the_options_for_tensorrt_are_ready_to_use(server, laid_out, artifact, tmp_path) -> None:
    from swift_export.serving.layouts.layout_folder import write_layout
    from swift_export.serving.layouts.servable import Batching

    write_layout("triton", artifact, tmp_path / "layout", name="swift", batching=Batching(8, 2.5), instances=2)
    path = tmp_path / "layout" / "models" / "swift" / "config.pbtxt"
    assert not server.read_config(path).optimization.execution_accelerators.gpu_execution_accelerator
    start = path.read_text().index("# optimization")
    path.write_text(path.read_text()[:start] + re.sub("^# ", "", path.read_text()[start:], flags=re.MULTILINE))

    config = server.read_config(path)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    shape = "x".join(map(str, config.input[0].dims))
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["trt_profile_min_shapes"] == f"bold:1x{shape}"
    assert accelerator.parameters["trt_profile_max_shapes"] == f"bold:8x{shape}"
    assert (config.instance_group[0].count, config.dynamic_batching.max_queue_delay_microseconds) == (2, 2500)
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4, 8]


@pytest.mark.parametrize("name", ["pooled", "fixed"])
def test_stock_clients_agree_with_the_served_model(server, laid_out, name, tmp_path, monkeypatch, capsys) -> None:
    folder = laid_out("triton", name)
    monkeypatch.setattr("swift_export.serving.layouts.smoke_test.HERE", folder)
    with server.serving(folder / "models") as (served, urls):
        for protocol, url in urls.items():
            assert main(["--protocol", protocol, "--url", url]) == 0
            assert "\nagrees with the outputs of " in capsys.readouterr().out
        # A wrong model is seen, unless the user allows as much.
        served.off = 0.05
        assert main(["--url", urls["http"]]) == 1
        assert "\ndoes not agree with" in capsys.readouterr().out
        assert main(["--url", urls["http"], "--tolerance", "0.5"]) == 0
    assert main(["--url", urls["grpc"], "--protocol", "grpc"]) == 2
    assert capsys.readouterr().err.startswith("no answer from 127.0.0.1:")


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl, absent here")
def test_the_readmes_curl_command_works(server, laid_out, tmp_path) -> None:
    folder = shutil.copytree(laid_out("triton"), tmp_path / "layout")
    (command,) = re.findall(r"^    (cat .*\n.*curl .*)$", (folder / "README.md").read_text(), re.MULTILINE)
    with server.serving(folder / "models") as (_, urls):
        subprocess.run(
            ["sh", "-ec", command.replace("localhost:8000", urls["http"])], cwd=folder, check=True, timeout=60
        )
    answer = json.loads((folder / "answer.json").read_text())
    case = json.loads((folder / "layout.json").read_text())["smoke_test"]
    for found, wanted in zip(answer["outputs"], case["outputs"], strict=True):
        expected = np.fromfile(folder / wanted["file"], wanted["dtype"])
        np.testing.assert_allclose(found["data"], expected, rtol=1e-5)
    # Real Triton parses a body as a form if curl says that it is one.
    assert 'Content-Type: application/octet-stream"' in command


def test_the_twin_for_the_real_server_differs_in_its_backend_alone(server, laid_out, load_module, tmp_path) -> None:
    check = load_module(Path(__file__).parents[3] / "scripts" / "_check_triton.py")
    folder = laid_out("triton")
    twin = check.twin(folder, "pooled", tmp_path) / "pooled"

    ours, config = (server.read_config(path / "config.pbtxt") for path in (folder / "models/pooled", twin))
    assert config.backend == "python"
    config.backend, config.default_model_filename = ours.backend, ours.default_model_filename
    assert config == ours
    compile((twin / "1" / "model.py").read_text(), "model.py", "exec")
