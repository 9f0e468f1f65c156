"""SIGHUP as the other interrupts, and interrupts in a row: what they end, what they let finish, what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BEGIN = """
import os, signal, sys, time
from swift_export.system.signals import *

def stop(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs here at the latest

"""


def run(program: str, nohup: bool = False) -> tuple[int, str]:
    """Exit status and output of a program, started as nohup does or as a terminal."""
    start = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"] if nohup else []
    done = subprocess.run(
        [*start, sys.executable, "-c", BEGIN + program],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_sighup_unwinds() -> None:
    program = (
        "handle_signals()\n"
        "try: stop(signal.SIGHUP); time.sleep(5)\n"
        "except HungUp: print('hung up')\n"
        "class Finalized:\n"
        "    def __del__(self): stop(signal.SIGHUP)\n"
        "time.sleep(2.1)\n"
        "try: Finalized(); time.sleep(5)\n"
        "except HungUp: print('again')\n"
        "try: raise_arrived()\n"
        "except HungUp: print('still')\n"
    )
    assert run(program) == (0, "hung up\nagain\nstill\n")


def test_sighup_that_is_ignored_stays_ignored() -> None:
    program = (
        "handle_signals(); stop(signal.SIGHUP)\n"
        "with signals_deferred(): stop(signal.SIGHUP)\n"
        "with exit_when_terminated(): stop(signal.SIGHUP)\n"
        "print('alive')\n"
    )
    assert run(program, nohup=True) == (0, "alive\n")


def test_further_interrupts_let_the_clean_up_finish_unless_it_hangs() -> None:
    program = (
        "handle_signals()\n"
        "try:\n"
        "    try: stop(signal.SIGINT); time.sleep(5)\n"
        "    finally:\n"
        "        stop(signal.SIGINT); stop(signal.SIGTERM); stop(signal.SIGHUP)\n"
        "        print('cleaned')\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "try:\n"
        "    time.sleep(2.1)\n"
        "    stop(signal.SIGTERM)\n"
        "except Terminated: print('terminated')\n"
    )
    assert run(program) == (0, "cleaned\ninterrupted\nterminated\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_every_interrupt_waits_until_a_deferring_block_is_done(name: str) -> None:
    program = (
        "with signals_deferred():\n"
        f"    stop(signal.{name})\n"
        "    print('done', flush=True)\n"
        "print('not reached', flush=True)\n"
    )
    assert run(program) == (-getattr(signal, name), "done\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_batch_schedulers_and_terminals_let_a_library_clean_up(name: str) -> None:
    program = (
        "with exit_when_terminated():\n"
        f"    try: stop(signal.{name}); time.sleep(5)\n"
        "    finally: print('cleaned', flush=True)\n"
    )
    assert run(program) == (128 + getattr(signal, name), "cleaned\n")
