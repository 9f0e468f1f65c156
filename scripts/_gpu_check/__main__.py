"""Parity and speed of SwiFT's files on this machine's GPU, without a network, with the installed packages, in minutes.

Exports synthetic weights in every precision and runs each row in a process of its own, in order of worth, as long as
the time budget lasts: our files, jax.jit and PyTorch on the same weights, and the peaks of the card. The report, and a
JSON file beside it, are written after every row. Rows that cannot run here, failed, or were not reached are listed with
the reason. The exit status is 1 if features are wrong, if one of our files breaks, or if there is no GPU.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from _gpu_check.exporting import ARCHITECTURES
from _gpu_check.report import TIMES, Report
from _gpu_check.rows import ROWS, select
from _gpu_check.running import Budget, Run, export_all, prepare
from swift_export.errors import CheckFailed, SwiftExportError, UsageError
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.report import table
from swift_export.runtimes.base import DEVICES, AbsentDevice, absent_gpu
from swift_export.system.cuda_driver import count_gpus
from swift_export.system.text import one_line

__all__ = ["main", "unpacked"]

REPORT = Path("docs/gpu-report.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with command-line arguments; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    command = " ".join(["scripts/gpu_check", *arguments])
    try:
        if options.device == "gpu" and not count_gpus():
            raise absent_gpu("this machine", "a CPU")
        with scratch_folder() as folder:
            report = _check(options, command, folder)
        print(*table(TIMES, report.time_rows()), sep="\n")
        print(_summary(report))
        if not report.computed and not report.failures:
            reasons = "; ".join(dict.fromkeys(o.reason for o in report.outcomes.values() if o.reason))
            raise AbsentDevice(f"nothing here computes on {options.device}: {reasons}")
        if report.failures:
            raise CheckFailed("; ".join(report.failures))
    except SwiftExportError as error:
        print(one_line(f"gpu_check: {error}"), file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        given = [name.strip() for name in text.split(",")]
        if unknown := set(given) - {row.name for row in ROWS}:
            raise argparse.ArgumentTypeError(f"no row {', '.join(sorted(unknown))}")
        return given

    def positive(text: str) -> float:
        number = float(text)
        if not (math.isfinite(number) and number > 0):
            raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
        return number

    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="scripts/gpu_check",
        description=f"{summary} {rest}",
        epilog=f"Rows, in order of worth: {', '.join(row.name for row in ROWS)}.",
    )
    parser.add_argument("--device", choices=DEVICES, default="gpu")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="contrastive")
    parser.add_argument(
        "--ort-gpu",
        type=Path,
        metavar="PATH",
        help="an onnxruntime-gpu wheel, or a folder with it or its contents",
    )
    parser.add_argument("--only", type=names, default=[], metavar="NAMES", help="only these rows, separated by commas")
    parser.add_argument(
        "--budget-s",
        type=positive,
        default=450.0,
        metavar="S",
        help="seconds for everything; rows that do not fit are not run (default 450)",
    )
    parser.add_argument("--seconds", type=positive, default=0.7, metavar="S", help="seconds per timing (default 0.7)")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="the report to write, a .md file, with a .json file beside it (default docs/gpu-report.md for a GPU)",
    )
    return parser


def _check(options: argparse.Namespace, command: str, folder: Path) -> Report:
    begun, budget, rows = time.monotonic(), Budget(options.budget_s), select(options.only)
    path = options.report or (REPORT if options.device == "gpu" else None)
    if path is not None and path.suffix != ".md":
        raise UsageError(f"--report {path}: expected a name that ends in .md, found another; the JSON goes beside it")
    search = None if options.ort_gpu is None else unpacked(options.ort_gpu, new_folder(folder / "packages"))
    config = ARCHITECTURES[options.architecture]
    report = Report(command, options.device, options.architecture, config, rows, lambda: time.monotonic() - begun)
    if path is not None:
        report.write(path)  # a path that cannot be written is found now
    here = [row for row in rows if options.device in row.devices]
    _print_line("exporting, and computing the reference")
    prepared = []
    missing = export_all(
        options.architecture,
        here,
        folder,
        lambda: prepared.append(prepare(options.architecture, folder)),
        budget.left_s,
    )
    ((weights, cases),) = prepared
    run = Run(options.device, folder, weights, cases, search, options.seconds, missing)
    for row in rows:
        outcome = report.outcomes[row.name] = run.row(row, budget)
        reason = f" ({outcome.reason})" if outcome.reason else ""
        times = "".join(f", {t.batch}: {t.compute.median:.2f} ms" for t in outcome.timed)
        _print_line(f"{report.elapsed_s():.0f} s: {row.name}: {outcome.status}{reason}{times}")
        if path is not None:
            report.write(path)
    if path is not None:
        _print_line(f"wrote {path} and {path.with_suffix('.json')}")
    return report


def unpacked(given: Path, folder: Path) -> Path:
    """A folder from which onnxruntime-gpu can be imported."""
    wheels = [given] if given.suffix == ".whl" else sorted(given.glob("*.whl"))
    if given.is_dir() and (given / "onnxruntime" / "__init__.py").is_file():
        return given.resolve()
    if len(wheels) != 1 or not zipfile.is_zipfile(wheels[0]):
        raise UsageError(f"--ort-gpu {given}: expected an onnxruntime-gpu wheel, or a folder with it or its contents")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)
    # It searches for CUDA's libraries beside itself.
    nvidia = find_spec("nvidia")
    for location in nvidia.submodule_search_locations or () if nvidia else ():
        (folder / "nvidia").symlink_to(location)
        break
    return folder


def _summary(report: Report) -> str:
    worst = max((c.relative_l2 for o in report.outcomes.values() for c in o.compared), default=math.nan)
    counts = [
        f"{status} {sum(outcome.status == status for outcome in report.outcomes.values())}"
        for status in ("measured", "absent", "failed", "stopped", "not run")
    ]
    failed = "; ".join(report.failures) or "nothing"
    return f"largest relative L2 {worst:.1e}; rows: {', '.join(counts)}; wrong or broken: {failed}"


def _print_line(what: str) -> None:
    print(one_line(f"gpu_check: {what}"), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
