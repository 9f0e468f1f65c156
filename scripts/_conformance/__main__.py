"""Runs JAX's own test cases of its primitives through the converter and writes docs/conformance.md.

An interrupted run continues where it stopped. A partial run (--only, --dtype, --outcome, --sample) prints a summary and
writes no page. The exit status is 1 if a result is wrong, a file is rejected or the converter breaks.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from _conformance.cases import Case, read_cases
from _conformance.judging import OUTCOMES, Verdict
from _conformance.running import WorkerError, read_verdicts, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with command-line arguments; returns the exit status."""
    options = _parser().parse_args(arguments)
    part = bool(options.only or options.dtype or options.outcome or options.sample or options.case)
    results: dict[bool, list[Verdict]] = {}
    try:
        if options.all and not options.x64:
            # The cases depend on the mode of jax, which is fixed per process: the other mode runs in another one.
            subprocess.run(
                [sys.executable, "-P", "-m", "_conformance", *(arguments or sys.argv[1:]), "--x64"], check=False
            )
            results[True] = list(read_verdicts(_verdicts(options, True)).values())
        results[options.x64] = _run(options, options.x64)
    except WorkerError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("conformance: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    _summarise(results[options.x64], options.x64, options.list)
    if options.all and not options.x64 and not part:
        from _conformance.page import page

        PAGE.write_text(page(results[False], results[True], _versions()))
        print(f"wrote {PAGE.relative_to(ROOT)}")
    counted = [v for verdicts in results.values() for v in verdicts]
    return 1 if any(v.outcome in ("wrong", "rejected", "broke") for v in counted) else 0


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return [n for n in text.split(",") if n]

    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    parser.add_argument("--all", action="store_true", help="run both modes of jax and write docs/conformance.md")
    parser.add_argument("--x64", action="store_true", help="run the cases of jax with 64-bit types enabled")
    parser.add_argument("--only", type=names, metavar="PRIMITIVE,...", help="only cases of these primitives")
    parser.add_argument("--dtype", type=names, metavar="DTYPE,...", help="only cases of these types")
    parser.add_argument("--case", metavar="TEXT", help="only cases with this text in their name")
    parser.add_argument("--outcome", type=names, metavar="OUTCOME,...",
                        help=f"only cases with this outcome in an earlier run: {', '.join(OUTCOMES)}")  # fmt: skip
    parser.add_argument("--sample", type=int, metavar="N", help="only N cases, spread over primitives and types")
    parser.add_argument("--again", action="store_true", help="discard the results of earlier runs")
    parser.add_argument("--list", action="store_true", help="print every case that did not pass, with the reason")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "conformance", metavar="FOLDER",
                        help="folder for verdicts (default: build/conformance)")  # fmt: skip
    return parser


def _run(options: argparse.Namespace, x64: bool) -> list[Verdict]:
    import jax

    jax.config.update("jax_enable_x64", x64)
    cases = read_cases()
    options.results.mkdir(parents=True, exist_ok=True)
    path = _verdicts(options, x64)
    if options.again:
        path.unlink(missing_ok=True)
    done = read_verdicts(path)
    chosen = [
        case
        for case in cases
        if (not options.only or case.primitive in options.only)
        and (not options.dtype or case.dtype in options.dtype)
        and (not options.case or options.case in case.name)
    ]
    if options.outcome:
        earlier: dict[str, Verdict] = {}
        for old in sorted(options.results.glob(f"{_mode(x64)}-*.jsonl"), key=lambda p: p.stat().st_mtime):
            earlier |= read_verdicts(old)
        chosen = [c for c in chosen if c.name in earlier and earlier[c.name].outcome in options.outcome]
    if options.sample:
        chosen = _sample(chosen, options.sample)
    wanted = [case for case in chosen if case.name not in done]
    with _Progress(len(wanted)) as progress:
        done |= run(wanted, path, x64=x64, on_progress=progress.advance)
    return [done[case.name] for case in chosen]


def _verdicts(options: argparse.Namespace, x64: bool) -> Path:
    folder: Path = options.results
    return folder / f"{_mode(x64)}-{_fingerprint()}.jsonl"


def _mode(x64: bool) -> str:
    return "x64" if x64 else "x32"


def _sample(cases: Sequence[Case], size: int) -> list[Case]:
    """The same cases every time, from each primitive and type in turn."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.name):
        groups.setdefault((case.primitive, case.dtype), []).append(case)
    order = random.Random(0)
    for group in groups.values():
        order.shuffle(group)
    rounds = [[group[k] for group in groups.values() if k < len(group)] for k in range(max(map(len, groups.values())))]
    for members in rounds:
        order.shuffle(members)
    return [case for members in rounds for case in members][:size]


def _fingerprint() -> str:
    """Identifies the code of the converter and of the judge, and the versions that a verdict depends on."""
    digest = hashlib.sha256()
    judges = (
        Path(__file__).with_name(f"{name}.py")
        for name in ("cases", "factorizations", "judging", "rounding", "settling")
    )
    for path in (*sorted((ROOT / "swift_export" / "converter").rglob("*.py")), *judges):
        digest.update(path.read_bytes())
    digest.update(repr(_versions()).encode())
    return digest.hexdigest()[:12]


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("jax", "jaxlib", "onnx", "onnxruntime", "numpy")}


def _summarise(verdicts: Sequence[Verdict], x64: bool, everything: bool) -> None:
    counted = [v for v in verdicts if v.outside is None and v.outcome != "jax"]
    print(f"\n{'64-bit types' if x64 else 'default types'}: {len(verdicts)} cases, {len(counted)} applicable")
    outcomes = Counter(v.outcome for v in counted)
    for outcome in OUTCOMES[:-1]:
        share = outcomes[outcome] / len(counted) if counted else 0
        print(f"  {outcome:12} {outcomes[outcome]:5}  {share:7.2%}")
    reasons: dict[tuple[str, str], list[Verdict]] = {}
    for v in verdicts:
        if v.outcome not in ("pass", "jax") and (v.outside is None or v.outcome != "unsupported"):
            reasons.setdefault((v.outcome, v.primitive), []).append(v)
    for (outcome, primitive), group in sorted(reasons.items(), key=lambda item: (item[0][0], -len(item[1]))):
        print(f"  {outcome} {primitive}: {len(group)}, e.g. {group[0].name}: {group[0].reason[:200]}")
    if everything:
        for v in verdicts:
            if v.outcome != "pass":
                print(f"{v.outcome}\t{v.name}\t{v.reason}")


class _Progress:
    """A progress bar, shown only on a terminal."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("cases", total=total)

    def __enter__(self) -> _Progress:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def advance(self, verdict: Verdict) -> None:
        """Count one more finished case."""
        self._progress.update(self._task, advance=1, description=verdict.primitive)


if __name__ == "__main__":
    sys.exit(main())
