"""Measures the latency of servers of one model against the rate of requests, up to and beyond saturation.

The servers are `swift-export serve`, the same session behind a plain FastAPI, and Triton on a layout's twin for its
Python backend (scripts/check_triton). Requests arrive at random (a Poisson process with a fixed seed, the same for all
servers) whether or not earlier ones are answered, and latency counts from the arrival. The rates are fractions of
what the session alone computes. A run of SwiFT with Triton writes serving-benchmark.json, .md and .svg into docs; any
other run writes only to --output. The exit status is 1 if a server fails, or if its answer is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from _bench.chart import COLOURS
from _check_triton import ENVIRONMENT, fetched, installed, twin
from _check_triton import served as served_by_triton
from _commands import command, environment
from _serving_processes import SATURATING, call, saturate, send_clip, served
from _serving_report import CLIPS, LOADS, OURS, ROUNDS, Report, Server, draw

from swift_export.errors import SwiftExportError, UsageError
from swift_export.serving.served_model import ServedModel, load_model
from swift_export.system.files import replaced
from swift_export.system.machine import all_processors
from swift_export.system.signals import exit_when_terminated

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAME = "serving-benchmark"
#: Answers may differ so much from the session's own, relative L2: another order of sums.
TOLERANCE = 1e-5

Send = Callable[[np.ndarray], bytes]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with command-line arguments; returns the exit status."""
    options = _parser().parse_args(arguments)
    triton: Path | None = options.triton or (ENVIRONMENT if (ENVIRONMENT / "complete").exists() else None)
    try:
        with exit_when_terminated(), tempfile.TemporaryDirectory(prefix="bench-serve-") as scratch:
            report = _measured(options.artifact, triton, options.requests, Path(scratch))
    except SwiftExportError as error:
        _log(str(error))
        return error.exit_status
    except (RuntimeError, OSError) as error:  # an error of a server, or its end
        _log(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text())
    # A run with less must not replace the page of a whole one.
    folder = options.output or (DOCS if triton and options.artifact is None else None)
    if folder:
        _write(report, folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    def count(text: str) -> int:
        if not 2 <= int(text) <= 200:
            raise argparse.ArgumentTypeError(f"expected 2 to 200, found {text}")
        return int(text)

    parser = argparse.ArgumentParser(
        prog="scripts/bench_serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    artifact = "an artifact with ONNX, or an .onnx file, with one input and a batch axis (default: SwiFT, made here)"
    parser.add_argument("--artifact", type=Path, metavar="PATH", help=artifact)
    requests = "requests to each server at each rate (default: 20)"
    parser.add_argument("--requests", type=count, default=20, metavar="N", help=requests)
    install = "measure Triton, too, installed into FOLDER if it is not there (default: if it is in .venv-triton)"
    parser.add_argument("--triton", type=Path, nargs="?", const=ENVIRONMENT, metavar="FOLDER", help=install)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=f"folder for {NAME}.*")
    return parser


def _measured(artifact: Path | None, triton: Path | None, requests: int, scratch: Path) -> Report:
    made = artifact is None
    if artifact is None:
        artifact = scratch / "contrastive"
        command("onnx", "--variant", "contrastive", "--weights", "synthetic", "--no-check", "-o", artifact)
    model = load_model(artifact, "alone", golden=False)
    clip = _clip(model, artifact)
    with ExitStack() as stack:
        servers = []
        for instances in range(1, min(2, all_processors()) + 1):
            own = ("--instances", str(instances)) if instances > 1 else ()
            server = stack.enter_context(served(artifact, "--queue", str(requests), *own))
            title, name = " ".join(["swift-export serve", *own]), f"serve{instances if own else ''}"
            servers.append(Server(name, title, OURS[instances - 1], server.infer, own=True))
        plain = stack.enter_context(_plain(artifact))
        servers.append(Server("fastapi", "plain FastAPI", COLOURS["others"], plain))
        if triton:
            versions, send = stack.enter_context(_triton(artifact, triton, scratch))
            servers.append(Server("triton", versions, COLOURS["jax"], send))
        inputs = {model.inputs[0].name: clip}
        expected = model.infer(inputs)
        for each in servers:
            _check(each, [each.send(clip)], expected)
            saturate(each.send, clip, SATURATING)  # until it has the memory of all that it computes at once
        direct = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(CLIPS):
                model.infer(inputs)
            direct.append(time.perf_counter() - start)
            for each in servers:
                each.saturated_s.append(saturate(each.send, clip, CLIPS))
                each.ratios.append(direct[-1] / each.saturated_s[-1])
        alone = median(direct) / CLIPS
        for load in LOADS:
            for each in servers:
                _log(f"{each.title}: {requests} requests at {load:g} of the capacity")
                each.latencies[load], answers = _offered(each.send, clip, load / alone, requests)
                _check(each, answers, expected)
    return Report("SwiFT" if made else artifact.name, alone, clip.nbytes, requests, servers)


def _clip(model: ServedModel, artifact: Path) -> np.ndarray:
    """Noise for the model's only input. Raises UsageError if that has several, or other sizes unknown."""
    spec = model.inputs[0]
    sizes = [dim for dim in spec.dims[1:] if isinstance(dim, int)]
    if len(model.inputs) > 1 or not model.batched or len(sizes) + 1 != len(spec.dims) or spec.dtype != "float32":
        found = ", ".join(map(str, model.inputs))
        raise UsageError(f"{artifact}: expected one input, float32 (batch, sizes...), found {found}; use another model")
    return np.random.default_rng(0).standard_normal((1, *sizes), np.float32)


def _check(server: Server, answers: Sequence[bytes], expected: Mapping[str, np.ndarray]) -> None:
    """Raise RuntimeError if the outputs at the end of an answer are not the session's own."""
    sizes = [array.nbytes for array in expected.values()]
    for answer in answers:
        if len(answer) < sum(sizes):
            raise RuntimeError(f"{server.title}: expected {sum(sizes)} bytes of outputs, found {len(answer)}")
        at = len(answer) - sum(sizes)
        for name, array in expected.items():
            found = np.frombuffer(answer, array.dtype, array.size, at).astype(np.float64)
            at += array.nbytes
            error = np.linalg.norm(found - array.ravel()) / np.linalg.norm(array)
            if not error <= TOLERANCE:
                raise RuntimeError(
                    f"{server.title}: {name}: expected the session's own result, found relative L2 {error:.1e}"
                )


def _offered(send: Send, clip: np.ndarray, rate: float, requests: int) -> tuple[list[float], list[bytes]]:
    """Seconds from arrival to answer, and answers, of requests that arrive at random, ``rate`` a second on average."""
    due = np.cumsum(np.random.default_rng(0).exponential(1 / rate, requests))
    ended = threading.Event()
    # A thread each: no request waits for another one before it is sent.
    with ThreadPoolExecutor(requests) as clients:
        start = time.perf_counter() + 0.05

        def one(at: float) -> tuple[float, bytes]:
            if ended.wait(max(0.0, start + at - time.perf_counter())):
                return 0.0, b""
            answer = send(clip)
            return time.perf_counter() - start - at, answer

        try:
            done = list(clients.map(one, due.tolist()))
        finally:  # after an error or Ctrl-C, what has not arrived is not sent
            ended.set()
    return [seconds for seconds, _ in done], [answer for _, answer in done]


@contextmanager
def _plain(artifact: Path) -> Iterator[Send]:
    """The plain server for the block."""
    told = [sys.executable, "-P", str(Path(__file__).parent / "_plain_server.py"), str(artifact)]
    with subprocess.Popen(told, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            if not (port := process.stdout.readline()):
                raise RuntimeError("the plain server: expected its port, found its end; its error is above")

            def send(clip: np.ndarray) -> bytes:
                status, body = call(int(port), "POST", "/infer", clip.reshape(-1).view(np.uint8).data)
                if status != 200:
                    raise RuntimeError(f"the plain server: expected an answer, found status {status}: {body[:200]!r}")
                return body

            yield send
        finally:
            process.kill()


@contextmanager
def _triton(artifact: Path, folder: Path, scratch: Path) -> Iterator[tuple[str, Send]]:
    """Triton, with its versions, and a client of it, for the block."""
    python = installed(folder.resolve())
    told = [str(python), "-c", "import onnxruntime; print(onnxruntime.__version__)"]
    runtime = subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()
    layout = scratch / "layout"
    command("layout", "triton", artifact, "--name", "model", "-o", layout)
    with served_by_triton(python, twin(layout, "model", scratch), scratch) as ports:
        versions = f"Triton {fetched(ports['http'], 'v2')['version']}, Python backend, ONNX Runtime {runtime}"
        yield versions, lambda clip: send_clip(ports["http"], "model", clip)


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    chart = f"{NAME}.svg" if find_spec("matplotlib") else None
    if chart is None:
        _log("no chart: matplotlib is not installed")
    else:
        with replaced(folder / chart) as draft:
            draw(report, draft)
    texts = {"json": json.dumps(report.to_dict(), indent=2) + "\n", "md": report.markdown(chart)}
    for suffix, text in texts.items():
        with replaced(folder / f"{NAME}.{suffix}") as draft:
            draft.write_text(text, encoding="utf-8")


def _log(text: str) -> None:
    print(f"bench_serve: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
