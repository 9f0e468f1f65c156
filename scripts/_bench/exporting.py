"""The files that are measured: made by command lines, as users make them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from _bench.rows import EXPORTS
from _bench.workers import Broken, environment

__all__ = ["count_nodes", "run_export"]


def run_export(name: str, bundle: Path, folder: Path, threads: int, *options: str) -> float:
    """Make the files of `EXPORTS`' entry ``name`` in ``folder``; seconds from the process's start to its end.

    Raises Broken with the command's last line.
    """
    module, *fixed = EXPORTS[name].command
    command = [sys.executable, "-P", "-m", module, *fixed, *options]
    begun = time.perf_counter()
    done = subprocess.run(
        [*command, "--weights", str(bundle), "--output", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(threads),
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        # A wrong option is told inside a box.
        said = [line.strip(" │╭╰─╮╯") for line in done.stdout.splitlines()]
        raise Broken(next((line for line in reversed(said) if line), f"exit status {done.returncode}"))
    return seconds


def count_nodes(path: Path) -> int:
    """Nodes of an ONNX file, those of subgraphs and functions included."""
    import onnx

    def graphs(graph: onnx.GraphProto) -> Iterator[int]:
        yield len(graph.node)
        for node in graph.node:
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    yield from graphs(inner)

    model = onnx.load(path, load_external_data=False)
    return sum(graphs(model.graph)) + sum(len(function.node) for function in model.functions)
