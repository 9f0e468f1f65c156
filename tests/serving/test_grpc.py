"""gRPC, by NVIDIA's client and by bytes: the same answers, limits and words as over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import Running, serving, session, until

pytestmark = pytest.mark.requires("serve", "tritonclient")

TOKEN = "a-token-of-these-tests"
KEY = {"authorization": f"Bearer {TOKEN}"}
X = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[Running]:
    with serving(files, timeout_s=1.0, grpc_port=0, queue=2, token=TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Any]:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(server.grpc) as found:
        yield found


@pytest.fixture(scope="module")
def channel(server: Running) -> Iterator[Any]:
    import grpc

    with grpc.insecure_channel(server.grpc, options=[("grpc.max_send_message_length", -1)]) as found:
        yield found


def given(name: str, array: np.ndarray, datatype: str) -> Any:
    import tritonclient.grpc as triton

    found = triton.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array)
    return found


def message(name: str = "ModelInferRequest", **fields: Any) -> Any:
    from swift_export.serving.protocol.message_classes import message_class

    return message_class(name)(**fields)


def call(channel: Any, sent: bytes, method: str = "ModelInfer", **more: Any) -> Any:
    stub = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    return stub(sent, metadata=tuple(KEY.items()), timeout=10, **more)


def refusal(channel: Any, sent: bytes, method: str = "ModelInfer", **more: Any) -> tuple[str, str]:
    import grpc

    with pytest.raises(grpc.RpcError) as found:
        call(channel, sent, method, **more)
    return found.value.code().name, found.value.details()


def test_messages_are_those_of_the_protocol() -> None:
    """Names, numbers and types of all fields and methods are the same as in the client's generated code."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from tritonclient.grpc import model_config_pb2, service_pb2

    from swift_export.serving.protocol.message_classes import FILE, METHODS, message_class

    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for method, (taken, returned) in METHODS.items():
        theirs = service.methods_by_name[method]
        assert (theirs.input_type.name, theirs.output_type.name) == (taken, returned)
        assert not theirs.client_streaming
        assert not theirs.server_streaming

    def facts(field: Any) -> tuple[Any, ...]:
        kind = field.message_type or field.enum_type
        oneof = field.containing_oneof and field.containing_oneof.name
        return field.name, field.number, field.type, field.is_repeated, kind and kind.full_name, oneof

    def compare(ours: Any, theirs: Any) -> int:
        assert ours.GetOptions().map_entry == theirs.GetOptions().map_entry
        for field in ours.fields:
            assert facts(field) == facts(theirs.fields_by_number[field.number])
        nested = theirs.nested_types_by_name
        return len(ours.fields) + sum(compare(inner, nested[inner.name]) for inner in ours.nested_types)

    count = 0
    for described in FILE.message_type:
        module = model_config_pb2 if hasattr(model_config_pb2, described.name) else service_pb2
        count += compare(message_class(described.name).DESCRIPTOR, getattr(module, described.name).DESCRIPTOR)
    assert count > 100
    theirs = FileDescriptorProto()
    model_config_pb2.DESCRIPTOR.CopyToProto(theirs)
    (enum,) = (enum for enum in theirs.enum_type if enum.name == "DataType")
    assert list(FILE.enum_type) == [enum]


