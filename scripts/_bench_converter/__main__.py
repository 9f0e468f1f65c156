"""Measures the converter's files of many networks against jax.jit and against jax2onnx's files, on one thread.

A run of all networks writes converter-benchmark.json, .md and .svg into docs; any other run writes only to --output.
The exit status is 1 if a network is not converted, or if its results differ from JAX's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from _bench_converter.measuring import Figures, measure
from _bench_converter.report import Report
from _bench_converter.rows import NETWORKS, Network

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAME = "converter-benchmark"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with command-line arguments; returns the exit status."""
    options = _parser().parse_args(arguments)
    networks = [network for network in NETWORKS if network.name in (options.only or [network.name])]
    try:
        with tempfile.TemporaryDirectory() as scratch:
            report = Report(_measure(networks, options.seconds, Path(scratch)), options.seconds)
    except KeyboardInterrupt:
        return 130
    print(json.dumps(report.to_dict(), indent=2) if options.json else report.text())
    # A partial run must not replace the page of a full run.
    folder = options.output or (None if options.only else DOCS)
    if folder:
        _write(report, folder)
    missed = [figures.network.name for figures in report.rows if figures.failed]
    if missed:
        _log(f"not converted, or differ from JAX: {', '.join(missed)}")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        given = [name.strip() for name in text.split(",")]
        if unknown := set(given) - {network.name for network in NETWORKS}:
            raise argparse.ArgumentTypeError(f"no network {', '.join(sorted(unknown))}")
        return given

    summary, _, rest = (__doc__ or "").partition("\n\n")
    known = "\n".join(f"  {n.name:18} {n.title} ({n.framework})" for n in NETWORKS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench_converter",
        description=f"{summary}\n\n{rest}",
        epilog=f"networks:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    only = "only these networks, separated by commas"
    parser.add_argument("--only", type=names, default=[], metavar="NAMES", help=only)
    seconds = "time of the measured rounds of a network, of which there are at least five (default: 8)"
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S", help=seconds)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=f"folder for {NAME}.*")
    return parser


def _measure(networks: Sequence[Network], seconds: float, folder: Path) -> list[Figures]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(networks))
        for network in networks:
            rows.append(
                measure(
                    network,
                    folder / network.name,
                    seconds,
                    lambda step, name=network.name: progress.update(task, description=f"{name}: {step}"),  # type: ignore[misc]
                )
            )
            progress.advance(task)
    return rows


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    chart = None
    if find_spec("matplotlib") is None:
        _log("no chart: matplotlib is not installed")
    else:
        from _bench_converter.chart import draw

        chart = f"{NAME}.svg"
        draw(report.rows, report.title, folder / chart)
    (folder / f"{NAME}.md").write_text(report.markdown(chart), encoding="utf-8")


def _log(text: str) -> None:
    print(f"bench_converter: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
