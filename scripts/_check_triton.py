"""The program behind scripts/check_triton: a real Triton on the model repository of a layout.

The only Triton in a package, nvidia-pytriton's, has no ONNX Runtime backend. Its Python backend runs the same
model.onnx in ONNX Runtime instead; config.pbtxt differs only in the name of the backend. So Triton itself reads the
configuration, the warm-up and the requests, and combines them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-triton"
#: Triton's own clients come with it. It needs an older NumPy than this project.
PACKAGES = ("nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime", "tritonclient[grpc,http]")
READY_S = 120
#: Requests sent at once, to see them combined.
REQUESTS = 8

TWIN = '''
"""The model of the layout in ONNX Runtime, for Triton's Python backend."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.shapes = {value.name: value.shape for value in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.combined = config["max_batch_size"] > 0

    def execute(self, requests):
        names = [value.name for value in self.session.get_inputs()]
        given = [{n: pb_utils.get_input_tensor_by_name(r, n).as_numpy() for n in names} for r in requests]
        if not self.combined:
            return [self.answer(self.run(inputs)) for inputs in given]
        sizes = [len(inputs[names[0]]) for inputs in given]
        outputs = self.run({n: np.concatenate([inputs[n] for inputs in given]) for n in names})
        ends = np.cumsum(sizes)
        return [
            self.answer([array[end - size : end] for array in outputs]) for end, size in zip(ends, sizes, strict=True)
        ]

    def run(self, inputs):
        # A scalar has one dimension of size 1 in Triton.
        fitting = {n: a.reshape(a.shape[: len(self.shapes[n])]) for n, a in inputs.items()}
        return self.session.run(self.outputs, fitting)

    def answer(self, arrays):
        scalars = [array.reshape(*array.shape, 1) if array.ndim == self.combined else array for array in arrays]
        return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in zip(self.outputs, scalars, strict=True)])
