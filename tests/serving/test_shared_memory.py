"""Tensors in shared memory: by NVIDIA's clients, and against clients that mean harm."""

from __future__ import annotations

import gc
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import Reply, Running, serving, session

from swift_export.errors import UsageError

pytestmark = [
    pytest.mark.requires("serve"),
    pytest.mark.skipif(sys.platform != "linux", reason="shared memory is served on Linux"),
]

ROOT = "/v2/systemsharedmemory"
X = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[Running]:
    with serving(files, timeout_s=5.0, grpc_port=0, shared_memory=True, no_token=True) as found:
        yield found


@pytest.fixture(autouse=True)
def unregistered(server: Running) -> Iterator[None]:
    """Each test leaves no region and no descriptor behind."""
    before = descriptors()
    yield
    assert server.call("POST", f"{ROOT}/unregister").status == 200
    assert descriptors() == before


def descriptors() -> int:
    """How many descriptors of these tests' shared memory are open."""
    gc.collect()
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += os.readlink(entry).startswith("/dev/shm/sxtest")
    return found


@dataclass
class Shared:
    """A shared memory object of a client."""

    key: str
    path: Path
    descriptor: int

    def bytes(self) -> bytes:
        return self.path.read_bytes()


@contextmanager
def shared(size: int, content: bytes = b"") -> Iterator[Shared]:
    key = f"sxtest-{secrets.token_hex(8)}"
    path = Path("/dev/shm") / key
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(descriptor, size)
        os.pwrite(descriptor, content, 0)
        yield Shared(f"/{key}", path, descriptor)
    finally:
        os.close(descriptor)
        path.unlink()


def register(server: Running, name: str, key: Any, size: Any, **more: Any) -> Reply:
    body = json.dumps({"key": key, "byte_size": size, **more})
    return server.call("POST", f"{ROOT}/region/{name}/register", body.encode())


def placed(region: str, size: int, offset: int = 0) -> dict[str, Any]:
    return {
        "shared_memory_region": region,
        "shared_memory_byte_size": size,
        **({"shared_memory_offset": offset} if offset else {}),
    }


def infer(server: Running, inputs: dict[str, Any], outputs: dict[str, Any] | None = None, **more: Any) -> Reply:
    asked = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": list(X.shape), "parameters": inputs} | more],
        **({"outputs": [{"name": "y", "parameters": outputs}]} if outputs else {}),
    }
    return server.call("POST", "/v2/models/mix/infer", json.dumps(asked).encode())


@pytest.mark.requires("tritonclient")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_nvidias_client(server: Running, files: dict[str, Path], protocol: str) -> None:
    import tritonclient.utils.shared_memory as memory

    triton = import_module(f"tritonclient.{protocol}")

    (expected,) = session(files["mix"]).run(None, {"x": X})
    address = server.grpc if protocol == "grpc" else f"127.0.0.1:{server.port}"
    key = f"/sxtest-{secrets.token_hex(8)}"
    handle = memory.create_shared_memory_region("both", key, 100 + X.nbytes + expected.nbytes)
    client = triton.InferenceServerClient(address)
    try:
        memory.set_shared_memory_region(handle, [X], offset=100)
        client.register_system_shared_memory("both", key, X.nbytes + expected.nbytes, offset=100)
        told = client.get_system_shared_memory_status()
        (region,) = told.regions.values() if protocol == "grpc" else told
        facts = (lambda name: getattr(region, name)) if protocol == "grpc" else region.__getitem__
        assert [facts(name) for name in ("name", "key", "offset", "byte_size")] == [
            "both",
            key,
            100,
            X.nbytes + expected.nbytes,
        ]
        given = triton.InferInput("x", list(X.shape), "FP32")
        given.set_shared_memory("both", X.nbytes)
        wanted = triton.InferRequestedOutput("y")
        wanted.set_shared_memory("both", expected.nbytes, offset=X.nbytes)
        client.infer("mix", [given], outputs=[wanted])
        found = memory.get_contents_as_numpy(handle, np.float32, expected.shape, offset=100 + X.nbytes)
        np.testing.assert_array_equal(found, expected)
        client.unregister_system_shared_memory("both")
        with pytest.raises(Exception, match="region both: expected a registered one"):
            client.infer("mix", [given])
    finally:
        client.close()
        memory.destroy_shared_memory_region(handle)


