"""A child that answers line by line, and what becomes of one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift_export.errors import MachineError
from swift_export.system.conversations import Conversation

CHILD = """
import os, sys, time
from swift_export.system.conversations import answer_lines

def respond(asked):
    print("a library's greeting")
    if asked == "end": os._exit(3)
    if asked == "break": raise ValueError("no such thing")
    if asked == "leave": os._exit(0)
    if asked == "wait": time.sleep(60)
    return {"asked": asked, "many": "x" * 100_000}

answer_lines(respond)
"""


@pytest.fixture
def child(tmp_path: Path) -> Conversation:
    (tmp_path / "talking.py").write_text(CHILD)
    with Conversation("talking", tmp_path, "the child", {"PYTHONPATH": str(tmp_path)}) as child:
        yield child


def test_each_line_has_its_answer_whatever_is_printed_and_however_long(child: Conversation) -> None:
    for asked in ("one", ["two"], {"three": 3}):
        answer = child.ask(asked)
        assert answer["asked"] == asked
        assert len(answer["many"]) == 100_000


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("end", "the child: ended with exit status 3: a library's greeting"),
        ("break", "the child: ended with exit status 1: ValueError: no such thing"),
        ("leave", "the child: ended without an answer"),
    ],
)
def test_a_child_that_ends_is_an_error(child: Conversation, asked: str, message: str) -> None:
    with pytest.raises(MachineError) as error:
        child.ask(asked)
    assert str(error.value) == message


def test_a_child_that_is_silent_is_ended(child: Conversation) -> None:
    child.ask("one")
    with pytest.raises(MachineError, match=r"the child: no answer after 0 s"):
        child.ask("wait", timeout_s=0.05)
    assert child.ended
    with pytest.raises(MachineError, match="the child: has ended"):
        child.ask("one")
