"""Measures SwiFT's artifacts and those of other exporters against jax.jit on this CPU, in one run, as one table.

A run of all rows also checks the golden cases with our ONNX files, and writes docs/benchmark.json, .md and .svg, and
the times that the command line quotes. The page keeps the ratios measured on other kinds of processors. Any other run
writes only to --output. The exit status is 1 if features differ by more than 1e-5, or if a file cannot be made, loaded
or run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from _bench.golden import golden_errors
from _bench.measuring import Bench
from _bench.processors import kept_sets
from _bench.report import Report
from _bench.rows import REFERENCE, ROWS, absent, select
from _bench.workers import Broken
from swift_export.system.hardware import processor

TOLERANCE = 1e-5
BATCHES = (1, 4)
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: What the command line reads; of a run that goes elsewhere it goes there too.
TIMES = ROOT / "swift_export" / "cli" / "measured.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with command-line arguments; returns the exit status."""
    options = _parser().parse_args(arguments)
    if package := absent(REFERENCE.packages):
        print(f"bench_cpu: {package} is not installed; it is the reference of all ratios", file=sys.stderr)
        return 1
    # A partial run must not replace the page of a full run.
    whole = options.architecture == "contrastive" and not options.only
    try:
        with tempfile.TemporaryDirectory() as scratch:
            report = _measure(options, whole, Path(scratch))
    except Broken as broken:
        _log(f"{REFERENCE.title}, the reference of all ratios: {broken}")
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text())
    folder = options.output or (DOCS if whole else None)
    if folder:
        _write(report, folder)
    wrong = [f.row.name for f in report.rows if (f.error or 0) > TOLERANCE]
    failed = [f.row.name for f in report.rows if f.failed]
    if wrong:
        _log(f"features differ by more than {TOLERANCE:g}: {', '.join(wrong)}")
    if failed:
        _log(f"failed: {', '.join(failed)}")
    return 1 if wrong or failed else 0


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        given = [name.strip() for name in text.split(",")]
        if unknown := set(given) - {row.name for row in ROWS}:
            raise argparse.ArgumentTypeError(f"no row {', '.join(sorted(unknown))}")
        return given

    def at_least(least: int) -> Callable[[str], int]:
        def number(text: str) -> int:
            if int(text) < least:
                raise argparse.ArgumentTypeError(f"expected at least {least}, found {text}")
            return int(text)

        return number

    cores = len(os.sched_getaffinity(0))
    summary, _, rest = (__doc__ or "").partition("\n\n")
    rows = "\n".join(f"  {row.name:20} {row.title}" for row in ROWS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench_cpu",
        description=f"{summary}\n\n{rest}",
        epilog=f"rows:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=names, default=[], metavar="NAMES", help="only these rows, separated by commas")
    parser.add_argument(
        "--rounds", type=at_least(2), default=7, metavar="N", help="rounds; the first does not count (default: 7)"
    )
    parser.add_argument("--architecture", choices=("contrastive", "tiny"), default="contrastive")
    parser.add_argument(
        "--threads", type=at_least(1), default=min(2, cores), metavar="N", help="threads per row (default: 2)"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="folder for benchmark.* and measured.json")
    return parser


def _measure(options: argparse.Namespace, whole: bool, folder: Path) -> Report:
    from swift_export.models.swift.check_inputs import noise
    from swift_export.models.swift.variants import TINY, VARIANTS
    from swift_export.models.swift.weights import synthetic_weights
    from swift_export.models.swift.weights.bundle_writer import write_bundle

    config = TINY if options.architecture == "tiny" else VARIANTS[options.architecture].config
    bundle = folder / "bundle"
    write_bundle(synthetic_weights(config, variant=options.architecture), bundle)
    bench = Bench(select(options.only), bundle, options.threads, folder, _log)
    bench.export()
    for batch in BATCHES:
        bench.measure(noise(config, batch), options.rounds)
    golden = golden_errors(folder, options.threads, _log) if whole else {}
    shape = config.input_shape()
    return Report(bench.figures, options.architecture, shape, options.threads, options.rounds, bench.idle, golden)


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = kept_sets(folder / "benchmark.json")
    (folder / "benchmark.json").write_text(json.dumps(report.to_dict(kept), indent=2) + "\n", encoding="utf-8")
    times = TIMES if folder == DOCS else folder / TIMES.name
    times.write_text(json.dumps(report.times(), indent=2) + "\n", encoding="utf-8")
    chart = None
    if find_spec("matplotlib") is None:
        _log("no chart: matplotlib is not installed")
    else:
        from _bench.chart import draw

        chart = "benchmark.svg"
        draw(report.rows, f"SwiFT, one clip on {report.threads} cores, {processor()}", folder / chart)
    (folder / "benchmark.md").write_text(report.markdown(chart, kept), encoding="utf-8")
    _log(f"wrote {folder / 'benchmark.md'}")


def _log(text: str) -> None:
    print(f"bench_cpu: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
