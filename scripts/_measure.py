"""Measures the figures of docs/measurements.md with the command line that users run, and writes that page."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _conversion_bars import conversion_bars
from _door_bars import door_bars
from _feature_bars import feature_bars
from _golden_cases import golden_cases, load_recipe
from _parity_bars import parity_bars
from _scan_bars import scan_bars
from _serving_bars import serving_bars

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "measurements.md"
COMMAND = [str(ROOT / "scripts" / "swift-export")]
EXPORT = ["--variant", "contrastive", "--weights", "synthetic", "--quiet"]
MEGABYTE = 1e6
MISSED = "**not met**"

#: Name of the figure, its limit, the measured value, and whether the limit is met.
Bar = tuple[str, str, str, bool]


@dataclass(frozen=True)
class Run:
    """Run time in seconds, and peak memory of a command with its children in bytes."""

    seconds: float
    memory: float


def measured(*arguments: str) -> Run:
    """Run a command. Memory is the proportional set size of all its processes, sampled 20 times a second."""
    begun = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, sum(map(proportional_memory, family(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    done.set()
    watcher.join()
    if status:
        raise SystemExit(f"{' '.join(arguments)}: exit status {status}")
    return Run(time.perf_counter() - begun, peak)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(p for child in children for p in family(int(child)))]


def proportional_memory(pid: int) -> float:
    """Memory of a process in bytes; shared pages count in proportion."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def backbone_errors() -> dict[str, float]:
    """Relative L2 error of the features in every recorded case."""
    import jax

    from swift_export import SwiFT, SwiFTConfig

    recipe, errors = load_recipe(), {}
    for name, case, wanted in golden_cases():
        model = SwiFT(SwiFTConfig.from_hyper_parameters(case["hyper_parameters"]), recipe.checkpoint_state(case))
        with jax.default_matmul_precision("highest"):
            found = np.asarray(jax.jit(lambda m, x: m(x))(model, recipe.clip(case)))
        errors[name] = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    return errors


SESSION = """
import sys, time
import numpy as np
import onnxruntime

def held(what):
    # Not getrusage: a process inherits its peak from the parent.
    (line,) = [line for line in open("/proc/self/status") if line.startswith(what)]
    return int(line.split()[1]) * 1024

bold = np.random.default_rng(0).standard_normal((1, 1, 96, 96, 96, 20), dtype=np.float32)
start, begun = held("VmRSS"), time.perf_counter()
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
seconds, loaded = time.perf_counter() - begun, held("VmRSS")
session.run(None, {"bold": bold})
once = held("VmHWM")
for _ in range(4):
    session.run(None, {"bold": bold})
print(seconds, loaded - start, once - loaded, held("VmHWM") - loaded)
"""


def session(path: Path) -> tuple[float, float, float, float]:
    """Load time in ONNX Runtime; bytes of the loaded session, and bytes that one and five inferences add."""
    runs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", SESSION, str(path)], capture_output=True, text=True, check=True)
        runs.append([float(v) for v in done.stdout.split()])
    load, loaded, once, five = (float(np.median(column)) for column in zip(*runs, strict=True))
    return load, loaded, once, five


def graph_facts(path: Path) -> tuple[int, Counter[str], int]:
    """Number of nodes, nodes by type, and bytes of the largest initializer that is not a weight."""
    import onnx

    graph = onnx.load(path).graph
    others = [len(i.raw_data) for i in graph.initializer if not i.name.startswith("model.")]
    return len(graph.node), Counter(n.op_type for n in graph.node), max(others)


def same_twice(first: Path, second: Path) -> bool:
    """Whether two artifacts are equal: bytes of ONNX and StableHLO, manifest without time, parts of the SavedModel."""
    files = [p.relative_to(first) for folder in ("onnx", "stablehlo") for p in (first / folder).iterdir()]
    same = all(digest(first / p) == digest(second / p) for p in files)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (first, second)]
    for manifest in manifests:
        manifest.pop("created")
        # TensorFlow's protobufs contain random ids, so their parts are compared below.
        del manifest["artifacts"]["savedmodel"]["files"]
    models = [saved_parts(folder / "savedmodel" / "1") for folder in (first, second)]
    return same and manifests[0] == manifests[1] and models[0] == models[1]


