"""``extract`` killed at random moments and resumed: its workers, itself, and the scheduler of a Dask cluster."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from _commands import ROOT, command, environment, free_port, words, workers_of

__all__ = ["kill_bars"]

Bar = tuple[str, str, str, bool]

_SCANS, _KILLS = 40, 20
_SPACE = "space-MNI152NLin6Asym_res-2"
#: A scheduler that was killed before the command reached it will not answer later.
_IMPATIENT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
#: Kills while one cohort is computed.
_TOGETHER = 5


def kill_bars(artifact: Path, scratch: Path) -> Iterator[Bar]:
    """Name, limit, measured value and verdict of each figure."""
    cohort = _cohort(scratch / "killed")
    how: list[str | Path] = [
        "participant",
        "--artifact",
        artifact,
        "--placement",
        "0,-18,18",
        "--output-kind",
        "tokens",
    ]
    undisturbed = scratch / "undisturbed"
    command("extract", cohort, undisturbed, *how)
    expected = _digests(undisturbed)
    for place in (Here(), Cluster(scratch / "dask")):
        out, moments, kills, same = scratch / "disturbed", random.Random(0), 0, True

        def start(place: Place = place, out: Path = out) -> subprocess.Popen[str]:
            called = words("extract", cohort, out, *how, *place.options)
            return subprocess.Popen(called, env=environment() | _IMPATIENT, stderr=subprocess.PIPE, text=True)

        with place:
            while kills < _KILLS:
                kills += _disturb(place, start, out, moments)
                command("extract", cohort, out, *how, *place.options)
                same = same and _digests(out) == expected
                shutil.rmtree(out)
        text = f"{'bit-identical' if same else 'DIFFERENT'} after {kills} kills of {place.victims}"
        what = f"`extract` of {_SCANS} scans {place.where}, killed and resumed"
        yield what, "every result once, bit-identical", text, same


class Place(Protocol):
    """Where scans are computed, who is killed there, and what starts it again."""

    where: str
    victims: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def options(self) -> Sequence[str]:
        """The options of ``extract``; what they name is running."""
        ...

    def kill(self, running: int, moments: random.Random) -> bool:
        """Kill one process; returns whether the command, ``running``, goes on."""
        ...


class Here:
    """Workers on this machine, which each command starts."""

    where, victims = "on this machine", "workers and parents"
    options: Sequence[str] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def kill(self, running: int, moments: random.Random) -> bool:
        """Kill the command or one of its workers."""
        workers = workers_of(running)
        victim = moments.choice(workers) if workers and moments.random() < 0.5 else running
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return victim != running


class Cluster:
    """A Dask scheduler and two workers; workers whose scheduler is lost end by themselves."""

    where, victims = "on a Dask cluster", "the scheduler"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._address = ""
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._started = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    @property
    def options(self) -> Sequence[str]:
        """The scheduler's address; one that was killed is started again, with new workers."""
        if self._scheduler is None or self._scheduler.poll() is not None:
            port = free_port()
            self._address = f"tcp://127.0.0.1:{port}"
            self._scheduler = self._start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port))
            how = ["--nthreads", "1", "--no-nanny", "--local-directory", str(self._folder)]
            for _ in range(2):
                self._start("dask_worker", self._address, *how)
            while not _listens(port):
                time.sleep(0.05)
        return ["--scheduler", self._address]

    def kill(self, running: int, moments: random.Random) -> bool:
        """Kill the scheduler."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()
        return False

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        called = [sys.executable, "-P", "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"]
        started = self._started.enter_context(
            subprocess.Popen(called, env=environment(), stdout=quiet, stderr=quiet, stdin=quiet)
        )
        self._started.callback(started.kill)
        return started


def _disturb(place: Place, start: Callable[[], subprocess.Popen[str]], out: Path, moments: random.Random) -> int:
    """Compute a cohort, and kill someone after random numbers of finished scans; returns the number of kills."""
    kills, running = 0, None
    for goal in sorted(moments.sample(range(_SCANS), _TOGETHER)):
        running = start() if running is None else running
        while running.poll() is None and _finished(out) < goal:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        kills += running.poll() is None
        if not place.kill(running.pid, moments) or running.poll() is not None:
            _ended(running)
            running = None
    if running is not None:
        _ended(running)
    return kills


def _ended(running: subprocess.Popen[str]) -> None:
    """Wait for a disturbed command; it may finish, be lost, or say in one line why not."""
    said = running.communicate()[1]
    if running.returncode not in (0, 1, 2, -signal.SIGKILL) or "Traceback" in said:
        raise SystemExit(f"extract, disturbed: exit status {running.returncode}: {said}")


def _finished(out: Path) -> int:
    return sum(1 for _ in out.glob("sub-*/func/*_desc-swift_embeddings.json"))


def _cohort(root: Path) -> Path:
    """A data set of small runs, each with another brain."""
    sys.path.insert(0, str(ROOT / "tests" / "scans"))
    brains = importlib.import_module("brains")
    root.mkdir()
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 0.8}')
    for number in range(_SCANS):
        folder = root / f"sub-{number:02}" / "func"
        folder.mkdir(parents=True)
        values = brains.run((9, 11, 7, 30), seed=number)
        base = f"sub-{number:02}_task-rest_{_SPACE}_desc-"
        brains.timed(folder / f"{base}preproc_bold.nii.gz", values, 0.8)
        brains.write(folder / f"{base}brain_mask.nii.gz", (values[..., 0] != 0).astype(np.uint8))
    return root


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "logs" not in path.parts and not path.name.startswith(".swift-export-")
    }
