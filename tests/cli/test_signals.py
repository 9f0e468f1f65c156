"""Interrupts at the moments at which Python alone would crash or lose them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BEGIN = """
import os, signal, sys, time
from swift_export.system.signals import Terminated, handle_signals, raise_arrived

handle_signals()

def stop():
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.01)  # the handler runs here at the latest

"""
END = """
except KeyboardInterrupt:
    print("interrupted")
except Terminated:
    print("terminated")
"""

IN_AN_IMPORT = """
try:
    import interrupted_module
    time.sleep(60)
"""
IN_A_FINALIZER = """
class Finalized:
    def __del__(self):
        stop()

try:
    Finalized()
    time.sleep(60)
"""
MADE_ANOTHER_ERROR = """
try:
    try:
        stop()
    except BaseException as error:
        try:
            raise ImportError("initialisation failed") from error
        except ImportError:
            raise_arrived()
    time.sleep(60)
"""


@pytest.mark.parametrize(("name", "word"), [("SIGINT", "interrupted"), ("SIGTERM", "terminated")])
@pytest.mark.parametrize(
    ("program", "before"), [(IN_AN_IMPORT, "imported\n"), (IN_A_FINALIZER, ""), (MADE_ANOTHER_ERROR, "")]
)
def test_no_interrupt_is_lost(tmp_path: Path, name: str, word: str, program: str, before: str) -> None:
    module = f"import os, signal, time; os.kill(os.getpid(), signal.{name}); time.sleep(0.2); print('imported')"
    (tmp_path / "interrupted_module.py").write_text(module)
    result = subprocess.run(
        [sys.executable, "-c", BEGIN.replace("{name}", name) + program + END],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, REPOSITORY)))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.stdout, result.stderr) == (f"{before}{word}\n", "")
