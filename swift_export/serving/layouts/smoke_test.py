"""Sends a server one known input, and compares its answer with the recorded outputs.

    python smoke_test.py [--url HOST:PORT] [--protocol http|grpc|tensorflow] [--wait SECONDS] [--tolerance X]

It needs NumPy and the server's stock client: tritonclient[http] or tritonclient[grpc], or for ``tensorflow`` grpcio,
tensorflow-cpu and tensorflow-serving-api. The exit status is 0 if the outputs agree, 1 if not, 2 without an answer.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]

HERE = Path(__file__).resolve().parent
#: Seconds for one answer: on a small machine, a large model takes its time.
TIMEOUT_S = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the smoke test; return the exit status."""
    case: dict[str, Any] = json.loads((HERE / "layout.json").read_text(encoding="utf-8"))["smoke_test"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=sorted(case["urls"]), default=case["protocol"])
    parser.add_argument("--url", metavar="HOST:PORT", help="the server's address")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=0, help="how long to wait for the server")
    parser.add_argument("--tolerance", metavar="X", type=float, help="the allowed relative difference")
    options = parser.parse_args(arguments)
    url = options.url or case["urls"][options.protocol]
    ask = {"http": ask_oip, "grpc": ask_oip, "tensorflow": ask_tensorflow}[options.protocol]
    inputs = {tensor["name"]: read(tensor) for tensor in case["inputs"]}
    end = time.monotonic() + options.wait
    while True:
        try:
            found = ask(options.protocol, url, case["model"], inputs, [tensor["name"] for tensor in case["outputs"]])
            break
        except ModuleNotFoundError as error:
            print(f"{error}: pip install {case['clients'][options.protocol]}", file=sys.stderr)
            return 2
        except Exception as error:
            if time.monotonic() >= end:
                print(f"no answer from {url}: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
                return 2
        time.sleep(1)
    allowed = [case["relative_l2"], case["relative_max"]] if options.tolerance is None else [options.tolerance] * 2
    agreed = [agrees(tensor["name"], found[tensor["name"]], read(tensor), allowed) for tensor in case["outputs"]]
    print("agrees" if all(agreed) else "does not agree", f"with the outputs of {case['computed_by']}")
    return 0 if all(agreed) else 1


def read(tensor: Mapping[str, Any]) -> np.ndarray:
    """A recorded array."""
    if tensor["dtype"] == "bfloat16":
        from ml_dtypes import bfloat16 as dtype  # comes with TensorFlow
    else:
        dtype = np.dtype(tensor["dtype"]).newbyteorder("<")
    return np.fromfile(HERE / tensor["file"], dtype).reshape(tensor["shape"])


def ask_oip(protocol: str, url: str, model: str, inputs: Arrays, wanted: Sequence[str]) -> Arrays:
    """The server's outputs by the Open Inference Protocol, version 2."""
    oip = importlib.import_module(f"tritonclient.{protocol}")
    from tritonclient.utils import np_to_triton_dtype

    if protocol == "http":
        client = oip.InferenceServerClient(url, connection_timeout=TIMEOUT_S, network_timeout=TIMEOUT_S)
    else:
        client = oip.InferenceServerClient(url)
    sent = []
    for name, array in inputs.items():
        sent.append(oip.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        sent[-1].set_data_from_numpy(array)
    with client:
        answer = client.infer(model, sent, outputs=[oip.InferRequestedOutput(name) for name in wanted])
        return {name: answer.as_numpy(name) for name in wanted}


def ask_tensorflow(protocol: str, url: str, model: str, inputs: Arrays, wanted: Sequence[str]) -> Arrays:
    """The server's outputs by TensorFlow Serving's PredictionService."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, "serving_default"
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    # gRPC's usual limit is 4 MB.
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(url, options=limits) as channel:
        answer = PredictionServiceStub(channel).Predict(request, timeout=TIMEOUT_S)
    return {name: tf.make_ndarray(answer.outputs[name]) for name in wanted}


def agrees(name: str, found: np.ndarray, expected: np.ndarray, allowed: Sequence[float]) -> bool:
    """Whether an output agrees with the recorded one; prints the difference. Integers and booleans must be equal."""
    if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
        what = "nothing" if found is None else f"{found.dtype} {found.shape}"
        print(f"{name}: expected {expected.dtype} {expected.shape}, found {what}")
        return False
    if expected.dtype.kind in "biu":
        count = int((found != expected).sum())
        print(f"{name}: {count} of {expected.size} elements differ")
        return not count
    kind = np.complex128 if expected.dtype.kind == "c" else np.float64
    wide, right = found.astype(kind), expected.astype(kind)
    difference = wide - right
    measured = [
        relative(float(np.linalg.norm(difference)), float(np.linalg.norm(right))),
        relative(float(np.abs(difference).max(initial=0)), float(np.abs(right).max(initial=0))),
    ]
    print(
        f"{name}: relative L2 {measured[0]:.2g}, largest {measured[1]:.2g}, allowed {allowed[0]:g} and {allowed[1]:g}"
    )
    # NaN is never within a limit.
    return all(value <= limit for value, limit in zip(measured, allowed, strict=True))


def relative(error: float, size: float) -> float:
    """An error in relation to the size of the expected values."""
    if size:
        return error / size
    return float("inf") if error else 0.0


if __name__ == "__main__":
    sys.exit(main())
