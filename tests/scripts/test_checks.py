"""``scripts/test``: what it runs, and its exit status; a shell script stands for the environment's Python."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# Says what it runs; FAILS fails, SLEEPS does not come back by itself. The environment is always ready.
PYTHON = """#!/bin/sh
[ "$1" = -m ] || exit 0
shift
echo "ran $*"
[ "$1" = "$SLEEPS" ] && { echo $$ >number.new; mv number.new number; exec sleep 60; }
[ "$1" = pytest ] && [ -n "$SLEEPS" ] && exec sleep 60
[ "$1" != "$FAILS" ]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a clone"
    python = root / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    shutil.copytree(REPOSITORY / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def environment(root: Path, **settings: str) -> dict[str, str]:
    (root / "tmp").mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(root / "tmp"), "FAILS": "", "SLEEPS": "", **settings}


@pytest.mark.parametrize("fails", ["", "ruff", "mypy", "pytest"])
def test_everything_runs_and_any_failure_is_status_1(root: Path, fails: str) -> None:
    done = subprocess.run(
        [root / "scripts/test", "-k", "a b"], env=environment(root, FAILS=fails), capture_output=True, text=True
    )

    assert done.returncode == (1 if fails else 0)
    ran = [line.removeprefix("ran ") for line in done.stdout.splitlines() if line.startswith("ran ")]
    # mypy runs beside pytest, and is heard after it.
    assert [line.split()[0] for line in ran] == ["ruff", "ruff", "pytest", "mypy"]
    assert ran[2].endswith(" -k a b")
    assert done.stderr == ""
    assert list((root / "tmp").iterdir()) == []


def test_ctrl_c_ends_pytest_and_mypy(root: Path, popen: Callable[..., subprocess.Popen[str]]) -> None:
    process = popen([root / "scripts/test"], env=environment(root, SLEEPS="mypy"), stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (root / "number").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    mypy = int((root / "number").read_text())

    os.killpg(process.pid, signal.SIGINT)  # as a terminal does

    process.communicate(timeout=30)
    assert process.returncode == 130
    while Path(f"/proc/{mypy}").exists() and "State:\tZ" not in Path(f"/proc/{mypy}/status").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert list((root / "tmp").iterdir()) == []
