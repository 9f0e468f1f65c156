"""``extract`` on this machine: what it writes, what it keeps, and that nothing is lost however it ends."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import swift_export

from .conftest import HERE, SPACE, add, digests

pytestmark = pytest.mark.requires("fmri", "scale")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def status(out: Path) -> dict[str, str]:
    return {row["participant_id"]: row["status"] for row in rows(out / "logs/status.tsv")}


def table(out: Path, label: str) -> Path:
    return out / f"sub-{label}/func/sub-{label}_task-rest_{SPACE}_desc-swift_embeddings.tsv"


@pytest.fixture
def undisturbed(extract, cohort: Path, tmp_path: Path) -> dict[str, str]:
    result = extract(cohort, out="undisturbed")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return digests(tmp_path / "undisturbed")


def test_what_is_written_is_what_run_computes(extract, cohort: Path, tiny: Path, tmp_path: Path) -> None:
    result = extract(cohort, "--participant-label", "01", "sub-03", "--output-kind", "tokens")
    assert (result.returncode, result.stderr) == (0, "")
    out = tmp_path / "out"
    assert status(out) == {"sub-01": "done", "sub-03": "done"}
    scan = cohort / f"sub-03/func/sub-03_task-rest_{SPACE}_desc-preproc_bold.nii"
    how = {"mask": str(scan).replace("preproc_bold", "brain_mask"), "drop_frames": (1, 0), "placement": HERE}
    swift_export.run(tiny, scan, tmp_path / "alone.tsv", **how, warn=lambda _: None)
    alone, found = rows(tmp_path / "alone.tsv"), rows(table(out, "03"))
    assert [row["first_frame"] for row in found] == ["1", "9"]
    assert [float(row["onset"]) for row in found] == pytest.approx([0.8, 7.2])
    assert [float(row["framewise_displacement_mean"]) for row in found] == pytest.approx([0.045, 0.125])
    for one, other in zip(found, alone, strict=True):
        names = [name for name in other if name.startswith("embedding_")]
        np.testing.assert_array_equal([float(one[n]) for n in names], [float(other[n]) for n in names])
    record = json.loads(table(out, "03").with_suffix(".json").read_text())
    assert record["Provenance"]["Scan"]["drop_frames"] == [1, 0]
    assert any("the brain measures" in line for line in record["Provenance"]["Warnings"])
    assert str(tmp_path) not in table(out, "03").with_suffix(".json").read_text()
    assert not [path for path in cohort.rglob("*") if path.name.startswith(".")]


def test_a_bad_scan_is_reported_and_the_others_go_on(extract, cohort: Path, brains, tmp_path: Path) -> None:
    copy = tmp_path / "fmriprep"
    shutil.copytree(cohort, copy)
    torn = copy / f"sub-02/func/sub-02_task-rest_{SPACE}_desc-preproc_bold.nii"
    torn.write_bytes(torn.read_bytes()[:-100])
    (copy / f"sub-04/func/sub-04_task-rest_{SPACE}_desc-brain_mask.nii").unlink()
    confounds = copy / "sub-05/func/sub-05_task-rest_desc-confounds_timeseries.tsv"
    confounds.write_text(confounds.read_text() + "0.1\t0\n")
    result = extract(copy)
    assert result.returncode == 1
    told = status(tmp_path / "out")
    assert {label: told[label] for label in ("sub-02", "sub-04", "sub-05")} == {
        "sub-02": "failed",
        "sub-04": "refused",
        "sub-05": "failed",
    }
    assert list(told.values()).count("done") == 5
    reasons = {row["participant_id"]: row["reason"] for row in rows(tmp_path / "out/logs/status.tsv")}
    assert "expected its brain mask" in reasons["sub-04"]
    assert "expected one row for each of 18 frames, found 19" in reasons["sub-05"]
    warned = result.stderr.splitlines()
    assert len(warned) == 3
    assert all(line.startswith("swift-export: warning: sub-0") for line in warned)
    # Mended, only they are computed.
    add(copy, brains, "09", 9)
    shutil.copytree(cohort / "sub-02", copy / "sub-02", dirs_exist_ok=True)
    shutil.copytree(cohort / "sub-04", copy / "sub-04", dirs_exist_ok=True)
    shutil.copytree(cohort / "sub-05", copy / "sub-05", dirs_exist_ok=True)
    assert extract(copy).returncode == 0
    told = status(tmp_path / "out")
    assert {label for label, word in told.items() if word == "done"} == {"sub-02", "sub-04", "sub-05", "sub-09"}


def test_what_depends_on_something_else_is_computed_again(extract, cohort: Path, tmp_path: Path) -> None:
    copy = tmp_path / "fmriprep"
    for label in ("sub-01", "sub-02"):
        shutil.copytree(cohort / label, copy / label)
    shutil.copy(cohort / "task-rest_bold.json", copy)
    assert extract(copy).returncode == 0
    first = digests(tmp_path / "out")
    mask = copy / f"sub-01/func/sub-01_task-rest_{SPACE}_desc-brain_mask.nii"
    content = bytearray(mask.read_bytes())
    content[352 + content[352:].index(1)] = 0
    mask.write_bytes(content)
    assert extract(copy).returncode == 0
    assert status(tmp_path / "out") == {"sub-01": "done", "sub-02": "kept"}
    assert digests(tmp_path / "out") != first
    assert extract(copy, "--stride", "4").returncode == 0
    assert set(status(tmp_path / "out").values()) == {"done"}
    assert len(rows(table(tmp_path / "out", "02"))) == 3
    # Half of a result is none.
    table(tmp_path / "out", "01").unlink()
    assert extract(copy, "--stride", "4").returncode == 0
    assert status(tmp_path / "out") == {"sub-01": "done", "sub-02": "kept"}


def workers(parent: int) -> list[int]:
    """Processes that compute scans for a process: the shell between them becomes the worker."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"scan_worker" in command and b"/bin/sh" not in command:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("victim", ["worker", "parent", "interrupted"])
