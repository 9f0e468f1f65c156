"""Servers in threads of the test's process, of models that compute in microseconds."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from swift_export._version import __version__
from swift_export.formats.metadata import SETTINGS_KEY, SIGNATURE_KEY, VARIANT_KEY, VERSION_KEY, WEIGHTS_KEY
from swift_export.serving.repository import Repository, Source
from swift_export.serving.serve_log import ServeLog
from swift_export.serving.serve_settings import ServeSettings

HOST = "127.0.0.1"


def mix(path: Path, seed: int = 0, side: int = 16) -> Path:
    """A layer: float32 x (batch, 1, side, side) -> float32 y (batch, 32)."""
    weight = np.random.default_rng(seed).standard_normal((side * side, 32)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["sums"]),
        helper.make_node("Tanh", ["sums"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, side, side])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32])
    constants = [
        numpy_helper.from_array(weight, "weight"),
        numpy_helper.from_array(np.array([-1, side * side]), "flat"),
    ]
    return _save(path, nodes, [x], [y], constants)


def pair(path: Path) -> Path:
    """Two inputs and an unknown length: int64 n (batch, length), float64 w (batch, length) -> their product, n > 0."""
    nodes = [
        helper.make_node("Cast", ["n"], ["m"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["m", "w"], ["product"]),
        helper.make_node("Greater", ["n", "zero"], ["positive"]),
    ]
    dims = ["batch", "length"]
    n = helper.make_tensor_value_info("n", TensorProto.INT64, dims)
    w = helper.make_tensor_value_info("w", TensorProto.DOUBLE, dims)
    product = helper.make_tensor_value_info("product", TensorProto.DOUBLE, dims)
    positive = helper.make_tensor_value_info("positive", TensorProto.BOOL, dims)
    return _save(path, nodes, [n, w], [product, positive], [numpy_helper.from_array(np.array(0), "zero")])


def words(path: Path) -> Path:
    """A copy of text, which the protocol's tensors of numbers cannot hold."""
    ends = [helper.make_tensor_value_info(name, TensorProto.STRING, ["batch"]) for name in "xy"]
    return _save(path, [helper.make_node("Identity", ["x"], ["y"])], ends[:1], ends[1:], [])


def backbone(path: Path) -> Path:
    """What SwiFT gives for a clip, of its means: float32 (batch, 1, 16, 16, 16, 8) -> (batch, 12, 2, 2, 2, 8)."""
    weight = np.random.default_rng(0).standard_normal((12, 1, 1, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["bold", "blocks"], ["split"]),
        helper.make_node("ReduceMean", ["split"], ["means"], axes=[3, 5, 7], keepdims=0),
        helper.make_node("Mul", ["means", "weight"], ["products"]),
        helper.make_node("Sin", ["products"], ["features"]),
    ]
    bold = helper.make_tensor_value_info("bold", TensorProto.FLOAT, ["batch", 1, 16, 16, 16, 8])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 12, 2, 2, 2, 8])
    blocks = numpy_helper.from_array(np.array([-1, 1, 2, 8, 2, 8, 2, 8, 8]), "blocks")
    _save(path, nodes, [bold], [features], [numpy_helper.from_array(weight, "weight"), blocks])
    model = onnx.load(path)
    signature = {
        place: [{"name": spec.name, "dtype": "float32", "dims": _dims(spec)}]
        for place, spec in (("inputs", bold), ("outputs", features))
    }
    essentials = {
        VERSION_KEY: __version__,
        VARIANT_KEY: "tiny",
        WEIGHTS_KEY: "0" * 64,
        SETTINGS_KEY: json.dumps({"output_kind": "features", "outputs": ["features"], "batch": None}),
        SIGNATURE_KEY: json.dumps(signature),
    }
    helper.set_model_props(model, essentials)
    onnx.save(model, path)
    return path


def _dims(spec: Any) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in spec.type.tensor_type.shape.dim]


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def session(path: Path) -> onnxruntime.InferenceSession:
    """The same file, run directly."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@dataclass
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Of a refusal, the reason."""
        (text,) = self.json.values()
        return str(text)

    @property
    def head(self) -> Any:
        """The JSON of an answer."""
        length = self.headers.get("inference-header-content-length")
        return json.loads(self.body[: int(length)] if length else self.body)

    def array(self, name: str) -> np.ndarray:
        """A binary output."""
        at = int(self.headers["inference-header-content-length"])
        for entry in self.head["outputs"]:
            size = entry["parameters"]["binary_data_size"]
            if entry["name"] == name:
                dtype = {"FP32": "<f4", "FP64": "<f8", "BOOL": "?"}[entry["datatype"]]
                return np.frombuffer(self.body[at : at + size], dtype).reshape(entry["shape"])
            at += size
        raise KeyError(name)


@dataclass
class Running:
    """A server in a thread."""

    server: Any
    port: int
    log: io.StringIO = field(default_factory=io.StringIO)
    grpc: str | None = None

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        try:
            connection.request(
                method, path, body, dict(headers or {}), encode_chunked=not isinstance(body, bytes | None)
            )
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def infer(self, model: str, arrays: Mapping[str, np.ndarray], **more: Any) -> Reply:
        body, length = request(arrays, **more)
        return self.call("POST", f"/v2/models/{model}/infer", body, {"inference-header-content-length": str(length)})

    def open(self, sent: bytes) -> socket.socket:
        """A connection on which bytes have been sent."""
        connection = socket.create_connection((HOST, self.port), timeout=20)
        connection.sendall(sent)
        return connection

    @property
    def metrics(self) -> str:
        return self.call("GET", "/metrics").body.decode()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


DATATYPES = {"float32": "FP32", "float64": "FP64", "float16": "FP16", "int64": "INT64", "int16": "INT16"}


def request(arrays: Mapping[str, np.ndarray], **more: Any) -> tuple[bytes, int]:
    """A body with binary tensors, and the length of its JSON."""
    inputs = [
        {
            "name": name,
            "datatype": DATATYPES[array.dtype.name],
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}, **more}).encode()
    return text + b"".join(array.tobytes() for array in arrays.values()), len(text)


def post(model: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """A whole request as it is on the wire."""
    body, length = request(arrays)
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: localhost\r\ninference-header-content-length: {length}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@contextmanager
def running(repository: Repository, settings: ServeSettings) -> Iterator[Running]:
    from swift_export.serving.server import listen, server_for

    log = io.StringIO()
    for_grpc = None if settings.grpc_port is None else listen(HOST, settings.grpc_port)
    server = server_for(repository, settings, ServeLog(log), for_grpc)
    listening = listen(HOST, 0)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started)
        yield Running(server, port, log, server.grpc and server.grpc.address)
    finally:
        server.stop()
        with suppress(AssertionError):
            until(lambda: not thread.is_alive(), 5)
        server.stop()
        thread.join()


@contextmanager
def serving(paths: Mapping[str, Path], **settings: Any) -> Iterator[Running]:
    """A server of files by name."""
    chosen = ServeSettings(**({"watch_s": 0.0, "batching": "off", "threads": 1} | settings))
    repository = Repository([Source(name, path) for name, path in paths.items()], chosen)
    repository.load()
    with running(repository, chosen) as found:
        yield found