def test_one_tensor_in_shared_memory_and_one_in_the_body(server: Running) -> None:
    n, w = np.array([[1, -2, 3]]), np.array([[0.5, 0.25, 4.0]])
    with shared(24, w.tobytes()) as memory:
        assert register(server, "w", memory.key, 24).status == 200
        asked = {
            "inputs": [
                {"name": "w", "datatype": "FP64", "shape": [1, 3], "parameters": placed("w", 24)},
                {"name": "n", "datatype": "INT64", "shape": [1, 3], "data": n.tolist()},
            ],
            "outputs": [{"name": "positive"}, {"name": "product", "parameters": placed("w", 24)}],
        }
        found = server.call("POST", "/v2/models/pair/infer", json.dumps(asked).encode())
        assert found.status == 200, found.error
        positive, product = found.head["outputs"]
        assert positive["data"] == [True, False, True]
        assert product["parameters"] == placed("w", 24)
        assert np.frombuffer(memory.bytes()).tolist() == [0.5, -0.5, 12.0]


def test_memory_that_shrinks_gives_an_error_and_not_the_end_of_the_server(server: Running) -> None:
    with shared(X.nbytes, X.tobytes()) as memory, shared(256) as result:
        assert register(server, "in", memory.key, X.nbytes).status == 200
        assert register(server, "out", result.key, 256).status == 200
        os.ftruncate(result.descriptor, 100)
        found = infer(server, placed("in", X.nbytes), placed("out", 256))
        assert found.status == 400
        assert found.error == "region out: expected a shared memory object of 256 bytes or more, found 100"
        assert len(result.bytes()) == 100, "it did not grow again"
        for size in (1000, 0):
            os.ftruncate(memory.descriptor, size)
            found = infer(server, placed("in", X.nbytes))
            assert found.status == 400
            expected = f"region in: expected a shared memory object of 2,048 bytes or more, found {size:,}"
            assert found.error == expected
    # What has lost its name is still there for those who have it open, as everywhere.
    assert server.call("GET", "/v2/health/live").status == 200


def test_only_shared_memory_objects_of_the_own_user(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4096))
    with shared(4096) as memory:
        bad = [
            None,
            7,
            "",
            "/",
            "//",
            "/../etc/passwd",
            str(secret),
            "/a/b",
            "/.x",
            "/sem.x",
            "/a.b",
            "a\0b",
            "/\u00e9",
        ]
        for key in bad:
            found = register(server, "r", key, 16)
            assert found.status == 400, key
            assert "expected the name of a shared memory object" in found.error
        base = Path("/dev/shm") / f"sxtest-{secrets.token_hex(8)}"
        others = {"link": base.symlink_to, "inner": base.symlink_to, "folder": None, "pipe": None, "absent": None}
        for kind in others:
            if kind == "link":
                base.symlink_to(secret)
            elif kind == "inner":
                base.symlink_to(memory.path)
            elif kind == "folder":
                base.mkdir()
            elif kind == "pipe":
                os.mkfifo(base)
            try:
                found = register(server, "r", f"/{base.name}", 16)
                assert found.status == 400, kind
                assert found.error.endswith("expected a shared memory object of the server's user, found none"), kind
            finally:
                if kind == "folder":
                    base.rmdir()
                elif kind != "absent":
                    base.unlink()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert register(server, "r", memory.key, 16).error.endswith("of the server's user, found none")
        monkeypatch.undo()
        assert register(server, "r", memory.key.strip("/"), 16).status == 200, "the slash may be left out, as in POSIX"
        assert server.call("GET", f"{ROOT}/region/r/status").json[0]["byte_size"] == 16


def test_registrations_are_checked(server: Running) -> None:
    before = descriptors()
    with shared(4096) as memory:
        for size, more, words in (
            (4097, {}, "expected a shared memory object of 4,097 bytes or more, found 4,096"),
            (4096, {"offset": 1}, "expected a shared memory object of 4,097 bytes or more, found 4,096"),
            (0, {}, "byte_size: expected at least 1, found 0"),
            (-1, {}, "byte_size: expected a number of bytes, found -1"),
            (2**63, {}, "byte_size: expected a number of bytes"),
            (True, {}, "byte_size: expected a number of bytes, found True"),
            (1.5, {}, "byte_size: expected a number of bytes, found 1.5"),
            (16, {"offset": "1"}, "offset: expected a number of bytes, found 1"),
            (16, {"offset": -1}, "offset: expected a number of bytes, found -1"),
        ):
            found = register(server, "r", memory.key, size, **more)
            assert found.status == 400, words
            assert words in found.error
        assert register(server, "r", memory.key, 16).status == 200
        assert "found one that is registered" in register(server, "r", memory.key, 16).error
        assert "expected a name" in register(server, "%0A%1b", memory.key, 16).error
        assert server.call("POST", f"{ROOT}/region/s/register", b"[").status == 400
        assert server.call("POST", f"{ROOT}/region/s/register", b"[]").status == 400
        assert server.call("POST", f"{ROOT}/region/s/register", bytes(2**17)).status == 413
        assert server.call("GET", f"{ROOT}/region/s/status").status == 404
        assert server.call("POST", f"{ROOT}/region/s/unregister").status == 200
        statuses = [register(server, f"r{number}", memory.key, 16).status for number in range(256)]
        assert statuses == [200] * 255 + [400]
        assert descriptors() == before + 1 + 256
        assert len(server.call("GET", f"{ROOT}/status").json) == 256


