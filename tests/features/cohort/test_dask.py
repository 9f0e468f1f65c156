"""``extract`` on Dask workers: the same results, a lost scheduler, and a batch system that starts the workers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import digests

pytestmark = pytest.mark.requires("fmri", "scale")

Popen = Callable[..., subprocess.Popen[bytes]]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def scheduler(popen: Popen, environment: dict[str, str], tmp_path: Path) -> Callable[[int], subprocess.Popen[bytes]]:
    """Starts a scheduler and one worker; returns the scheduler."""

    def scheduler(port: int) -> subprocess.Popen[bytes]:
        python = [sys.executable, "-m"]
        place = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
        started = popen([*python, "distributed.cli.dask_scheduler", *place], env=environment, **QUIET)
        how = ["--nthreads", "2", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
        popen([*python, "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", *how], env=environment, **QUIET)
        return started

    return scheduler


def test_a_lost_scheduler_loses_nothing(
    scheduler, arguments, extract, environment: dict[str, str], cohort: Path, tmp_path: Path
) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    lost = scheduler(port)
    running = subprocess.Popen(
        arguments(cohort, "--scheduler", address), env=environment, stderr=subprocess.PIPE, text=True
    )
    while running.poll() is None and not list((tmp_path / "out").rglob("*_embeddings.tsv")):
        time.sleep(0.01)
    lost.kill()
    said = running.communicate()[1]
    (line,) = said.splitlines()
    assert f"--scheduler {address}: it was lost" in line
    assert running.returncode == 1
    port = free_port()
    scheduler(port)
    resumed = extract(cohort, "--scheduler", f"tcp://127.0.0.1:{port}")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert extract(cohort, out="here").returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "here")


@pytest.fixture
def batch_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Programs of Slurm that run each job here, at once; yields the folder of the jobs."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    programs = {
        "sbatch": f'cp "$1" {folder}/$$.sh\nsetsid sh {folder}/$$.sh >{folder}/$$.log 2>&1 &\n'
        f"echo $! >{folder}/$$.pid\necho Submitted batch job $$\n",
        "scancel": f"for job; do kill -- -$(cat {folder}/$job.pid) 2>/dev/null; done\n",
    }
    for name, code in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{code}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    yield folder
    for file in folder.glob("*.pid"):
        subprocess.run(["kill", "--", f"-{file.read_text().strip()}"], stderr=subprocess.DEVNULL)


def test_a_batch_system_starts_workers(
    batch_system: Path, arguments, environment, cohort: Path, tmp_path: Path
) -> None:
    how = ["--cluster", "slurm", "--cluster-option", "queue=short", "--cluster-option", "walltime=01:00:00"]
    path = {"PATH": os.environ["PATH"]}
    result = subprocess.run(
        arguments(cohort, *how, "--participant-label", "01", "02"),
        env=environment | path,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert len(list((tmp_path / "out").glob("sub-*/func/*_embeddings.tsv"))) == 2
    (job,) = batch_system.glob("*.sh")
    asked = re.findall("#SBATCH (.*)", job.read_text())
    assert {"-p short", "-t 01:00:00", "--cpus-per-task=1"} <= set(asked)


def test_refusals(extract, environment: dict[str, str], cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environment, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    for more, message in (
        (["--scheduler", f"tcp://127.0.0.1:{free_port()}"], "expected a Dask scheduler, found none"),
        (["--scheduler", "host"], "--scheduler host: expected an address such as tcp://host:8786"),
        (["--scheduler", "http://host:80"], "--scheduler http://host:80: expected an address such as tcp://host:8786"),
        (["--cluster", "slurm", "--cluster-option", "queue"], "--cluster-option queue: expected NAME=VALUE"),
        (["--cluster", "lsf"], "expected its program bsub, found none"),
    ):
        result = extract(cohort, *more)
        (line,) = result.stderr.splitlines()
        assert message in line
        assert result.returncode == 2
