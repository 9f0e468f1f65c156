"""``bench``: latency, throughput, memory and energy of artifacts in their runtimes, beside each other."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swift_export.cli import options
from swift_export.cli.answers import Answer, json_option
from swift_export.cli.clip_inputs import given_clips
from swift_export.cli.console import Console
from swift_export.cli.epilog import examples
from swift_export.cli.extras import need_runtime_extras
from swift_export.cli.inputs import InputFiles, ScanOptions, scan_options
from swift_export.cli.lists import SEVERAL, numbers, words
from swift_export.cli.scan_outputs import made_folders
from swift_export.errors import MachineError, UsageError
from swift_export.system.files import check_output, replaced
from swift_export.system.machine import all_processors
from swift_export.system.signals import HungUp, Terminated
from swift_export.system.text import plural

if TYPE_CHECKING:
    from swift_export.benchmark.bench_rows import Benchmark

__all__ = ["bench", "register"]

_ROWS, _HOW, _FILES = "Rows", "Measurement", "Output"
#: Names of the files in the folder of ``--output``.
_NAME = "benchmark"


def register(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(
        epilog=examples(
            "swift-export bench artifacts/contrastive",
            "swift-export bench artifacts/contrastive --runtime onnxruntime,openvino --batch 1,4 --threads 2",
            "swift-export bench float32/onnx/model.onnx float16/onnx/model.onnx --device gpu --price-per-hour 3.5",
            "swift-export bench artifacts/contrastive --against jax_export --output report/",
        )
    )(bench)


@scan_options
@json_option("bench")
def bench(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="ARTIFACT...",
            help="Artifact folders, parts of them, or single files, also of other programs.",
            show_default=False,
        ),
    ],
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="NAME",
            help=f"Measure the files in this runtime. {SEVERAL} Default: every installed one that reads them.",
            autocompletion=options.runtime_names,
            rich_help_panel=_ROWS,
        ),
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            metavar="cpu|gpu",
            help=f"The device of the runtimes. {SEVERAL}",
            show_default="cpu",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="float32|tf32|float16|bfloat16",
            help=f"Number format of matrix products, where the runtime chooses it instead of the file. {SEVERAL}",
            show_default="float32",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    batches: Annotated[
        list[str] | None,
        typer.Option(
            "--batch",
            metavar="N",
            help=f"Batch size. {SEVERAL}",
            show_default="1, or the file's",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="NAME=N",
            help=f"Size of another dimension that may have any. {SEVERAL}",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="The baseline of ratios: the first row with these words in artifact, runtime, device or precision.",
            show_default="the first row",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processors of each runtime.", show_default="all", rich_help_panel=_HOW),
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="Time of the rounds per row.", rich_help_panel=_HOW)
    ] = 5.0,
    copies: Annotated[
        bool | None,
        typer.Option(
            "--copies/--no-copies",
            help="Also time calls from arrays to arrays, with the copies to and from the runtime.",
            show_default="on a GPU",
            rich_help_panel=_HOW,
        ),
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Measure on this 4D NIfTI run, folder of frame_N.pt or .npy clip instead of random numbers.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option(metavar="X", help="Price of the machine, for the cost of 1,000 clips.", rich_help_panel=_HOW),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help=f"Write {_NAME}.md, {_NAME}.json and {_NAME}.png to this folder.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw the rows.", rich_help_panel=_FILES)] = None,
    quiet: options.Quiet = False,
    *,
    scans: ScanOptions,
    answer: Answer,
) -> None:
    """Measure latency, throughput, memory and energy of artifacts in their runtimes, in interleaved rounds.

    Each row is a process of its own. A row that fails is reported while the others go on; the exit status is then 1.
    """
    names = words(runtimes, "--runtime")
    available = all_processors()
    if threads is not None and not 1 <= threads <= available:
        raise UsageError(f"--threads {threads}: expected 1 to {available}, the processors of this machine")
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise UsageError(f"--seconds {seconds}: expected a number of at least 0")
    if price_per_hour is not None and not (price_per_hour >= 0 and math.isfinite(price_per_hour)):
        raise UsageError(f"--price-per-hour {price_per_hour}: expected a number of at least 0")
    if inputs and len(inputs) > 1:
        raise UsageError(f"--input: expected one file, found {len(inputs)}; measure them one by one")
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: expected a folder, found a file")
    files = InputFiles(inputs or (), scans)
    files.check()
    need_runtime_extras(names)

    from swift_export.benchmark.bench_rows import Benchmark
    from swift_export.benchmark.benchmarking import run_benchmark
    from swift_export.benchmark.contenders import Wanted, find_contenders
    from swift_export.parity.targets import find_any
    from swift_export.runtimes.base import check_device, check_precision

    wanted = Wanted(
        names,
        tuple(map(check_device, words(devices, "--device"))) or ("cpu",),
        tuple(map(check_precision, words(precisions, "--precision"))) or ("float32",),
        tuple(dict.fromkeys(numbers(batches, "--batch"))),
        _sizes(sizes),
    )
    console = Console(quiet, json=answer.wanted)
    found = [find_any(path) for path in paths]
    lineup = find_contenders(found, wanted)
    baseline = lineup.contenders[0] if against is None else lineup.first(against)
    clips = given_clips(files, found, console, max(one.items for one in lineup.contenders))
    told = "random numbers" if not inputs else inputs[0].name
    benchmark = Benchmark(lineup, baseline, threads or available, seconds, told, price_per_hour)
    with made_folders([] if output is None else [output]):
        pictures = [path for path in (picture, None if output is None else output / f"{_NAME}.png") if path is not None]
        for path in pictures:
            check_output(path)
        try:
            with console.progress() as progress:
                run_benchmark(benchmark, clips, copies=copies, progress=progress)
        except (KeyboardInterrupt, Terminated, HungUp):
            if benchmark.measured:
                _show(benchmark, console)
            raise
        answer.add(**benchmark.to_dict())
        _show(benchmark, console)
        if benchmark.measured:
            _write(benchmark, output, pictures, console)
    if failed := benchmark.failed:
        what = plural(len(failed), "row") + (" failed" if benchmark.measured else " failed, and no other is left")
        raise MachineError(f"{what}: {failed[0].contender}: {failed[0].reason}")


def _sizes(given: Sequence[str] | None) -> dict[str, int]:
    found = {}
    for word in words(given, "--size"):
        match = re.fullmatch("([^=]+)=([0-9]{1,9})", word)
        if match is None or not int(match[2]):
            raise UsageError(f"--size {word}: expected NAME=N, a dimension and its size, such as tokens=128")
        found[match[1]] = int(match[2])
    return found


def _show(benchmark: Benchmark, console: Console) -> None:
    from swift_export.benchmark.bench_table import conditions, facts, failures, notes, table

    console.facts(facts(benchmark))
    if benchmark.measured:
        heads, rows, figures = table(benchmark, console.width)
        console.table(heads, rows, numbers=figures)
        for sentence in conditions(benchmark, heads):
            console.line(sentence, style="dim")
    for line in notes(benchmark):
        console.line(f"note: {line}")
    for line in failures(benchmark):
        console.line(f"failed: {line}", style="red")


def _write(benchmark: Benchmark, output: Path | None, pictures: Sequence[Path], console: Console) -> None:
    from swift_export.benchmark.bench_picture import draw_benchmark
    from swift_export.benchmark.bench_table import markdown
    from swift_export.system.plain_data import dumps

    written = list(pictures)
    if pictures:
        image = draw_benchmark(benchmark)
        for path in pictures:
            with replaced(path) as draft:
                image.save(draft, "PNG")
    if output is not None:
        texts = {"json": dumps(benchmark.to_dict()), "md": markdown(benchmark, f"{_NAME}.png")}
        for suffix, text in texts.items():
            written.append(output / f"{_NAME}.{suffix}")
            with replaced(written[-1]) as draft:
                draft.write_text(text, encoding="utf-8")
    for path in written:
        console.line(f"wrote {path}")
