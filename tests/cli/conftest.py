"""The command line as users meet it: a process of its own, its two streams and its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forkserver
import pytest

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


def environment(**settings: str) -> dict[str, str]:
    """The test's environment, in which ``swift_export`` is importable from any folder."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY)} | settings


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "swift_export", *map(str, arguments)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``swift-export ARGUMENTS...`` in a process of its own, in the test's folder, without a network.

    A new Python only where a test sets variables that may be read on import: see `forkserver.py`.
    """

    def run(*arguments: str | Path, cwd: Path = tmp_path, **settings: str) -> Result:
        caches = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
        given = environment(**caches | settings)
        command = forkserver.python("swift_export", [*map(str, arguments)], given)
        return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True)

    return run


@pytest.fixture
def start(tmp_path: Path, popen: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``swift-export ARGUMENTS...`` in the test's folder, to be interrupted by the test."""

    def start(*arguments: str | Path, **settings: str) -> subprocess.Popen[str]:
        return popen(
            command(*arguments),
            cwd=tmp_path,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checked ONNX artifact of the tiny model, as the command line makes it; tests copy what they change."""
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    arguments = ["onnx", "--weights", str(GOLDEN / "tiny-full" / "checkpoint.ckpt"), "-o", str(folder)]
    given = environment()
    command = forkserver.python("swift_export", arguments, given)
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Runs a command that has to be refused as bad input, in one line; returns the line."""

    def refused(*arguments: str | Path, status: int = 2, **settings: str) -> str:
        result = run(*arguments, **settings)
        assert result.returncode == status, result.stderr
        assert result.stderr.startswith("swift-export: error: ")
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr.removeprefix("swift-export: error: ").rstrip("\n")

    return refused


@pytest.fixture
def tiny() -> Path:
    """A real Lightning checkpoint of a small model."""
    return GOLDEN / "tiny-full" / "checkpoint.ckpt"
