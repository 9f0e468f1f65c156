"""Scans sent to the server: the answers are those of ``run``, to the bit; everything else is refused, and forgotten."""

from __future__ import annotations

import gzip
import json
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import Reply, Running, backbone, serving, until
from safetensors.numpy import load

import swift_export
from swift_export.serving.refusals import Stopping

pytestmark = pytest.mark.requires("serve", "fmri")

HERE = "0,-18,18"
SHAPE = (9, 11, 7, 30)
TOKEN = "0123456789abcdef"
#: What the name of a file tells of a person.
NAME = "sub-01_bold.nii.gz"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return backbone(tmp_path_factory.mktemp("artifact") / "model.onnx")


@pytest.fixture(scope="module")
def desk(artifact: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of a backbone and of another model, whose folder for temporary files is its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("spool")))
        paths = {"tiny": artifact, "mix": files["mix"]}
        limits = {"scan_bytes": 2**21, "scan_unpacked_bytes": 2**21, "scan_queue": 1}
        with serving(paths, golden=False, **limits) as found:
            yield found


@pytest.fixture(scope="module")
def scan(brains, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return brains.timed(tmp_path_factory.mktemp("scan") / NAME, brains.run(SHAPE), 0.8)


@pytest.fixture(scope="module")
def mask(brains, scan: Path) -> Path:
    return brains.threshold_mask(scan, scan.with_name("sub-01_mask.nii"), 900)


def form(fields: Mapping[str, str] | None = None, **files: Path | tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A form as browsers send it, and its headers."""
    boundary = secrets.token_hex(16)
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in (fields or {}).items()]
    for field, file in files.items():
        name, content = (file.name, file.read_bytes()) if isinstance(file, Path) else file
        parts.append(f'name="{field}"; filename="{name}"\r\ncontent-type: application/gzip\r\n\r\n'.encode() + content)
    head = f"--{boundary}\r\ncontent-disposition: form-data; ".encode()
    body = b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}


def send(
    desk: Running,
    fields: Mapping[str, str] | None = None,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    **files: Any,
) -> Reply:
    body, of_form = form({"placement": HERE} | dict(fields or {}), **files)
    return desk.call("POST", f"/v1/scans{query}", body, of_form | dict(headers or {}))


def spooled() -> list[Path]:
    return list(Path(tempfile.gettempdir()).iterdir())


def test_the_answers_are_those_of_run(desk: Running, artifact: Path, scan: Path, mask: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"drop_frames": (2, 1), "stride": 6, "mask": mask, "placement": HERE, "threads": 1}
    warned: list[str] = []
    facts = swift_export.run(artifact, scan, tmp_path / "one.tsv", warn=warned.append, **how).facts
    swift_export.run(artifact, scan, tmp_path / "one.safetensors", output_kind="tokens", warn=warned.append, **how)
    options = {"drop-frames": "2,1", "stride": "6"}
    table = send(desk, options, headers={"accept": "text/tab-separated-values"}, scan=scan, mask=mask)
    assert table.headers["content-type"] == "text/tab-separated-values; charset=utf-8"
    assert table.body == (tmp_path / "one.tsv").read_bytes()
    tokens = send(desk, options | {"output_kind": "tokens"}, "?format=safetensors", scan=scan, mask=mask)
    assert tokens.body == (tmp_path / "one.safetensors").read_bytes()
    answer = send(desk, options, scan=scan, mask=mask).json
    assert {"file": answer["file"], "file_sha256": answer["sha256"]} == {k: facts[k] for k in ("file", "file_sha256")}
    assert (answer["model"], answer["placement"], answer["mask"]) == ("tiny", HERE, mask.name)
    assert answer["warnings"] == facts["warnings"]
    assert len(answer["warnings"]) > 0
    rows = [line.split("\t") for line in table.body.decode().splitlines()[1:]]
    for row, window in zip(rows, answer["windows"], strict=True):
        assert [row[3], row[4]] == [str(window["first_frame"]), str(window["onset"])]
        np.testing.assert_array_equal(np.array(row[5:], np.float32), np.array(window["embedding"], np.float32))
    np.testing.assert_allclose(answer["mean"], load(tokens.body)["tokens"].mean((0, 1)), rtol=1e-5, atol=1e-6)
    same = ("starts", "placement", "drop_frames", "mean", "deviation", "artifact", "shape", "onsets", "mask")
    assert {name: answer["provenance"][name] for name in same} == {name: facts[name] for name in same}
    assert spooled() == []


def test_progress_and_the_view_of_the_page(desk: Running, scan: Path) -> None:
    reply = send(desk, {"windows": "2"}, "?view=true", {"accept": "application/x-ndjson"}, scan=scan)
    *before, last = [json.loads(line) for line in reply.body.splitlines()]
    assert before
    assert all(list(event) == ["progress"] for event in before)
    answer = last["result"]
    view = answer["view"]
    assert (view["size"], view["codes"], len(view["frame_means"])) == ([16] * 3, "LAS", 30)
    assert [stop - start for start, stop in view["box"]] == list(SHAPE[:3])
    assert answer["files"]["tsv"].startswith("participant_id\tscan")
    # What comes too late for a status of its own.
    reply = send(desk, {"start": "500"}, headers={"accept": "application/x-ndjson"}, scan=scan)
    if reply.status == 200:
        reply.body = reply.body.splitlines()[-1]
    assert reply.json["error"].startswith(f"{NAME}: expected at least 508 frames")


def patched(scan: Path, **fields: Any) -> tuple[str, bytes]:
    """The scan with another header."""
    import nibabel as nib

    content = gzip.decompress(scan.read_bytes())
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return NAME, header.binaryblock + content[348:]


REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "a placement": ({"placement": "mars"}, 400, "--placement mars: expected hcp, ukb, abcd"),
    "an orientation": ({"orientation": "up"}, 400, "--orientation up: expected one of LAS, RAS, keep"),
    "dropped frames": ({"drop_frames": "3"}, 400, "--drop-frames 3: expected two numbers of frames"),
    "windows": ({"windows": "0"}, 400, "--windows 0: expected all, or a number of at least 1"),
    "a stride": ({"stride": "-1"}, 400, "--stride -1: expected a number of frames of at least 1"),
    "a time": ({"resample_tr": "nan"}, 400, "--resample-tr nan: expected a positive number"),
    "a switch": ({"strict": "maybe"}, 400, "strict: expected true or false, found maybe"),
    "strict": ({"strict": "true"}, 400, "(an error because of --strict)"),
    "a kind": ({"output_kind": "logits"}, 400, "--output-kind logits: model.onnx computes features"),
    "a field": ({"output": "../../etc/passwd"}, 400, "expected the fields scan, mask, sidecar, output_kind"),
    "a long field": ({"placement": "x" * 2000}, 413, "placement: expected at most 1000 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_option_that_cannot_be(desk: Running, scan: Path, case: str) -> None:
    options, status, reason = REFUSED[case]
    reply = send(desk, options, scan=scan)
    assert (reply.status, reason in reply.error) == (status, True), reply.error


def test_a_scan_that_cannot_be(desk: Running, brains, scan: Path, mask: Path, tmp_path: Path) -> None:
    def refused(status: int, reason: str, **files: Any) -> None:
        query = files.pop("query", "")
        reply = send(desk, None, query, scan=files.pop("scan", scan), **files)
        assert (reply.status, reason in reply.error) == (status, True), (reply.status, reply.error)
        assert tempfile.gettempdir() not in reply.error

    whole = scan.read_bytes()
    refused(400, f"{NAME}: expected a NIfTI header", scan=(f"../../{NAME}", b"no scan"))
    refused(400, "sub-01_mask.nii: expected a 4D run, found one volume", scan=mask)
    refused(400, "the compressed file is damaged or truncated", scan=(NAME, whole[:-2000]))
    refused(400, f"{NAME}: the header's dimensions", scan=patched(scan, dim=[4, 9, 11, 7, -1, 1, 1, 1]))
    refused(400, "expected a mask on the grid", mask=brains.write(tmp_path / "m.nii", np.ones((3, 3, 3), np.uint8)))
    # 18 KB that claim, and hold, 4 MB.
    zeros = brains.write(tmp_path / "zeros.nii.gz", np.zeros((32, 32, 32, 32), np.float32))
    assert zeros.stat().st_size < 2**15
    refused(413, "zeros.nii.gz: expected at most 2,097,152 bytes when unpacked, found 4,194,656", scan=zeros)
    refused(413, "expected a body of at most 2,097,152 bytes", scan=(NAME, bytes(2**21)))
    reply = send(desk, {"strict": "true"}, scan=scan, mask=mask, sidecar=("sub-01_bold.json", b"{"))
    assert (reply.status, "the sidecar sub-01_bold.json cannot be read" in reply.error) == (400, True), reply.error
    refused(409, "mix: takes no scans: ", query="?model=mix")
    refused(404, "model none: expected one of tiny, mix", query="?model=none")
    refused(400, "format: expected one of json, tsv, safetensors", query="?format=exe")
    reply = desk.call("POST", "/v1/scans", *form({"placement": HERE}))
    assert (reply.status, reply.error[:38]) == (400, "scan: expected a NIfTI run (.nii, .nii")
    body, headers = form(scan=scan)
    assert (
        desk.call("POST", "/v1/scans", body[:-40], headers).error == "expected a whole form, found one that breaks off"
    )
    assert desk.call("POST", "/v1/scans", b"scan=1", {"content-type": "text/plain"}).status == 415
    # Browsers send forms of pages from elsewhere.
    for foreign in ({"origin": "http://elsewhere.test"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert desk.call("POST", "/v1/scans", body, headers | foreign).status == 403
    assert desk.call("POST", "/v1/scans", body, headers | {"sec-fetch-site": "same-origin"}).status == 400
    assert spooled() == []
    # Names of scans tell of persons.
    assert "sub-01" not in desk.log.getvalue()


def test_one_at_a_time_and_no_more_than_wait(desk: Running, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, computing = threading.Event(), []
    model = desk.server.service.scans.models.find("tiny").model
    real = type(model).infer

    def slow(self: Any, arrays: Any, instance: int) -> Any:
        computing.append(len(spooled()))
        assert held.wait(20)
        return real(self, arrays, instance)

    monkeypatch.setattr(type(model), "infer", slow)
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(send(desk, {"windows": "1"}, scan=scan))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(computing) == 1 and len(spooled()) == 2)
        reply = send(desk, scan=scan)
        assert (reply.status, int(reply.headers["retry-after"]) >= 1) == (429, True)
        assert "expected at most 2 scans at the same time" in reply.error
        # The other one waits, and other requests are answered meanwhile.
        assert (len(computing), desk.call("GET", "/v2/health/live").status) == (1, 200)
    finally:
        held.set()
        for thread in threads:
            thread.join()
    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].json["windows"] == replies[1].json["windows"]
    assert spooled() == []


def test_a_client_that_hangs_up_ends_the_work(desk: Running, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    model = desk.server.service.scans.models.find("tiny").model
    real, gone = type(model).infer, threading.Event()

    def slow(self: Any, arrays: Any, instance: int) -> Any:
        computed.append(1)
        assert gone.wait(20)
        return real(self, arrays, instance)

    monkeypatch.setattr(type(model), "infer", slow)
    body, headers = form({"placement": HERE, "stride": "1"}, scan=scan)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    start = f"POST /v1/scans HTTP/1.1\r\nhost: localhost\r\n{head}content-length: {len(body)}\r\n\r\n".encode()
    connection = desk.open(start + body)
    until(lambda: bool(computed))
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    time.sleep(0.3)  # until the server looks
    gone.set()
    until(lambda: not spooled())
    # Of 23 windows; one more may have been taken from the queue.
    assert len(computed) <= 3
    until(lambda: any(event.get("status") == 499 for event in desk.events))
    # Half a form.
    connection = desk.open(start + body[:500])
    until(lambda: len(spooled()) == 1)
    connection.close()
    until(lambda: not spooled())


def test_no_time_left(desk: Running, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = desk.server.service
    model, held = service.scans.models.find("tiny").model, threading.Event()
    real = type(model).infer

    def slow(self: Any, arrays: Any, instance: int) -> Any:
        held.wait(0.3)
        return real(self, arrays, instance)

    monkeypatch.setattr(type(model), "infer", slow)
    brief = replace(service.settings, scan_timeout_s=1.5)
    monkeypatch.setattr(service.scans, "_settings", brief)
    reply = send(desk, {"stride": "1"}, scan=scan)
    assert (reply.status, "expected a result within" in reply.error) == (504, True), reply.error
    monkeypatch.setattr(service, "draining", True)
    assert send(desk, scan=scan).status == Stopping.http_status
    assert spooled() == []


def test_the_page_needs_no_token_and_its_data_does(artifact: Path, scan: Path) -> None:
    with serving({"tiny": artifact}, golden=False, token=TOKEN) as found:
        page = found.call("GET", "/")
        assert page.status == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert found.call("GET", "/page/page.js").headers["content-type"] == "text/javascript; charset=utf-8"
        for path in ("/page/none.js", "/page/..%2f..%2fweb.py", "/page/index.html"):
            assert found.call("GET", path).status == 404
        assert found.call("GET", "/v1/scans").status == 401
        assert send(found, scan=scan).status == 401
        described = found.call("GET", "/v1/scans", headers={"authorization": f"Bearer {TOKEN}"}).json
        (model,) = described["models"]
        assert (model["name"], model["takes_scans"], model["grid"], model["frames"]) == ("tiny", True, [16] * 3, 8)
