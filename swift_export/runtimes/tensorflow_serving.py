"""The SavedModel in TensorFlow Serving: a server is started for it and called by gRPC, like from its clients.

The server listens on a free port of this machine, and ends with the session.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from swift_export.errors import MachineError
from swift_export.formats.metadata import SIGNATURE
from swift_export.runtimes._companion import Companion
from swift_export.runtimes._serving_signature import read_signature
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    LoadError,
    Precision,
    RuntimeInfo,
    check_inputs,
    file_label,
)
from swift_export.system.machine import processors
from swift_export.system.processes import TIMEOUT_S, last_line
from swift_export.system.text import one_line

__all__ = ["READY_S", "ServingSession", "load"]

#: Time limit for loading a model in the server. A large one takes seconds.
READY_S = 300.0

_PROGRAM = "tensorflow_model_server"
_MODEL = "model"
_POLL_S = 0.1
#: An input may exceed gRPC's default limit of 4 MiB, and loopback needs no proxy.
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]


class ServingSession:
    """A server with one model, and the channel to it."""

    def __init__(self, path: Path, ready_s: float):
        self._where = file_label(path)
        self.inputs = read_signature(path).inputs
        self._server = _Server(path, ready_s)
        self.pid = self._server.pid
        self.info = RuntimeInfo(
            name="TensorFlow Serving",
            version=_version(),
            device="cpu",
            arithmetic="float32",
            # The server's default.
            settings={"threads": str(processors()), "asked by": "gRPC"},
            providers=(_PROGRAM,),
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        response = self._server.predict(self._request(inputs))
        return {name: tf.make_ndarray(tensor) for name, tensor in sorted(response.outputs.items())}

    def place(self, inputs: Arrays) -> Computation:
        """Make the message; sending it belongs to the computation."""
        request = self._request(inputs)
        return lambda: self._server.predict(request)

    def _request(self, inputs: Arrays) -> Any:
        check_inputs(self.inputs, inputs, self._where)
        request = PredictRequest()
        request.model_spec.name = _MODEL
        request.model_spec.signature_name = SIGNATURE
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        return request


def load(path: Path, device: Device, precision: Precision = "float32") -> ServingSession:
    """Serve the folder with ``saved_model.pb``; raises MachineError if the server does not start."""
    return ServingSession(path, READY_S)


class _Server:
    """A running ``tensorflow_model_server``; it ends with this object."""

    def __init__(self, path: Path, ready_s: float):
        self._companion = Companion()
        models = self._companion.folder / "models"
        models.mkdir()
        # Versions are folders named by numbers; the server must not choose another one beside this folder.
        models.joinpath("1").symlink_to(path.resolve())
        port = _free_port()
        self._log = self._companion.folder / "log.txt"
        with self._log.open("wb") as log:
            self._process = self._companion.start(
                _PROGRAM,
                f"--port={port}",
                "--rest_api_port=0",
                f"--model_name={_MODEL}",
                f"--model_base_path={models}",
                "--max_num_load_retries=0",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._process.pid
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=_CHANNEL)
        self._predict = PredictionServiceStub(self._channel).Predict
        try:
            self._wait(file_label(path), ready_s)
        except BaseException:  # an interrupt, too
            self._companion.close()
            raise

    def predict(self, request: Any) -> Any:
        """The answer to a request; raises MachineError for the server's errors."""
        try:
            return self._predict(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise MachineError(f"TensorFlow Serving: {error.code().name}: {_reason(error.details())}") from None

    def _wait(self, where: str, ready_s: float) -> None:
        """Wait until the model is available."""
        request = GetModelStatusRequest()
        request.model_spec.name = _MODEL
        status = ModelServiceStub(self._channel).GetModelStatus
        end = time.monotonic() + ready_s
        while self._process.poll() is None and time.monotonic() < end:
            try:
                (version,) = status(request, timeout=1).model_version_status or (None,)
            except grpc.RpcError:  # it does not listen yet
                version = None
            if version and version.state == ModelVersionStatus.AVAILABLE:
                return
            if version and version.status.error_code:
                reason = _reason(version.status.error_message)
                raise LoadError(f"{where}: TensorFlow Serving cannot load it: {reason}")
            time.sleep(_POLL_S)
        status_code = self._process.returncode
        what = f"not ready after {ready_s:.0f} s" if status_code is None else f"ended with exit status {status_code}"
        raise MachineError(f"TensorFlow Serving on {where}: {what}: {last_line(self._log.read_text(errors='replace'))}")


def _version() -> str:
    """The program's version from its own output, ``TensorFlow ModelServer: 2.19.0``."""
    done = subprocess.run([_PROGRAM, "--version"], capture_output=True, text=True, timeout=60)
    found = re.search(r"ModelServer: (\S+)", done.stdout + done.stderr)
    return found[1] if found else "unknown"


def _free_port() -> int:
    # The server cannot choose a port itself: it refuses 0.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _reason(text: str | None) -> str:
    return one_line(text or "no reason given", 300)
