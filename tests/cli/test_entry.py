"""Imports at the start, exit statuses and one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swift_export._version import __version__

HEAVY = ("jax", "numpy", "onnx", "onnxruntime", "tensorflow", "equinox", "nibabel", "huggingface_hub")


def test_help_shows_every_command(run) -> None:
    result = run("--help")
    assert result.returncode == 0
    for name in (
        "stablehlo",
        "savedmodel",
        "onnx",
        "all",
        "convert",
        "check",
        "diff",
        "inspect",
        "prepare",
        "run",
        "extract",
        "probe",
        "variants",
        "bundle",
        "runtimes",
    ):
        assert f" {name} " in result.stdout
    assert "$ swift-export " in result.stdout
    assert run().stdout == result.stdout


@pytest.mark.parametrize(
    "name",
    [
        "stablehlo",
        "savedmodel",
        "onnx",
        "all",
        "model",
        "convert",
        "check",
        "diff",
        "inspect",
        "run",
        "extract",
        "bundle",
        "runtimes",
    ],
)
def test_every_command_has_help_with_examples(run, name: str) -> None:
    result = run(name, "--help", COLUMNS="200")
    assert result.returncode == 0
    assert f"$ swift-export {name} " in result.stdout
    # Brackets in examples are no markup.
    assert ("x=float32[batch,3,224,224]" in result.stdout) == (name == "model")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["onnx", "--help"], ["onnx", "--variant", "hcp-sex", "--batch", "0"], ["--version"]]
)
def test_nothing_heavy_is_imported_before_it_is_used(arguments: list[str]) -> None:
    code = f"import sys; from swift_export.cli import main; main({arguments}); print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert not set(HEAVY) & set(result.stderr.split())


def test_an_interrupt_before_any_handler_is_one_line() -> None:
    """The command line's own modules take a moment to import."""
    code = """
import signal, sys
class Interrupting:
    def find_spec(name, *_):
        if name == "swift_export.cli.entry":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting)
import swift_export.cli
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (result.returncode, result.stderr) == (130, "swift-export: interrupted\n")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, swift_export; dir(swift_export); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    imported = set(result.stdout.split())
    assert "swift_export" in imported
    assert not {*HEAVY, "typer", "rich"} & imported


def test_version(run) -> None:
    assert run("--version").stdout == f"swift-export {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run, shell: str) -> None:
    # typer's own switch: take the shell that is named, not the one that happens to run the tests.
    named = run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "swift-export" in named.stdout


def test_variants_complete(run) -> None:
    completed = run(_SWIFT_EXPORT_COMPLETE="complete_bash", COMP_WORDS="swift-export onnx --variant c", COMP_CWORD="3")
    assert completed.stdout.split() == ["contrastive"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'. (see swift-export --help)"),
        (["onx"], "No such command 'onx'. Did you mean 'onnx'? (see swift-export --help)"),
        (["onnx", "--wieghts", "x"], "No such option: --wieghts. Did you mean '--weights'? (see swift-export onnx --"),
        (["onnx", "--zzz"], "No such option: --zzz (see swift-export onnx --help)"),
        (["onnx", "--batch", "two"], "Invalid value for '--batch'"),
        (["check"], "Missing argument 'PATH...'"),
        (["bundle"], "Missing option '--output' / '-o'"),
    ],
)
def test_bad_usage_is_one_line_with_status_2(refused: Callable[..., str], arguments: list[str], message: str) -> None:
    assert refused(*arguments).startswith(message)


def test_the_signals_of_a_program_that_calls_it_stay() -> None:
    code = (
        "import signal; from swift_export.cli import main\n"
        "handlers = lambda: [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]\n"
        "before = handlers(); assert main(['variants']) == 0; assert handlers() == before"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, check=True)


def test_an_internal_error_is_one_line_and_tells_how_to_get_the_traceback(run) -> None:
    code = (
        "import sys, swift_export.models.swift.variants, swift_export.cli as cli\n"
        "swift_export.models.swift.variants.VARIANTS = None\n"  # breaks `variants` from within
        "sys.exit(cli.main(['variants']))"
    )
    for debug in ("", "1"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"SWIFT_EXPORT_DEBUG": debug},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 1
        assert "internal error (AttributeError" in result.stderr
        assert "SWIFT_EXPORT_DEBUG=1" in result.stderr
        assert ("Traceback" in result.stderr) == bool(debug)


def test_a_reader_that_goes_away_is_no_error(run) -> None:
    pipe = "{ python -m swift_export variants; echo status $? >&2; } | true"
    result = subprocess.run(
        ["bash", "-c", pipe.replace("python", sys.executable)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.stderr == "status 1\n"
