"""The tests themselves, started as a shell starts what goes to the background: without ears for an interrupt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TEST = "artifacts/test_interruptions.py::test_a_signal_in_mid_export_removes_everything_staged"


def test_interrupts_reach_what_a_test_starts(tmp_path: Path) -> None:
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"]
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT HUP; exec "$@"', "sh", *pytest, str(REPOSITORY / "tests" / TEST)],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
