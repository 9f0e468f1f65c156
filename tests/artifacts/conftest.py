from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).with_name("exporting.py")
ROOT = SCRIPT.parents[2]


@pytest.fixture(scope="session")
def exporting() -> ModuleType:
    """``exporting.py`` as a module: tests are collected by path, so it has no import name of its own."""
    spec = importlib.util.spec_from_file_location("exporting", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(popen: Start) -> Start:
    """Start ``exporting.py``, or another program, in a process of its own."""

    def run(*arguments: object, program: str | None = None, **options: object) -> subprocess.Popen[str]:
        command = ["-c", program] if program else [str(SCRIPT)]
        return popen(
            [sys.executable, *command, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return run