def test_killed_at_random_moments_and_resumed(
    victim: str,
    arguments: Callable[..., list[str]],
    environment,
    cohort: Path,
    undisturbed: dict[str, str],
    tmp_path: Path,
) -> None:
    moments = random.Random(victim)
    ends = set()
    for _ in range(3):
        running = subprocess.Popen(arguments(cohort), env=environment, stderr=subprocess.PIPE, text=True)
        begun = time.monotonic()
        while not (tmp_path / "out/README.md").exists() and time.monotonic() - begun < 60:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1))
        crew = workers(running.pid)
        if victim == "worker" and crew:
            os.kill(moments.choice(crew), signal.SIGKILL)
        elif victim == "parent":
            running.kill()
        elif victim == "interrupted":
            running.send_signal(signal.SIGINT)
        running.communicate()
        ends.add(running.returncode)
        for worker in crew:
            _gone(worker)
    assert ends <= {"worker": {0}, "parent": {0, -9}, "interrupted": {0, 130}}[victim]
    resumed = subprocess.run(arguments(cohort), env=environment, capture_output=True, text=True)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert digests(tmp_path / "out") == undisturbed


def _gone(pid: int) -> None:
    """Wait until a process has ended: no worker outlives its parent."""
    for _ in range(500):
        if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        time.sleep(0.01)
    pytest.fail(f"worker {pid} is alive")


def test_two_runs_and_shards_share_a_folder(
    arguments: Callable[..., list[str]], environment, cohort: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    shards = [["--shard", "1/2"], ["--shard", "2/2"], []]
    running = [
        subprocess.Popen(arguments(cohort, *shard), env=environment, stderr=subprocess.PIPE, text=True)
        for shard in shards
    ]
    assert [(one.communicate()[1], one.returncode) for one in running] == [("", 0)] * 3
    assert digests(tmp_path / "out") == undisturbed
    assert len(status(tmp_path / "out")) == 8


def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(
    arguments: Callable[..., list[str]], environment, cohort: Path, small_disk: Path, tmp_path: Path
) -> None:
    command = [str(small_disk / "out") if word == str(tmp_path / "out") else word for word in arguments(cohort)]
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(small_disk)
        file.write(bytes(free.f_bavail * free.f_frsize - 60_000))
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "the disk is full" in result.stderr.splitlines()[-1]
    filler.unlink()
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_lists_of_scans(extract, cohort: Path, tmp_path: Path) -> None:
    scan = cohort / f"sub-01/func/sub-01_task-rest_{SPACE}_desc-preproc_bold.nii"
    (tmp_path / "scans.tsv").write_text(f"scan\tparticipant_id\n{scan}\tA7\n")
    result = extract(tmp_path / "scans.tsv", "--windows", "1")
    assert (result.returncode, result.stderr) == (0, "")
    (row,) = rows(tmp_path / "out/logs/status.tsv")
    assert (row["participant_id"], row["status"], row["windows"]) == ("sub-A7", "done", "1")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "3/2"], "--shard 3/2: expected I/N, with I from 1 to N"),
        (["--participant-label", "77"], "expected participants of"),
        (["--dummy-scans", "some"], "--dummy-scans some: expected auto, or a number of frames"),
        (["--n-cpus", "0"], "--n-cpus 0: expected at least 1"),
        (["--output-kind", "logits"], "computes features, from which only"),
        (["--work-dir", "none"], "expected an existing folder"),
        (["group", "session"], "session: expected the levels participant, group"),
        (["--scheduler", "tcp://here:8786", "--cluster", "slurm"], "either a scheduler or a batch system"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ",
)
def test_refusals(extract, cohort: Path, tmp_path: Path, more: list[str], message: str) -> None:
    result = extract(cohort, *more)
    (line,) = result.stderr.splitlines()
    assert line.startswith("swift-export: error: ")
    assert message in line
    assert (result.returncode, (tmp_path / "out").exists()) == (2, False)
