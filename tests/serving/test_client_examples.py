"""The clients in examples/clients/server get what the session computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from embedded import Running, serving, session

pytestmark = pytest.mark.requires("serve")

CLIENTS = Path(__file__).parents[2] / "examples/clients/server"
TOKEN = "a-token-of-these-tests"
X = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[Running]:
    with serving(files, grpc_port=0, shared_memory=sys.platform == "linux", token=TOKEN) as found:
        yield found


def run(client: str, url: str, folder: Path, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    np.save(folder / "clip.npy", X)
    path = str(CLIENTS / client)
    assert "swift_export" not in Path(path).read_text(encoding="utf-8")
    return subprocess.run(
        [*([sys.executable, path] if client.endswith(".py") else [path]), "mix", "clip.npy", target],
        cwd=folder,
        env=os.environ | {"URL": url, "SWIFT_EXPORT_TOKEN": TOKEN} | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.mark.parametrize(
    "client",
    [
        "standard_library.py",
        pytest.param("triton_http.py", marks=pytest.mark.requires("tritonclient")),
        pytest.param("triton_grpc.py", marks=pytest.mark.requires("tritonclient")),
        pytest.param(
            "triton_shared_memory.py",
            marks=[
                pytest.mark.requires("tritonclient"),
                pytest.mark.skipif(sys.platform != "linux", reason="shared memory is served on Linux"),
            ],
        ),
    ],
)
def test_python(client: str, server: Running, files: dict[str, Path], tmp_path: Path) -> None:
    over_grpc = client in ("triton_grpc.py", "triton_shared_memory.py")
    done = run(client, server.grpc if over_grpc else f"127.0.0.1:{server.port}", tmp_path, "features.npy")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "features.npy: (2, 32)\n"
    (expected,) = session(files["mix"]).run(None, {"x": X})
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), expected)


@pytest.mark.requires("curl")
def test_curl(server: Running, files: dict[str, Path], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}"
    done = run("curl.sh", url, tmp_path, "features.f32", INPUT="x")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"][0]["shape"] == [2, 32]
    (expected,) = session(files["mix"]).run(None, {"x": X})
    assert (tmp_path / "features.f32").read_bytes() == expected.tobytes()
    done = run("curl.sh", url, tmp_path, "features.f32", INPUT="z")
    assert done.returncode == 1
    assert "expected the inputs x, found z" in done.stderr