'''

TOGETHER = """
import runpy, sys
from concurrent.futures import ThreadPoolExecutor

import tritonclient.http as oip
test = runpy.run_path(sys.argv[1])
case = test["json"].loads((test["HERE"] / "layout.json").read_text())["smoke_test"]
inputs = {tensor["name"]: test["read"](tensor) for tensor in case["inputs"]}
wanted = [tensor["name"] for tensor in case["outputs"]]
count = int(sys.argv[3])
with ThreadPoolExecutor(count) as pool:
    ask = lambda _: test["ask_oip"]("http", sys.argv[2], case["model"], inputs, wanted)
    answers = list(pool.map(ask, range(count)))
allowed = [case["relative_l2"], case["relative_max"]]
agreed = [
    test["agrees"](t["name"], a[t["name"]], test["read"](t), allowed) for a in answers for t in case["outputs"]
]
print(sum(agreed), "of", len(agreed), "outputs agree")
sys.exit(0 if all(agreed) else 1)
"""


def main() -> int:
    """Run the check; return the exit status."""
    parser = argparse.ArgumentParser(prog="check_triton", description=__doc__)
    parser.add_argument("layout", type=Path, help="a folder of swift-export layout triton")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="the environment with Triton")
    options = parser.parse_args()
    layout: Path = options.layout.resolve()
    try:
        record = json.loads((layout / "layout.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {}
    if record.get("layout") != "triton":
        print(f"{layout}: expected a folder of swift-export layout triton, found none", file=sys.stderr)
        return 2
    python = installed(options.environment.resolve())
    name = record["smoke_test"]["model"]
    passed = True
    with tempfile.TemporaryDirectory(prefix="check-triton-") as scratch:
        repository = twin(layout, name, Path(scratch))
        with served(python, repository, Path(scratch)) as ports:
            print(f"Triton {fetched(ports['http'], 'v2')['version']} has warmed {name} up and is ready", flush=True)
            for protocol in ("http", "grpc"):
                told = [str(python), str(layout / "smoke_test.py"), "--protocol", protocol]
                passed &= ran(f"smoke test by {protocol}", [*told, "--url", f"127.0.0.1:{ports[protocol]}"])
            passed &= by_curl(layout, name, record["smoke_test"], ports["http"])
            told = [str(python), "-c", TOGETHER, str(layout / "smoke_test.py"), f"127.0.0.1:{ports['http']}"]
            passed &= ran(f"{REQUESTS} requests at once", [*told, str(REQUESTS)], quiet=True)
            stats = fetched(ports["http"], f"v2/models/{name}/stats")["model_stats"][0]["batch_stats"]
            sizes = {entry["batch_size"]: entry["compute_infer"]["count"] for entry in stats}
            print("executions by batch size:", ", ".join(f"{size}: {count}" for size, count in sorted(sizes.items())))
    print("passed" if passed else "failed")
    return 0 if passed else 1


def installed(environment: Path) -> Path:
    """The Python of the environment with Triton, which is created if absent."""
    python, stamp = environment / "bin" / "python", environment / "complete"
    if not stamp.exists():
        print(f"installing {', '.join(PACKAGES)} into {environment}", flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        venv.create(environment, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, timeout=1800)
        stamp.touch()
    return python


def twin(layout: Path, name: str, scratch: Path) -> Path:
    """The layout's repository for the Python backend."""
    repository = scratch / "models"
    shutil.copytree(layout / "models", repository)
    config = repository / name / "config.pbtxt"
    text, count = re.subn(
        r'^backend: "onnxruntime"\ndefault_model_filename: "model\.onnx"$',
        'backend: "python"',
        config.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert count == 1, "the layout's backend is onnxruntime"
    config.write_text(text, encoding="utf-8")
    (repository / name / "1" / "model.py").write_text(TWIN, encoding="utf-8")
    return repository


@contextmanager
def served(python: Path, repository: Path, scratch: Path) -> Iterator[dict[str, int]]:
    """Triton with a repository, on ports of this machine, by protocol."""
    where = "import pytriton, sys; print(pytriton.__path__[0], '%d.%d' % sys.version_info[:2])"
    told = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.split()
    package, version = Path(told[0]), told[1]
    # Its Python backend looks for the program beside the library.
    home = scratch / "tritonserver"
    shutil.copytree(package / "tritonserver", home, ignore=shutil.ignore_patterns("python_backend_stubs"))
    stub = package / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy2(stub, home / "backends" / "python")
    libraries = [package.parent / "nvidia_pytriton.libs", Path(sys.base_prefix) / "lib"]
    ports = {protocol: free_port() for protocol in ("http", "grpc", "metrics")}
    environment = os.environ | {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(package.parent),
    }
    log = scratch / "log.txt"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [
                home / "bin" / "tritonserver",
                f"--model-repository={repository}",
                f"--backend-directory={home / 'backends'}",
                f"--http-port={ports['http']}",
                f"--grpc-port={ports['grpc']}",
                f"--metrics-port={ports['metrics']}",
                "--http-address=127.0.0.1",
                "--grpc-address=127.0.0.1",
                "--exit-on-error=true",
            ],
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        end = time.monotonic() + READY_S
        while not ready(ports["http"]):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit("\n".join(["Triton is not ready; the end of its log:", *ending(log)]))
            time.sleep(0.2)
        yield ports
    finally:
        if server.poll() is not None:
            print(f"Triton ended with exit status {server.returncode}:", *ending(log), sep="\n")
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def ending(log: Path) -> list[str]:
    """The errors in Triton's log, or its last lines."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return [line for line in lines if re.match(r"E\d|error:|Signal", line)] or lines[-15:]


def by_curl(layout: Path, name: str, case: dict[str, Any], port: int) -> bool:
    """Send the request of the README by curl, and see whether the answer holds every output."""
    if not shutil.which("curl"):
        print("curl: not installed")
        return True
    head = layout / "smoke" / "request.json"
    body = b"".join(path.read_bytes() for path in (head, *(layout / tensor["file"] for tensor in case["inputs"])))
    url = f"http://127.0.0.1:{port}/v2/models/{name}/infer"
    # Without the type, curl announces a form, which Triton parses as one: binary data crashes it.
    kind = "Content-Type: application/octet-stream"
    length = f"Inference-Header-Content-Length: {head.stat().st_size}"
    done = subprocess.run(
        ["curl", "-sS", "--data-binary", "@-", "-H", kind, "-H", length, url], input=body, capture_output=True
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        print(f"curl: expected an answer in JSON, found {done.stdout[:200]!r} {done.stderr.decode()[:200]}")
        return False
    held = {tensor["name"]: len(tensor["data"]) for tensor in answer.get("outputs", [])}
    passed = list(held) == [tensor["name"] for tensor in case["outputs"]]
    print(f"curl: {', '.join(f'{n} numbers of {output}' for output, n in held.items()) or answer}")
    return passed


def ran(what: str, command: list[str], quiet: bool = False) -> bool:
    """Run a command and print what it says, or with ``quiet`` only its last line; whether its exit status is 0."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    lines = done.stdout.strip().splitlines()
    print(f"{what}: {'; '.join(lines[-1:] if quiet else lines)}", flush=True)
    return done.returncode == 0


def fetched(port: int, path: str) -> Any:
    """The JSON that the server holds at a path."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
        return json.load(answer)


def ready(port: int) -> bool:
    """Whether the server and all its models are ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # it does not listen yet, or answers with an error
        return False


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
