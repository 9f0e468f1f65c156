"""TensorFlow Serving's folder: its files by its own schemas, its SavedModel by its own PredictionService stubs."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from swift_export.serving.layouts.smoke_test import main

pytestmark = [pytest.mark.requires("savedmodel"), pytest.mark.requires("serving")]

ROOT = Path(__file__).resolve().parents[3]
#: Messages of TensorFlow Serving whose classes come in no package, after session_bundle_config.proto and
#: monitoring_config.proto: number and type of each field.
WRAPPED = ".google.protobuf.Int64Value"
MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": (1, WRAPPED),
        "batch_timeout_micros": (2, WRAPPED),
        "max_enqueued_batches": (3, WRAPPED),
        "num_batch_threads": (4, WRAPPED),
        "thread_pool_name": (5, ".google.protobuf.StringValue"),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, ".layouts.PrometheusConfig")},
}


@pytest.fixture(scope="module")
def parse():
    """Parses text as one of the messages."""
    file = descriptor_pb2.FileDescriptorProto(name="layouts.proto", package="layouts", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = kinds.LABEL_REPEATED if kind.startswith("repeated ") else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind.startswith("."):
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind
            else:
                added.type = getattr(kinds, f"TYPE_{kind.removeprefix('repeated ').upper()}")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())

    def parse(message: str, path: Path):
        found = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"layouts.{message}"))
        return text_format.Parse(path.read_text(), found())

    return parse


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The layout of a SavedModel whose only unknown dimension is the batch."""
    import swift_export
    from swift_export.serving.layouts.layout_folder import write_layout
    from swift_export.serving.layouts.servable import Batching

    folder = tmp_path_factory.mktemp("plain")
    swift_export.export(
        lambda weights, x: (x * 2, x.sum(1)),
        {"x": ("batch", 3)},
        folder / "artifact",
        name="plain",
        weights={},
        outputs=("twice", "sum"),
        formats="savedmodel",
        check=False,
    )
    write_layout("tfserving", folder / "artifact", folder / "layout", batching=Batching(6, 1.5), instances=2)
    return folder / "layout"


def test_the_files_mean_what_they_should(plain, parse) -> None:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    (model,) = text_format.Parse((plain / "models.config").read_text(), ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("plain", "/layout/models/plain", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1
    assert (plain / "models/plain/1/saved_model.pb").is_file()

    batching = parse("BatchingParameters", plain / "batching_parameters.txt")
    assert (batching.max_batch_size.value, batching.batch_timeout_micros.value) == (6, 1500)
    assert batching.num_batch_threads.value == 2
    # In increasing order, the last one the largest batch.
    assert list(batching.allowed_batch_sizes) == [1, 2, 4, 6]
    monitoring = parse("MonitoringConfig", plain / "monitoring.config")
    assert monitoring.prometheus_config.enable
    for file in ("models.config", "batching_parameters.txt", "monitoring.config"):
        assert f"=/layout/{file}" in (plain / "README.md").read_text()


def test_the_stubs_agree_with_the_saved_model(plain, load_module, monkeypatch, capsys, tmp_path) -> None:
    import grpc
    from tensorflow_serving.apis.prediction_service_pb2_grpc import add_PredictionServiceServicer_to_server

    monkeypatch.setattr("swift_export.serving.layouts.smoke_test.HERE", plain)
    stand_in = load_module(ROOT / "tests/runtimes/model_server.py")
    server = grpc.server(ThreadPoolExecutor(1))
    predictions = stand_in.Predictions("plain", plain / "models/plain/1")
    add_PredictionServiceServicer_to_server(predictions, server)
    url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        assert main(["--url", url]) == 0
        assert "\nagrees with the outputs of TensorFlow" in capsys.readouterr().out
        predictions.name = "another"
        assert main(["--url", url]) == 2
        assert "Servable not found for request: plain" in capsys.readouterr().err
        predictions.name = "plain"
        wrong = shutil.copytree(plain, tmp_path / "wrong")
        (wrong / "smoke" / "output0").write_bytes(bytes(12))
        monkeypatch.setattr("swift_export.serving.layouts.smoke_test.HERE", wrong)
        assert main(["--url", url]) == 1
    finally:
        server.stop(None).wait()
