"""The Open Inference Protocol over HTTP: what is answered, to the bit; and what is refused, with the reason."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from embedded import Reply, Running, post, request, session

pytestmark = pytest.mark.requires("serve")

INFER = "/v2/models/mix/infer"
LENGTH = "inference-header-content-length"


def noise(items: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((items, 1, 16, 16)).astype(np.float32)


def direct(files: dict[str, Path], x: np.ndarray) -> np.ndarray:
    (y,) = session(files["mix"]).run(None, {"x": x})
    return np.asarray(y)


def test_what_the_server_says_of_itself(server: Running) -> None:
    assert server.call("GET", "/v2").json["name"] == "swift-export"
    assert server.call("GET", "/v2/health/live").json == {"live": True}
    assert server.call("GET", "/v2/health/ready").json == {"ready": True}
    found = server.call("GET", "/v2/models/pair").json
    (version,) = found["versions"]
    assert found["inputs"] == [
        {"name": "n", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "w", "datatype": "FP64", "shape": [-1, -1]},
    ]
    assert [output["datatype"] for output in found["outputs"]] == ["FP64", "BOOL"]
    assert server.call("GET", f"/v2/models/pair/versions/{version}").json == found
    assert server.call("GET", f"/v2/models/pair/versions/{version}/ready").json == {"name": "pair", "ready": True}
    index = server.call("POST", "/v2/repository/index").json
    assert [(entry["name"], entry["state"]) for entry in index] == [("mix", "READY"), ("pair", "READY")]


def test_bytes_in_and_out(server: Running, files: dict[str, Path]) -> None:
    x = noise(3)
    reply = server.infer("mix", {"x": x}, id="mine")
    assert (reply.status, reply.head["id"], reply.head["model_name"]) == (200, "mine", "mix")
    assert {key: reply.head["parameters"][key] for key in ("batch_items", "batch_offset")} == {
        "batch_items": 3,
        "batch_offset": 0,
    }
    np.testing.assert_array_equal(reply.array("y"), direct(files, x))


def test_json_in_and_out(server: Running, files: dict[str, Path]) -> None:
    x = noise()
    flat = {"name": "x", "datatype": "FP32", "shape": [1, 1, 16, 16], "data": x.ravel().tolist()}
    for data in (flat, flat | {"data": x.tolist()}):
        (output,) = server.call("POST", INFER, json.dumps({"inputs": [data]})).json["outputs"]
        assert (output["datatype"], output["shape"]) == ("FP32", [1, 32])
        # Every float32 has its own shortest decimal.
        np.testing.assert_array_equal(np.array(output["data"], np.float32)[None], direct(files, x))


def test_several_inputs_and_chosen_outputs(server: Running) -> None:
    n, w = np.arange(-3, 3).reshape(2, 3), np.linspace(0, 1, 6).reshape(2, 3)
    reply = server.infer("pair", {"w": w, "n": n}, outputs=[{"name": "positive"}])
    np.testing.assert_array_equal(reply.array("positive"), n > 0)
    assert len(reply.head["outputs"]) == 1
    # One as bytes and one in JSON.
    mixed = [{"name": "product", "parameters": {"binary_data": False}}, {"name": "positive"}]
    reply = server.infer("pair", {"n": n, "w": w}, outputs=mixed)
    assert reply.head["outputs"][0]["data"] == (n * w).ravel().tolist()
    assert reply.body[int(reply.headers[LENGTH]) :] == (n > 0).tobytes()


def test_inputs_of_half_the_size(server: Running, files: dict[str, Path]) -> None:
    x = noise()
    half = x.astype(np.float16)
    np.testing.assert_array_equal(server.infer("mix", {"x": half}).array("y"), direct(files, half.astype(np.float32)))
    brain = x.astype(ml_dtypes.bfloat16)
    sent: dict[str, Any] = {"name": "x", "datatype": "BF16", "shape": list(x.shape)}
    found = infer_as(server, sent, brain.tobytes())
    np.testing.assert_array_equal(found, direct(files, brain.astype(np.float32)))
    scale, offset = np.float32(0.0005), np.float32(0.25)
    whole = np.round((x - offset) / scale).astype(np.int16)
    sent = {**sent, "datatype": "INT16", "parameters": {"scale": float(scale), "offset": float(offset)}}
    found = infer_as(server, sent, whole.tobytes())
    np.testing.assert_array_equal(found, direct(files, whole.astype(np.float32) * scale + offset))
    assert np.abs(whole * scale + offset - x).max() < scale


def infer_as(server: Running, sent: dict[str, Any], data: bytes) -> np.ndarray:
    entry = sent | {"parameters": {**sent.get("parameters", {}), "binary_data_size": len(data)}}
    text = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    return server.call("POST", INFER, text + data, {LENGTH: str(len(text))}).array("y")


def test_a_body_without_json_is_the_only_input(server: Running, files: dict[str, Path]) -> None:
    x = noise(2)
    reply = server.call("POST", INFER, x.tobytes(), {LENGTH: "0"})
    np.testing.assert_array_equal(reply.array("y"), direct(files, x))
    assert "expected float32 (batch, 1, 16, 16), 1,024 bytes each, found 1,025" in (
        server.call("POST", INFER, bytes(1025), {LENGTH: "0"}).error
    )


def test_encoded_and_chunked_bodies(server: Running, files: dict[str, Path]) -> None:
    x = noise(8)
    body, length = request({"x": x})
    expected = direct(files, x)
    for encoding, encoded in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), ("identity", body)):
        headers = {LENGTH: str(length), "content-encoding": encoding}
        np.testing.assert_array_equal(server.call("POST", INFER, encoded, headers).array("y"), expected)

    def pieces() -> Iterator[bytes]:
        yield from (body[at : at + 777] for at in range(0, len(body), 777))

    np.testing.assert_array_equal(server.call("POST", INFER, pieces(), {LENGTH: str(length)}).array("y"), expected)


def test_large_requests_one_behind_the_other_on_a_connection(server: Running) -> None:
    """Their last input goes straight from the socket to where it is computed with, the first does not."""
    rng = np.random.default_rng(0)
    sent = [{"n": rng.integers(-9, 9, (2, 50_000)), "w": rng.random((2, 50_000))} for _ in range(3)]
    whole = b"".join(post("pair", arrays) for arrays in sent)
    # One file for all answers: an HTTPResponse of its own for each would read ahead, and lose the start of the next.
    with server.open(whole) as connection, connection.makefile("rb") as answers:
        for arrays in sent:
            status = int(answers.readline().split()[1])
            headers = {key.lower(): value for key, value in http.client.parse_headers(answers).items()}
            reply = Reply(status, headers, answers.read(int(headers["content-length"])))
            np.testing.assert_array_equal(reply.array("product"), arrays["n"] * arrays["w"])


ENTRY: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 1, 16, 16], "data": [0] * 256}
BYTES = {"name": "x", "datatype": "FP32", "shape": [1, 1, 16, 16], "parameters": {"binary_data_size": 1024}}

REFUSED = {
    "no json": (b"PNG", 400, "expected a request as JSON"),
    "not utf-8": (b'{"inputs": "\xff"}', 400, "expected a request as JSON"),
    "nested": (b"[" * 100_000, 400, "expected a request as JSON"),
    "a list": ([], 400, "the request: expected an object, found []"),
    "empty": ({}, 400, "inputs: expected a list of 1 to 256 tensors, found None"),
    "another input": ({"inputs": [ENTRY | {"name": "z"}]}, 400, "expected the inputs x, found z"),
    "an input twice": ({"inputs": [ENTRY, ENTRY]}, 400, "inputs: expected each once, found x, x"),
    "another rank": (
        {"inputs": [ENTRY | {"shape": [256]}]},
        400,
        "x: expected float32 (batch, 1, 16, 16), found (256)",
    ),
    "another shape": ({"inputs": [ENTRY | {"shape": [1, 1, 16, 15]}]}, 400, "found (1, 1, 16, 15)"),
    "no items": ({"inputs": [ENTRY | {"shape": [0, 1, 16, 16], "data": []}]}, 400, "found (0, 1, 16, 16)"),
    "a negative size": ({"inputs": [ENTRY | {"shape": [-1, 1, 16, 16]}]}, 400, "shape: expected a list of sizes"),
    "too many items": ({"inputs": [ENTRY | {"shape": [9, 1, 16, 16]}]}, 413, "expected at most 8 items in a request"),
    "endless items": ({"inputs": [ENTRY | {"shape": [2**39, 1, 16, 16]}]}, 413, "expected at most 8 items"),
    "another type": ({"inputs": [ENTRY | {"datatype": "FP64"}]}, 400, "x: expected FP32, float32 (batch, 1, 16, 16)"),
    "no type": ({"inputs": [ENTRY | {"datatype": None}]}, 400, "datatype: expected text, found None"),
    "text": ({"inputs": [ENTRY | {"datatype": "BYTES"}]}, 400, "found BYTES"),
    "words for numbers": (
        {"inputs": [ENTRY | {"data": ["a"] * 256}]},
        400,
        "x: expected FP32, found values of another",
    ),
    "too few": ({"inputs": [ENTRY | {"data": [0] * 255}]}, 400, "expected 256 elements for its shape, found 255"),
    "ragged": ({"inputs": [ENTRY | {"data": [[0], [0, 1]]}]}, 400, "x: expected FP32, found"),
    "no data": ({"inputs": [{**ENTRY, "data": None}]}, 400, "binary_data_size, found neither"),
    "no length": ({"inputs": [BYTES]}, 400, "expected the header inference-header-content-length"),
    "shared memory": (
        {"inputs": [{**ENTRY, "parameters": {"shared_memory_region": "r"}}]},
        400,
        "shared_memory_byte_size: expected a number of bytes, found None",
    ),
    "an unscaled integer": ({"inputs": [ENTRY | {"datatype": "INT16"}]}, 400, "scale: expected a number, found None"),
    "out of range": (
        {"inputs": [ENTRY | {"datatype": "INT16", "data": [40000] * 256, "parameters": {"scale": 1}}]},
        400,
        "x: expected INT16, found numbers out of its range",
    ),
    "a number that float32 lacks": (
        {"inputs": [ENTRY | {"data": [1e39] * 256}]},
        400,
        "x: expected FP32, found numbers out of its range",
    ),
    "a scale that float32 lacks": (
        {"inputs": [ENTRY | {"datatype": "INT16", "parameters": {"scale": 1e35}}]},
        400,
        "x: expected a scale and an offset for values of float32, found larger ones",
    ),
    "an output twice": (
        {"inputs": [ENTRY], "outputs": [{"name": "y"}] * 2},
        400,
        "outputs: expected each once, found y twice",
    ),
    "another output": ({"inputs": [ENTRY], "outputs": [{"name": "z"}]}, 400, "expected outputs among y, found z"),
    "a class": (
        {"inputs": [ENTRY], "outputs": [{"name": "y", "parameters": {"classification": 2}}]},
        400,
        "this server gives the tensor itself",
    ),
    "a number for an id": ({"inputs": [ENTRY], "id": 1}, 400, "id: expected text, found 1"),
    "a flag": ({"inputs": [ENTRY], "parameters": {"binary_data_output": "yes"}}, 400, "expected true or false"),
    "a terminal's codes": ({"inputs": [ENTRY | {"name": "\x1b[2J"}]}, 400, "found \\x1b[2J"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_with_the_reason(case: str, server: Running) -> None:
    body, status, words = REFUSED[case]
    reply = server.call("POST", INFER, body if isinstance(body, bytes) else json.dumps(body))
    assert (reply.status, words in reply.error) == (status, True), reply.error


def test_values_that_json_lacks_are_refused(server: Running) -> None:
    one = {"datatype": "FP64", "shape": [1, 1]}
    # A JSON number beyond float64 is infinite.
    body = '{"inputs": [{"name": "n", "datatype": "INT64", "shape": [1, 1], "data": [1]}, ' + json.dumps(
        {"name": "w", **one, "data": [0.5]}
    ).replace("0.5", "1e999")
    reply = server.call("POST", "/v2/models/pair/infer", body + "]}")
    assert (reply.status, "ask for it as binary data" in reply.error) == (400, True)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"n": np.ones((2, 3), np.int64), "w": np.ones((2, 4))}, "where batch 2, length 3, found (2, 4)"),
        ({"n": np.ones((2, 3), np.int64)}, "expected the inputs n, w, found n"),
    ],
)
def test_inputs_have_to_fit_each_other(arrays: dict[str, np.ndarray], words: str, server: Running) -> None:
    reply = server.infer("pair", arrays)
    assert (reply.status, words in reply.error) == (400, True), reply.error


def test_wrong_sizes_of_bodies(server: Running) -> None:
    body, length = request({"x": noise()})
    stated = {LENGTH: str(length)}
    for sent, headers, status, words in (
        (body + b"!", stated, 400, "expected 1,024 bytes of tensors behind"),
        (body[:-1], stated, 400, "expected 1,024 bytes of tensors"),
        (body, {LENGTH: "many"}, 400, "inference-header-content-length: expected at most"),
        (body, {LENGTH: str(2**40)}, 400, "inference-header-content-length: expected at most"),
        (gzip.compress(body[:-1]), stated | {"content-encoding": "gzip"}, 400, "x: expected 1,024 bytes, found 1,023"),
        (gzip.compress(body + b"!"), stated | {"content-encoding": "gzip"}, 400, "expected the end of the body"),
        (gzip.compress(body)[:-9], stated | {"content-encoding": "gzip"}, 400, "found"),
        (gzip.compress(body) + b"!", stated | {"content-encoding": "gzip"}, 400, "bytes behind its encoded data"),
        (body, stated | {"content-encoding": "gzip"}, 400, "expected a body in its content-encoding"),
        (body, stated | {"content-encoding": "br"}, 415, "expected gzip, deflate or none, found br"),
        (bytes(2 * 16 * 2**20), stated, 413, "expected a body of at most 16,785,408 bytes, found 33,554,432"),
        (b" " * (16 * 2**20 + 1), {}, 413, "expected at most 16,777,216 bytes of JSON"),
        (gzip.compress(b" " * 2**25), {"content-encoding": "gzip"}, 413, "found more"),
    ):
        reply = server.call("POST", INFER, sent, headers)
        assert (reply.status, words in reply.error) == (status, True), reply.error


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v2/models/other", 404, "model other: expected one of mix, pair"),
        ("GET", "/v2/models/mix/versions/9", 404, "model mix, version 9: expected "),
        ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", 404, "expected an address of the server"),
        ("GET", "/none", 404, "expected an address of the server"),
        ("GET", INFER, 405, "/v2/models/mix/infer: expected POST, found GET"),
        ("DELETE", "/v2/models/mix", 405, "/v2/models/mix: expected GET, found DELETE"),
    ],
)
def test_other_addresses(method: str, path: str, status: int, words: str, server: Running) -> None:
    reply = server.call(method, path)
    assert (reply.status, words in reply.error) == (status, True), reply.error


def test_the_head_of_an_answer(server: Running) -> None:
    """As of a probe that asks for it alone; the connection goes on."""
    heads = b"".join(b"HEAD %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in (b"/v2", b"/v2/models/other"))
    heads += b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lengths = []
    with server.open(heads) as connection, connection.makefile("rb") as answers:
        for status in (200, 404, 200):
            assert int(answers.readline().split()[1]) == status
            lengths.append(int(http.client.parse_headers(answers)["content-length"]))
        assert lengths[0] == lengths[2]
        assert json.loads(answers.read(lengths[2]))["name"] == "swift-export"
