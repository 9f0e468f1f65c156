"""Stands in for ``tensorflow_model_server``, of which no package exists: its flags, its services, its way of failing.

The services are TensorFlow Serving's own, by its published stubs; the SavedModel runs in TensorFlow.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)


class Models(ModelServiceServicer):
    def __init__(self, name: str, version: int) -> None:
        self.name, self.version = name, version

    def GetModelStatus(self, request, context):  # noqa: N802 - the service's name
        if request.model_spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {request.model_spec.name}")
        status = ModelVersionStatus(version=self.version, state=ModelVersionStatus.AVAILABLE)
        return GetModelStatusResponse(model_version_status=[status])


class Predictions(PredictionServiceServicer):
    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.model = tf.saved_model.load(str(folder))

    def Predict(self, request, context):  # noqa: N802 - the service's name
        if request.model_spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")
        signature = self.model.signatures[request.model_spec.signature_name]
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        try:
            outputs = signature(**inputs)
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = PredictResponse()
        for name, tensor in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
        return response


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument("--rest_api_port", type=int, default=0)
    parser.add_argument("--model_name", default="default")
    parser.add_argument("--model_base_path", type=Path)
    parser.add_argument("--max_num_load_retries", type=int, default=5)
    options = parser.parse_args()
    if not options.port:
        sys.exit("Failed to start server. Error: INVALID_ARGUMENT: server_options.grpc_port is not set.")
    # The largest version is served, and no other.
    version = max(int(folder.name) for folder in options.model_base_path.iterdir() if folder.name.isdigit())
    try:
        predictions = Predictions(options.model_name, options.model_base_path / str(version))
    except Exception as error:
        cause = " ".join(str(error).split())
        sys.exit(f"Failed to start server. Error: Unknown: 1 servable(s) did not become available: {{{cause}}}")
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    add_PredictionServiceServicer_to_server(predictions, server)
    add_ModelServiceServicer_to_server(Models(options.model_name, version), server)
    if not server.add_insecure_port(f"127.0.0.1:{options.port}"):
        sys.exit(f"Failed to start server. Error: UNKNOWN: cannot listen on port {options.port}")
    server.start()
    print("Running gRPC ModelServer", file=sys.stderr, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
