"""Who gets in, by which name, over TLS; how long anybody may take; what the log and the metrics tell."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import subprocess
from pathlib import Path

import numpy as np
import pytest
from embedded import HOST, Running, request, serving, until

from swift_export.errors import UsageError
from swift_export.serving.access import read_token
from swift_export.serving.serve_settings import ServeSettings
from swift_export.serving.trace_context import trace_of

pytestmark = pytest.mark.requires("serve")

TOKEN = "0123456789abcdef-secret"
X = {"x": np.zeros((1, 1, 16, 16), np.float32)}


def test_a_token_opens_the_server(files: dict[str, Path]) -> None:
    with serving({"mix": files["mix"]}, token=TOKEN) as server:
        for given in (
            {},
            {"authorization": TOKEN},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": "Bearer é"},
        ):
            reply = server.call("GET", "/v2/models/mix", headers=given)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert server.infer("mix", X).status == 401
        assert server.call("GET", "/metrics").status == 401
        assert server.call("GET", "/v2/models/mix", headers={"authorization": f"bearer {TOKEN}"}).status == 200
        # For the probes of an orchestrator.
        assert server.call("GET", "/v2/health/ready").status == 200
        assert TOKEN not in server.log.getvalue()


def test_a_page_under_another_name_does_not_reach_a_server_of_this_machine(server: Running) -> None:
    for host, status in (("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example", 400)):
        assert server.call("GET", "/v2", headers={"host": host}).status == status


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("short", "expected a token of 16 to 4096 printable ASCII characters, found 5"),
        ("a" * 5000, "found 4097"),
        ("two words, far from each other", "expected a token"),
        (None, "No such file or directory"),
    ],
)
def test_tokens_that_are_none(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(UsageError, match=words):
        read_token(tmp_path / "token")


def test_where_the_token_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.delenv("SWIFT_EXPORT_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("SWIFT_EXPORT_TOKEN", TOKEN[::-1])
    assert (read_token(None), read_token(tmp_path / "token")) == (TOKEN[::-1], TOKEN)


def test_other_machines_need_a_token(files: dict[str, Path]) -> None:
    from swift_export.serving.server import start_server

    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0: expected a token"):
        start_server([files["mix"]], ServeSettings(host="0.0.0.0"))
    with pytest.raises(UsageError, match="--tls-cert and --tls-key: expected both"):
        start_server([files["mix"]], ServeSettings(tls_cert=files["mix"]))
    with pytest.raises(UsageError, match="expected a certificate in PEM"):
        start_server([files["mix"]], ServeSettings(tls_cert=files["mix"], tls_key=files["mix"]))


def test_a_port_in_use_is_refused_before_models_are_loaded(server: Running) -> None:
    from swift_export.serving.server import start_server

    with pytest.raises(UsageError, match=f"--port {server.port}: cannot listen there: Address already in use"):
        start_server([Path(__file__).parent], ServeSettings(port=server.port))


def test_of_two_servers_that_start_on_one_port_the_later_is_refused() -> None:
    from swift_export.serving.repository import Repository
    from swift_export.serving.server import listen, server_for

    first = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    with first, listen("127.0.0.1", port) as second:
        first.listen()
        late = server_for(Repository([], ServeSettings()), ServeSettings())
        with pytest.raises(UsageError, match=f"--port {port}: cannot listen there any more: Address already in use"):
            asyncio.run(late.startup([second]))
    with pytest.raises(UsageError, match="--grpc-port 8001: expected another port than that of HTTP"):
        ServeSettings(port=8001, grpc_port=8001).check()


@pytest.mark.requires("openssl")
def test_https(files: dict[str, Path], tmp_path: Path) -> None:
    import grpc

    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subprocess.run([*made, "-keyout", key, "-out", certificate, *name], check=True, capture_output=True)
    with serving({"mix": files["mix"]}, tls_cert=certificate, tls_key=key, grpc_port=0) as server:
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection(HOST, server.port, context=context, timeout=20)
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().read() == b'{"ready":true}'
        connection.close()
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(server.grpc, trusted) as channel:
            assert channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"", timeout=20) == b"\x08\x01"
        with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"", timeout=20)


def test_headers_that_are_slow_endless_or_no_http(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from swift_export.serving import guarded_http

    with server.open(b"\x16\x03\x01 hello\r\n\r\n") as connection:
        assert b"400 Bad Request" in connection.recv(4096)
    with server.open(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 12_000) as connection:
        assert b"431 Request Header Fields Too Large" in connection.recv(4096)
    monkeypatch.setattr(guarded_http, "HEADERS_S", 0.1)
    with server.open(b"GET / HTTP/1.1\r\nhost") as connection:
        assert b"408 Request Timeout" in connection.recv(4096)
    with server.open(b"") as connection:
        assert connection.recv(4096) == b""


def test_a_refused_body_is_not_read_for_ever(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from swift_export.serving import guarded_http

    monkeypatch.setattr(guarded_http, "REST_S", 0.2)
    head = b"POST /v2/models/mix/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999999\r\n\r\n"
    with server.open(head + b"x" * 1000) as connection:
        assert b"413 " in connection.recv(4096)
        connection.sendall(b"x" * 1000)
        try:
            rest = connection.recv(4096)
        except ConnectionResetError:
            rest = b""
        assert rest == b""


def test_an_idle_connection_ends(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.server.config, "timeout_keep_alive", 0.2)
    head = b"POST /v2/models/other/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n"
    with server.open(head) as connection:
        assert b"404 " in connection.recv(4096)
        connection.sendall(b"123456789")  # after its answer
        assert connection.recv(4096) == b""


def test_the_log_tells_traces_and_no_data(server: Running) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    reply = server.call("GET", "/v2/models/mix", headers={"traceparent": parent})
    told = reply.headers["traceparent"].split("-")
    assert (told[:2], told[3]) == (parent.split("-")[:2], "01")
    assert told[2] != parent.split("-")[2]
    server.call("GET", "/v2/models/%1b%5b2J%0a")
    until(lambda: len([e for e in server.events if e.get("status") == 404 and "1b" in e.get("error", "")]) > 0)
    event = next(e for e in server.events if e.get("trace") == told[1])
    assert (event["route"], event["model"], event["status"], event["span"]) == (
        "/v2/models/{name}",
        "mix",
        200,
        told[2],
    )
    assert "\x1b" not in server.log.getvalue()
    assert all(json.dumps(event).isascii() for event in server.events)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-0-0-0",
        f"00-{'0' * 32}-{'1' * 16}-00",
        f"ff-{'1' * 32}-{'1' * 16}-00",
        f"00-{'1' * 32}-{'1' * 16}-00-x",
    ],
)
def test_traces_that_are_none_begin_anew(header: str | None) -> None:
    found = trace_of(header)
    assert (found.parent, len(found.trace_id), len(found.span), found.flags) == (None, 32, 16, "00")


def received(metrics: str) -> float:
    """Bytes that the model mix has received."""
    start = 'swift_export_received_bytes_total{model="mix"}'
    (line,) = [line for line in metrics.splitlines() if line.startswith(start)]
    return float(line.split()[-1])


def test_metrics(server: Running) -> None:
    server.infer("mix", X)
    before = received(server.metrics)
    server.infer("mix", X)
    server.call("GET", "/v2/models/other")
    found = server.metrics
    for stage in ("receive", "queue", "compute", "send"):
        assert f'swift_export_stage_seconds_count{{model="mix",stage="{stage}"}}' in found
    assert 'swift_export_queue_depth{model="mix"} 0.0' in found
    assert "other" not in found.replace('route="other"', "")

    assert received(found) - before == request(X)[1] + 1024
