"""Makes the measured files with the command line, as users do."""

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
    """Make the files of the entry ``name`` of `EXPORTS` in ``folder``; returns the run time of the process in seconds.

    Raises:
        Broken: the command failed; the message is its last line.

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
        # Typer frames its message about a wrong option in a box.
        said = [line.strip(" │╭╰─╮╯") for line in done.stdout.splitlines()]
        raise Broken(next((line for line in reversed(said) if line), f"exit status {done.returncode}"))
    return seconds


def count_nodes(path: Path) -> int:
    """Number of nodes in an ONNX file, including subgraphs and functions."""
    import onnx

    def graphs(graph: onnx.GraphProto) -> Iterator[int]:
        yield len(graph.node)
        for node in graph.node:
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    yield from graphs(inner)

    model = onnx.load(path, load_external_data=False)
    return sum(graphs(model.graph)) + sum(len(function.node) for function in model.functions)
