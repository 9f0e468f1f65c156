"""Requirements of every help text, on narrow and on wide terminals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
#: The help of every command, by name, from one process.
ALL = """
import contextlib, io, json
from typer.main import get_command
from swift_export.cli.app import app
from swift_export.cli import main

shown = {}
for name in ("", *get_command(app).commands):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert main([name, "--help"] if name else ["--help"]) == 0
    shown[name] = text.getvalue()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module", params=[80, 120])
def shown(request: pytest.FixtureRequest) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": str(request.param)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALL], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_no_type_stands_beside_a_flag_or_a_named_argument(shown: dict[str, str]) -> None:
    assert len(shown) > 10
    for text in shown.values():
        assert "--help" in text
        # What is left in angle brackets are choices: <cpu|gpu>.
        assert not re.findall(r"<[^|>]*>", text)


def test_older_names_of_options_are_not_shown(shown: dict[str, str]) -> None:
    assert "--max-l2" in shown["check"]
    assert "--max-error" in shown["check"]
    assert not any(name in text for text in shown.values() for name in ("--rtol", "--atol"))
