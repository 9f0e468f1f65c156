"""Child processes that end with the process that started them, whatever ends that, and with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swift_export.system.processes import Child

REPOSITORY = Path(__file__).parents[2]

# Starts a process of its own, says both numbers, and computes on in native code that keeps Python's lock.
BUSY = """
import ctypes, os, subprocess, sys
from pathlib import Path

sleeper = subprocess.Popen(["sleep", "60"])
Path(sys.argv[1], "writing").write_text(f"{os.getpid()} {sleeper.pid}")
Path(sys.argv[1], "writing").rename(Path(sys.argv[1], "numbers"))
ctypes.PyDLL(None).sleep(60)
"""
# Starts a child with a child, all in one folder.
NESTED = """
import sys
from pathlib import Path
from swift_export.system.processes import Child

folder = Path(sys.argv[1])
with Child("busy", folder, "the busy one") as child:
    child.wait()
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python programs with ``busy`` and ``nested`` importable."""
    (tmp_path / "busy.py").write_text(BUSY)
    (tmp_path / "nested.py").write_text(NESTED)
    started = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, REPOSITORY)))},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("module", ["busy", "nested"])
@pytest.mark.parametrize("thread", [False, True])
def test_a_killed_process_leaves_nothing_that_computes(tmp_path: Path, start: Start, module: str, thread: bool) -> None:
    caller = start(
        "import sys, threading; from pathlib import Path; from swift_export.system.processes import Child\n"
        "def run():\n"
        "    Child(sys.argv[1], Path(sys.argv[2]), 'the child').wait()\n"
        + ("threading.Thread(target=run).start()" if thread else "run()"),
        module,
        tmp_path,
    )
    numbers = read_numbers(tmp_path / "numbers")
    assert all(map(running, numbers))

    caller.kill()

    gone(*numbers)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_the_child_is_sent_does_not_untie_it(tmp_path: Path, start: Start, sent: signal.Signals) -> None:
    caller = start(
        "import signal, sys; from pathlib import Path; from swift_export.system.processes import Child\n"
        "for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)\n"
        "Child('busy', Path(sys.argv[1]), 'the child').wait()",
        tmp_path,
    )
    numbers = read_numbers(tmp_path / "numbers")
    os.killpg(numbers[0], sent)  # ignored by the child: its parent ignores it
    assert all(map(running, numbers))

    caller.kill()

    gone(*numbers)


def test_an_abandoned_child_is_ended(tmp_path: Path, start: Start) -> None:
    start(
        "import sys, time; from pathlib import Path; from swift_export.system.processes import Child\n"
        "child = Child('busy', Path(sys.argv[1]), 'the child')\n"
        "while not Path(sys.argv[1], 'numbers').exists(): time.sleep(0.01)\n"
        "del child\n"
        "sys.stdin.read(); time.sleep(60)",
        tmp_path,
    )
    gone(*read_numbers(tmp_path / "numbers"))


def test_a_child_is_never_signalled_after_it_was_waited_for(tmp_path: Path, start: Start) -> None:
    (tmp_path / "leaver.py").write_text(BUSY.rpartition("ctypes")[0])
    watched = start(
        "import os, sys; from pathlib import Path; from swift_export.system.processes import Child\n"
        "def hook(event, arguments):\n"
        "    if event in ('os.kill', 'os.killpg'): print(event, *arguments)\n"
        "sys.addaudithook(hook)\n"
        "with Child('leaver', Path(sys.argv[1]), 'the leaver') as child: child.wait()\n"
        "print('done')",
        tmp_path,
    )
    assert watched.communicate(timeout=20)[0] == "done\n"
    gone(*read_numbers(tmp_path / "numbers"))


def test_a_child_that_is_ended_is_gone_at_once(tmp_path: Path, start: Start) -> None:
    (tmp_path / "deaf.py").write_text("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + BUSY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with Child("deaf", tmp_path, "the child") as child:
            numbers = read_numbers(tmp_path / "numbers")
            begin = time.monotonic()
    assert time.monotonic() - begin < 2
    assert child.ended
    gone(*numbers)


def read_numbers(path: Path) -> list[int]:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, "it did not start"
        time.sleep(0.02)
    return [int(number) for number in path.read_text().split()]


def gone(*numbers: int) -> None:
    """Wait until none of them runs; it may take whoever inherits them a while to take notice."""
    end = time.monotonic() + 10
    while any(map(running, numbers)):
        assert time.monotonic() < end, "it computes on"
        time.sleep(0.02)


def running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{number}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
