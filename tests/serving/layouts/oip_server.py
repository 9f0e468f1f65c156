"""Stands in for Triton: serves a model repository by the Open Inference Protocol, over HTTP and gRPC.

It reads config.pbtxt by Triton's own schema and takes what that says. scripts/check_triton runs the real one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype


def read_config(path: Path):
    """A config.pbtxt, by Triton's schema."""
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


class Served:
    """The one model of a repository; ``off`` is added to its floating-point outputs."""

    def __init__(self, repository: Path) -> None:
        (folder,) = repository.iterdir()
        self.config = read_config(folder / "config.pbtxt")
        self.session = onnxruntime.InferenceSession(str(folder / "1" / self.config.default_model_filename))
        self.off = 0.0

    def infer(self, model: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert model == self.config.name
        combined = self.config.max_batch_size > 0
        sent = {}
        for spec in self.config.input:
            array = given[spec.name]
            dims = array.shape[1:] if combined else array.shape
            assert np_to_triton_dtype(array.dtype) == model_config_pb2.DataType.Name(spec.data_type).split("_")[1]
            assert len(dims) == len(spec.dims)
            assert all(want in (-1, have) for want, have in zip(spec.dims, dims, strict=True))
            sent[spec.name] = array.reshape(array.shape[: len(self._shape(spec.name))])
        outputs = self.session.run([spec.name for spec in self.config.output], sent)
        return {
            spec.name: self._answer(array, spec, combined)
            for spec, array in zip(self.config.output, outputs, strict=True)
        }

    def _shape(self, name: str):
        return next(value.shape for value in self.session.get_inputs() if value.name == name)

    def _answer(self, array: np.ndarray, spec, combined: bool) -> np.ndarray:
        dims = array.shape[1:] if combined else array.shape
        # A scalar has one dimension, and in a batch only if it is told so.
        assert dims or list(spec.dims) == [1]
        assert spec.HasField("reshape") == (combined and not dims)
        array = array if dims else array.reshape(*array.shape, 1)
        return array + array.dtype.type(self.off) if array.dtype.kind == "f" else array


class Handler(BaseHTTPRequestHandler):
    served: Served

    def do_POST(self) -> None:
        _, _, _, model, _ = self.path.split("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        end = int(self.headers["Inference-Header-Content-Length"])
        head, given = json.loads(body[:end]), {}
        for tensor in head["inputs"]:
            size = tensor["parameters"]["binary_data_size"]
            dtype = triton_to_np_dtype(tensor["datatype"])
            given[tensor["name"]] = np.frombuffer(body[end : end + size], dtype).reshape(tensor["shape"])
            end += size
        assert end == len(body)
        found = self.served.infer(model, given)
        binary = {out["name"]: out.get("parameters", {}).get("binary_data", False) for out in head["outputs"]}
        outputs, data = [], b""
        for name, array in found.items():
            spec = {"name": name, "datatype": np_to_triton_dtype(array.dtype), "shape": list(array.shape)}
            if binary[name]:
                data += array.tobytes()
                spec["parameters"] = {"binary_data_size": array.nbytes}
            else:
                spec["data"] = array.ravel().tolist()
            outputs.append(spec)
        answer = json.dumps({"model_name": model, "outputs": outputs}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer) + len(data)))
        self.send_header("Inference-Header-Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer + data)

    def log_message(self, *_) -> None:
        pass


class Inference(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, served: Served) -> None:
        self.served = served

    def ModelInfer(self, request, context):  # noqa: N802 - the service's name
        given = {
            tensor.name: np.frombuffer(data, triton_to_np_dtype(tensor.datatype)).reshape(tuple(tensor.shape))
            for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, array in self.served.infer(request.model_name, given).items():
            response.outputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response


@contextmanager
def serving(repository: Path) -> Iterator[tuple[Served, dict[str, str]]]:
    """The served model and its addresses by protocol."""
    served = Served(repository)
    handler = type("Handler", (Handler,), {"served": served})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server = grpc.server(ThreadPoolExecutor(1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(served), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield served, {"http": f"127.0.0.1:{http.server_port}", "grpc": f"127.0.0.1:{port}"}
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
        server.stop(None).wait()