def saved_parts(folder: Path) -> tuple[str, dict[str, str]]:
    """Digests of the module and of the variables in a SavedModel."""
    from swift_export.system.tensorflow import import_tensorflow

    tf = import_tensorflow()
    from swift_export.formats.savedmodel import serving_graph, xla_calls

    (module,) = [call.attr["module"].s for call in xla_calls(serving_graph(folder).graph_def)]
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("tensors")]
    variables = {n: hashlib.sha256(reader.get_tensor(n).tobytes()).hexdigest() for n in names}
    return hashlib.sha256(module).hexdigest(), variables


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_size(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def complete_artifact(scratch: Path) -> Path:
    """An artifact in all formats, exported and checked once."""
    first = scratch / "first"
    if not first.exists():
        measured("all", *EXPORT, "--output", str(first))
    return first


def swift_bars(scratch: Path) -> Iterator[Bar]:
    """SwiFT and its files: errors, times of commands, memory, sizes, reproducibility."""
    errors = backbone_errors()
    sharp = errors.pop("sharp")
    worst = max(errors.values())
    text = f"{worst:.1e}; `sharp` {sharp:.1e}"
    met = worst <= 2e-6 and sharp <= 1e-4
    yield "backbone against golden features, relative L2", "<= 2e-6; `sharp` 1e-4", text, met

    for most, argument in ((0.5, "--help"), (1.0, "runtimes")):
        fastest = min(answered(argument) for _ in range(5))
        yield f"`swift-export {argument}`", f"<= {most:g} s", f"{fastest:.2f} s", fastest <= most
    refused = refused_without_network(scratch)
    yield "`onnx` without weights, on an unresponsive network", "<= 5 s", f"{refused:.1f} s", refused <= 5

    first, second = scratch / "first", scratch / "second"
    onnx_run = measured("onnx", *EXPORT, "--output", str(scratch / "onnx-only"))
    yield "`onnx` command, including its check", "<= 60 s", f"{onnx_run.seconds:.0f} s", onnx_run.seconds <= 60
    yield "its peak memory", "<= 4 GB", f"{onnx_run.memory / 1e9:.2f} GB", onnx_run.memory <= 4e9
    all_run = measured("all", *EXPORT, "--output", str(first))
    yield "`all` command, including its check", "<= 150 s", f"{all_run.seconds:.0f} s", all_run.seconds <= 150
    yield "peak memory of `all`", "<= 4 GB", f"{all_run.memory / 1e9:.2f} GB", all_run.memory <= 4e9

    cells = parity_errors(json.loads((first / "parity.json").read_text()))
    text = f"{max(cells):.1e} at most, {len(cells) // 2} comparisons"
    yield "each artifact in its runtime against the reference, both measures", "<= 1e-5", text, max(cells) <= 1e-5

    model = first / "onnx" / "model.onnx"
    nodes, types, largest = graph_facts(model)
    size = model.stat().st_size
    yield "`model.onnx`", "<= 21.6 MB", f"{size / MEGABYTE:.2f} MB", size <= 21.6e6
    yield "its nodes", "<= 500", str(nodes), nodes <= 500
    fused = tuple(types[t] for t in ("LayerNormalization", "Gelu", "Softmax"))
    # Windows at a border attend in groups, with one softmax per group.
    whole = fused[:2] == (27, 12) and fused[2] >= 12
    yield "its LayerNormalization, Gelu, Softmax", "27, 12, at least 12", ", ".join(map(str, fused)), whole
    yield "its largest initializer other than a weight", "<= 1 MB", f"{largest / MEGABYTE:.2f} MB", largest <= 1e6
    load, loaded, once, five = session(model)
    yield "ONNX Runtime session load", "<= 0.5 s", f"{load:.2f} s", load <= 0.5
    text = f"{once / 1e9:.2f} GB beyond the loaded session of {loaded / 1e9:.2f} GB (including masks)"
    text += f"; {five / 1e9:.2f} GB after five inferences, because the runtime then plans a second pool"
    yield "peak memory of one inference beyond the clip", "<= 1 GB", text, once <= 1e9

    sizes = {p.name: p.stat().st_size for p in sorted((first / "stablehlo").iterdir())}
    sizes["savedmodel/1"] = folder_size(first / "savedmodel" / "1")
    text = ", ".join(f"`{name}` {size / MEGABYTE:.1f}" for name, size in sizes.items())
    yield "SavedModel and each StableHLO file", "<= 21 MB", f"{text} MB", max(sizes.values()) <= 21e6

    measured("all", *EXPORT, "--output", str(second))
    same = same_twice(first, second)
    yield "two exports of the same model", "identical", "identical" if same else "different", same


#: The sections of the page, and what measures their rows in a scratch folder.
SECTIONS: dict[str, tuple[str, Callable[[Path], Iterator[Bar]]]] = {
    "swift": ("SwiFT and its files", swift_bars),
    "parity": ("Parity", lambda scratch: parity_bars(complete_artifact(scratch), COMMAND, scratch)),
    "conversion": ("Conversion to ONNX", lambda scratch: conversion_bars(COMMAND, scratch)),
    "models": ("Any JAX model", door_bars),
    "scans": ("Scans", scan_bars),
    "features": ("Features", feature_bars),
    "serving": ("The embedded server", serving_bars),
}


def rows(bars: Iterator[Bar]) -> Iterator[str]:
    """Measure the rows of a section, and print each when it is known."""
    for what, limit, found, met in bars:
        print(f"{'met    ' if met else 'NOT MET'} {what}: {found} (limit {limit})", flush=True)
        yield f"| {what} | {limit} | {found} | {'met' if met else MISSED} |"


def answered(*arguments: str, status: int = 0, **settings: str) -> float:
    """Run time of a command in seconds; its output is discarded."""
    begun = time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments], env=os.environ | settings, capture_output=True)
    if done.returncode != status:
        raise SystemExit(f"{' '.join(arguments)}: exit status {done.returncode}: {done.stderr.decode()}")
    return time.perf_counter() - begun