def test_places_are_checked(server: Running) -> None:
    with shared(8192, X.tobytes()) as memory:
        assert register(server, "r", memory.key, X.nbytes, offset=0).status == 200
        for inputs, words in (
            (placed("s", X.nbytes), "region s: expected a registered one, r"),
            (placed("r", X.nbytes - 1), "mix: x: expected 2,048 bytes for FP32 [2, 1, 16, 16], found 2047"),
            (placed("r", X.nbytes, 1), "region r: expected at most 2,048 bytes of it, found 2,048 from 1"),
            (placed("r", X.nbytes, -1), "mix: x: shared_memory_offset: expected a number of bytes, found -1"),
            ({"shared_memory_region": 1}, "mix: x: shared_memory_region: expected a name, found 1"),
            ({"shared_memory_region": "r"}, "mix: x: shared_memory_byte_size: expected a number of bytes, found None"),
            ({"shared_memory_offset": 1}, "shared_memory_offset: expected the parameter shared_memory_region with it"),
        ):
            found = infer(server, inputs)
            assert found.status in (400, 404), words
            assert words in found.error
        both = infer(server, placed("r", X.nbytes), data=X.tolist())
        assert "found both" in both.error
        found = infer(server, placed("r", X.nbytes), placed("r", 255))
        assert (found.status, found.error) == (
            400,
            "region r: expected at least 256 bytes for an output, found 255",
        )
        assert memory.bytes()[: X.nbytes] == X.tobytes()
        found = infer(server, placed("r", X.nbytes), placed("r", 256, X.nbytes - 255))
        assert found.status == 400
        assert infer(server, placed("r", X.nbytes)).status == 200


def test_an_endless_object_is_not_read(server: Running) -> None:
    """One of a terabyte that holds nothing, for a model of any length."""
    size = 2**40
    with shared(size) as memory:
        assert register(server, "r", memory.key, size).status == 200
        part = {"shape": [1, size // 8], "parameters": placed("r", size)}
        inputs = [{"name": "n", "datatype": "INT64"} | part, {"name": "w", "datatype": "FP64"} | part]
        found = server.call("POST", "/v2/models/pair/infer", json.dumps({"inputs": inputs}).encode())
        assert found.status == 413
        assert "expected inputs of at most" in found.error


def test_a_region_in_use_stays_open(server: Running) -> None:
    """Its descriptor's number is not another file's before the request has ended."""
    from swift_export.serving.shared_memory import Place, read, write

    regions = server.server.service.regions
    with shared(16, b"0123456789abcdef") as memory:
        regions.register("r", memory.key, 4, 12)
        place = Place("r", 4, 2)
        before = descriptors()
        found = regions.find(place)
        regions.unregister("r")
        target = bytearray(4)
        read(found[place], place, memoryview(target))
        assert target == b"6789"
        write(found[place], place, memoryview(b"ABC"))
        assert descriptors() == before
        del found
        assert descriptors() == before - 1
        assert memory.bytes() == b"012345ABC9abcdef"


def test_who_may_use_it(files: dict[str, Path]) -> None:
    from swift_export.serving.refusals import Forbidden
    from swift_export.serving.serve_settings import ServeSettings
    from swift_export.serving.shared_memory import Regions

    with pytest.raises(UsageError, match=r"--shared-memory: expected a token"):
        ServeSettings(shared_memory=True).check()
    ServeSettings(shared_memory=True, token="a" * 16).check()
    for client in ("10.0.0.1", "::2", "::ffff:10.0.0.1", None, "127.0.0.1.example"):
        with pytest.raises(Forbidden, match="expected a client on the server's machine"):
            Regions(True).allow(client)
    for client in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"):
        Regions(True).allow(client)
    with serving({"mix": files["mix"]}) as server:
        for method, path in (
            ("GET", "status"),
            ("POST", "region/r/register"),
            ("GET", "region/r/status"),
            ("POST", "unregister"),
        ):
            found = server.call(method, f"{ROOT}/{path}", b"{}" if method == "POST" else None)
            assert found.status == 403
            assert found.error == "shared memory is off; start the server with --shared-memory"
        assert infer(server, placed("r", X.nbytes)).status == 403
        assert "system_shared_memory" not in server.call("GET", "/v2").json["extensions"]