def test_what_the_server_tells(server: Running, client: Any) -> None:
    version = server.call("GET", "/v2/models/mix", headers=KEY).json["versions"][0]
    assert client.is_server_live(), "without a token"
    assert client.is_server_ready(), "without a token"
    assert client.is_model_ready("mix", headers=KEY)
    about = client.get_server_metadata(headers=KEY)
    assert about.name == "swift-export"
    assert "binary_tensor_data" in about.extensions
    told = client.get_model_metadata("pair", version_of(client, "pair"), headers=KEY, as_json=True)
    shape = ["-1", "-1"]
    assert told["inputs"][0] == {"name": "n", "datatype": "INT64", "shape": shape}
    assert told["outputs"][1] == {"name": "positive", "datatype": "BOOL", "shape": shape}
    config = client.get_model_config("mix", headers=KEY, as_json=True)["config"]
    assert (config["max_batch_size"], config["input"]) == (
        8,
        [{"name": "x", "data_type": "TYPE_FP32", "dims": ["1", "16", "16"]}],
    )
    over_http = server.call("GET", "/v2/models/mix/config", headers=KEY).json
    assert over_http["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1, 16, 16]}]
    index = client.get_model_repository_index(headers=KEY).models
    assert [(one.name, one.state) for one in index] == [("mix", "READY"), ("pair", "READY")]
    assert index[0].version == version


def version_of(client: Any, name: str) -> str:
    return str(client.get_model_metadata(name, headers=KEY).versions[0])


def test_results_are_those_of_the_session(files: dict[str, Path], client: Any, channel: Any) -> None:
    (expected,) = session(files["mix"]).run(None, {"x": X})
    found = client.infer("mix", [given("x", X, "FP32")], headers=KEY, request_id="seven")
    np.testing.assert_array_equal(found.as_numpy("y"), expected)
    answer = found.get_response()
    assert (answer.id, answer.parameters["batch_items"].int64_param) == ("seven", 2)
    steps = np.round(1000 * X).astype(np.int16)
    sent = message(model_name="mix", raw_input_contents=[steps.tobytes()])
    described = sent.inputs.add(name="x", datatype="INT16", shape=X.shape)
    described.parameters["scale"].double_param = 0.001
    described.parameters["offset"].int64_param = 0
    answer = message("ModelInferResponse").FromString(call(channel, sent.SerializeToString()))
    (expected,) = session(files["mix"]).run(None, {"x": steps.astype(np.float32) * np.float32(0.001)})
    assert answer.raw_output_contents[0] == expected.tobytes()
    half = X.astype(np.float16)
    (expected,) = session(files["mix"]).run(None, {"x": half.astype(np.float32)})
    found = client.infer("mix", [given("x", half, "FP16")], headers=KEY)
    np.testing.assert_array_equal(found.as_numpy("y"), expected)


def test_several_inputs_and_outputs(files: dict[str, Path], client: Any, channel: Any) -> None:
    import tritonclient.grpc as triton

    n, w = np.array([[1, -2, 3]]), np.array([[0.5, 0.25, 4.0]])
    inputs = [given("w", w, "FP64"), given("n", n, "INT64")]
    found = client.infer("pair", inputs, outputs=[triton.InferRequestedOutput("positive")], headers=KEY)
    assert found.as_numpy("positive").tolist() == [[True, False, True]]
    assert found.as_numpy("product") is None
    # Elements in the message itself, as other clients send them.
    sent = message(model_name="pair")
    sent.inputs.add(name="n", datatype="INT64", shape=[1, 3]).contents.int64_contents.extend([1, -2, 3])
    sent.inputs.add(name="w", datatype="FP64", shape=[1, 3]).contents.fp64_contents.extend(w[0])
    answer = message("ModelInferResponse").FromString(call(channel, sent.SerializeToString()))
    assert [(one.name, one.datatype) for one in answer.outputs] == [("product", "FP64"), ("positive", "BOOL")]
    assert np.frombuffer(answer.raw_output_contents[0]).tolist() == [0.5, -0.5, 12.0]


def test_raw_tensors_at_any_place_of_the_message(files: dict[str, Path], channel: Any) -> None:
    """Of eight messages, each with its tensor one byte further."""
    (expected,) = session(files["mix"]).run(None, {"x": X})
    for length in range(8):
        sent = message(model_name="mix", id="i" * length, raw_input_contents=[X.tobytes()])
        sent.inputs.add(name="x", datatype="FP32", shape=X.shape)
        answer = message("ModelInferResponse").FromString(call(channel, sent.SerializeToString()))
        assert answer.raw_output_contents[0] == expected.tobytes()


def test_refusals_have_the_words_of_http(server: Running, channel: Any) -> None:
    wrong = X[:, :, :8]
    sent = message(model_name="mix", raw_input_contents=[wrong.tobytes()])
    sent.inputs.add(name="x", datatype="FP32", shape=wrong.shape)
    code, why = refusal(channel, sent.SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert why == server.call("POST", "/v2/models/mix/infer", *request_of(wrong)).error
    assert "expected float32 (batch, 1, 16, 16), found (2, 1, 8, 16)" in why
    event = [event for event in server.events if event.get("method") == "gRPC"][-1]
    assert (event["status"], event["model"], event["error"]) == ("INVALID_ARGUMENT", "mix", why)
    stub = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    _, called = stub.with_call(b"", metadata=(("traceparent", trace),), timeout=5)
    (answered,) = (value for key, value in called.initial_metadata() if key == "traceparent")
    assert answered.startswith(trace[:36])
    assert server.events[-1]["trace"] == "ab" * 16
    route = 'route="/inference.GRPCInferenceService/ModelInfer",status="INVALID_ARGUMENT"'
    metrics = server.call("GET", "/metrics", headers=KEY).body.decode()
    assert f'swift_export_requests_total{{model="mix",{route}}}' in metrics


def request_of(array: np.ndarray) -> tuple[bytes, dict[str, str]]:
    from embedded import request

    body, length = request({"x": array})
    return body, KEY | {"inference-header-content-length": str(length)}


def bad_requests() -> dict[str, tuple[bytes, str, str]]:
    """Messages, and the code and words of their refusal."""

    def infer(content: Any = X, name: str = "x", datatype: str = "FP32", model: str = "mix", **more: Any) -> bytes:
        sent = message(model_name=model, raw_input_contents=[content.tobytes()], **more)
        sent.inputs.add(name=name, datatype=datatype, shape=X.shape)
        return bytes(sent.SerializeToString())

    bare = message(model_name="mix")
    bare.inputs.add(name="x", datatype="FP32", shape=X.shape)
    both = message(model_name="mix", raw_input_contents=[X.tobytes()])
    both.inputs.add(name="x", datatype="FP32", shape=X.shape).contents.fp32_contents.append(1)
    other = message(model_name="mix")
    other.inputs.add(name="x", datatype="FP32", shape=X.shape).contents.int_contents.append(1)
    few = message(model_name="mix")
    few.inputs.add(name="x", datatype="FP32", shape=X.shape).contents.fp32_contents.append(1)
    large = message(model_name="mix")
    large.inputs.add(name="x", datatype="FP32", shape=X.shape).contents.fp32_contents.extend([0.0] * 2**20)
    empty = message(model_name="mix", raw_input_contents=[X.tobytes()])
    empty.inputs.add(name="x", datatype="FP32", shape=X.shape).parameters["scale"].Clear()
    many = np.zeros((9, 1, 16, 16), np.float32)
    batch = message(model_name="mix", raw_input_contents=[many.tobytes()])
    batch.inputs.add(name="x", datatype="FP32", shape=many.shape)
    wrong = "INVALID_ARGUMENT"
    return {
        "garbage": (b"\xff" * 99, wrong, "expected ModelInferRequest, found other bytes"),
        "breaks off": (infer()[:-1], wrong, "expected ModelInferRequest, found other bytes"),
        "wrong type of a field": (b"\x0a\x01\xff", wrong, "expected ModelInferRequest, found other bytes"),
        "a group": (b"\x0b\x0c", wrong, "expected ModelInferRequest, found other bytes"),
        "many fields": (b"\x08\x01" * 5000, wrong, "more than 2048 fields"),
        "nothing": (b"", "NOT_FOUND", "expected one of mix, pair"),
        "no such model": (infer(model="../mix"), "NOT_FOUND", "model ../mix: expected one of mix, pair"),
        "no such version": (infer(model_version="2"), "NOT_FOUND", "model mix, version 2: expected"),
        "no such input": (infer(name="z"), wrong, "expected the inputs x, found z"),
        "no such type": (infer(datatype="BYTES"), wrong, "expected FP32, float32 (batch, 1, 16, 16), found BYTES"),
        "too few bytes": (infer(X[:1]), wrong, "mix: x: expected 2,048 bytes for FP32 [2, 1, 16, 16], found 1024"),
        "no elements": (bytes(bare.SerializeToString()), wrong, "raw_input_contents or contents, found neither"),
        "elements twice": (bytes(both.SerializeToString()), wrong, "either contents or raw contents, found both"),
        "another field": (
            bytes(other.SerializeToString()),
            wrong,
            "expected fp32_contents for FP32, found int_contents",
        ),
        "one element": (bytes(few.SerializeToString()), wrong, "expected 512 elements for its shape, found 1"),
        "no value": (bytes(empty.SerializeToString()), wrong, "scale: expected a value, found none"),
        "large batch": (
            bytes(batch.SerializeToString()),
            "RESOURCE_EXHAUSTED",
            "expected at most 8 items in a request",
        ),
        "large contents": (
            bytes(large.SerializeToString()),
            "RESOURCE_EXHAUSTED",
            "send tensors as raw_input_contents",
        ),
        "shared memory": (shared(), "PERMISSION_DENIED", "start the server with --shared-memory"),
    }


def shared() -> bytes:
    sent = message(model_name="mix")
    entry = sent.inputs.add(name="x", datatype="FP32", shape=X.shape)
    entry.parameters["shared_memory_region"].string_param = "in"
    entry.parameters["shared_memory_byte_size"].int64_param = X.nbytes
    return bytes(sent.SerializeToString())


def test_bad_messages_are_refused_with_a_reason(server: Running, client: Any, channel: Any) -> None:
    for case, (sent, code, words) in bad_requests().items():
        found, why = refusal(channel, sent)
        assert (case, found) == (case, code), why
        assert words in why, case
    assert "error" not in {event["level"] for event in server.events}
    assert client.infer("mix", [given("x", X, "FP32")], headers=KEY).as_numpy("y").shape == (2, 32)


def test_what_is_refused_before_it_is_read(server: Running, channel: Any) -> None:
    import grpc

    stub = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    for metadata in ((), (("authorization", "Bearer another-token-than-this"),)):
        with pytest.raises(grpc.RpcError) as found:
            stub(b"", metadata=metadata, timeout=5)
        assert found.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refusal(channel, b"", compression=grpc.Compression.Gzip)[0] == "UNIMPLEMENTED"
    assert refusal(channel, b"", "ModelUnload")[0] == "UNIMPLEMENTED"
    assert refusal(channel, b"x" * 2**17, "ServerLive") == (
        "RESOURCE_EXHAUSTED",
        "ServerLive: expected a message of at most 65,536 bytes, found 131,072",
    )


def test_a_full_queue_slow_senders_and_clients_that_hang_up(server: Running, channel: Any) -> None:
    import grpc

    stub = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
    never = threading.Event()

    def silent() -> Iterator[bytes]:
        never.wait(10)
        yield from ()

    metadata = tuple(KEY.items())
    began = time.monotonic()
    slow = [stub.future(silent(), metadata=metadata, timeout=10) for _ in range(4)]  # two models, two places each
    try:
        events = len(server.events)
        until(lambda: refused(channel))
        slow[0].cancel()
        until(lambda: any(e.get("status") == "CANCELLED" for e in server.events[events:]))
        assert slow[1].code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "expected the whole message within the time limit" in slow[1].details()
        assert 0.9 < time.monotonic() - began < 9
    finally:
        never.set()
    until(lambda: not refused(channel))


def refused(channel: Any) -> bool:
    code, why = refusal(channel, b"")
    return code == "RESOURCE_EXHAUSTED" and "try again later" in why


def test_accepted_calls_are_answered_at_the_end(files: dict[str, Path]) -> None:
    import grpc

    sent = message(model_name="mix", raw_input_contents=[X.tobytes()])
    sent.inputs.add(name="x", datatype="FP32", shape=X.shape)
    # Calls wait for others to be computed with, and the server is told to end meanwhile.
    with (
        serving(files, grpc_port=0, batching="on", batch_wait_s=0.4, timeout_s=5.0) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        stub = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        accepted = [stub.future(sent.SerializeToString(), timeout=5) for _ in range(2)]
        until(lambda: server.server.service.batcher.depth("mix") == 2)
        server.server.stop()
        with pytest.raises(grpc.RpcError) as late:
            stub(sent.SerializeToString(), timeout=5)
        assert late.value.code() is grpc.StatusCode.UNAVAILABLE
        for future in accepted:
            answer = message("ModelInferResponse").FromString(future.result())
            assert answer.parameters["batch_items"].int64_param == 4


def test_deadlines_and_sizes_are_limited(files: dict[str, Path]) -> None:
    import grpc
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    with (
        serving({"mix": files["mix"]}, grpc_port=0, batching="on", batch_wait_s=5.0, timeout_s=9.0) as server,
        triton.InferenceServerClient(server.grpc) as client,
    ):
        for limit in ({"client_timeout": 0.1}, {"timeout": 100_000}):
            began = time.monotonic()
            with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED"):
                client.infer("mix", [given("x", X, "FP32")], **limit)
            assert time.monotonic() - began < 2
            until(lambda: server.server.service.batcher.idle)
        # Eight items, and what may be beside them.
        limit = 8 * X[:1].nbytes + 2**24
        with grpc.insecure_channel(server.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
            code, why = refusal(channel, bytes(limit + 1))
            assert code == "RESOURCE_EXHAUSTED"
            assert f"({limit + 1} vs. {limit})" in why


def test_a_port_that_is_taken_is_refused_before_models_are_loaded(server: Running, files: dict[str, Path]) -> None:
    from swift_export.errors import UsageError
    from swift_export.serving.serve_settings import ServeSettings
    from swift_export.serving.server import start_server

    assert server.grpc
    taken = int(server.grpc.rpartition(":")[2])
    with pytest.raises(UsageError, match=rf"--grpc-port {taken}: cannot listen there"):
        start_server([files["mix"].with_name("absent.onnx")], ServeSettings(port=0, grpc_port=taken))