def refused_without_network(scratch: Path) -> float:
    """Seconds until a command that needs a download gives up, with servers that accept connections and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        network = {"SWIFT_EXPORT_UPSTREAM": address, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "no_proxy": "*"}
        caches = {name: str(scratch / "empty") for name in ("SWIFT_EXPORT_CACHE", "HF_HUB_CACHE")}
        output = str(scratch / "refused")
        return answered("onnx", "--variant", "contrastive", "--output", output, status=2, **network, **caches)


def parity_errors(report: dict[str, Any]) -> list[float]:
    """Both error measures of every comparison in a parity report."""
    comparisons = [comparison for artifact in report["artifacts"] for comparison in artifact["comparisons"]]
    return [float(comparison[measure]) for comparison in comparisons for measure in ("relative_l2", "relative_max")]


def page(tables: dict[str, list[str]]) -> str:
    """The page, as Markdown, of the rows of each section."""
    cores = len(os.sched_getaffinity(0))
    lines = [
        "# Measurements",
        "",
        f"Made by `scripts/measure` on {cores} cores of a shared machine, each section in one run: full size,",
        "synthetic weights. The memory of a command covers all its processes (proportional set size, every 50 ms).",
        "",
    ]
    for section, (title, _) in SECTIONS.items():
        if section in tables:
            lines += [f"## {title}", "", "| figure | limit | measured | |", "|---|---|---|---|", *tables[section], ""]
    return "\n".join(lines)


def written(text: str) -> dict[str, list[str]]:
    """The rows of each section of a page."""
    titles = {title: section for section, (title, _) in SECTIONS.items()}
    parts = (part.splitlines() for part in text.split("\n## ")[1:])
    return {titles[title]: [line for line in lines[3:] if line] for title, *lines in parts if title in titles}


def main() -> int:
    """Measure and write the page; the exit status is 0 if every limit is met."""
    parser = argparse.ArgumentParser(prog="scripts/measure", description="Measure the figures of docs/measurements.md.")
    parser.add_argument("section", nargs="*", metavar="SECTION", help=f"one of {', '.join(SECTIONS)}; default: all")
    sections = parser.parse_args().section or list(SECTIONS)
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"expected one of {', '.join(SECTIONS)}, found {', '.join(sorted(unknown))}")
    tables = written(PAGE.read_text()) if PAGE.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for section in sections:
            tables[section] = list(rows(SECTIONS[section][1](Path(scratch))))
            PAGE.write_text(page(tables))
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 1 if any(MISSED in row for table in tables.values() for row in table) else 0


if __name__ == "__main__":
    raise SystemExit(main())
