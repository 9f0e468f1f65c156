"""Results as BIDS derivatives: what the files say, that the official validator accepts them, that all are whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from swift_export._version import __version__
from swift_export.errors import CheckFailed, UsageError
from swift_export.features.bids import derivative_files
from swift_export.features.bids.confounds import read_confounds
from swift_export.features.bids.derivative_dataset import write_dataset
from swift_export.features.bids.derivative_files import read_record, table_place, write_scan
from swift_export.features.bids.discovery import discover
from swift_export.features.bids.group_level import write_group
from swift_export.features.bids.scan_lists import discover_files
from swift_export.features.bids.scan_table import ScanTable, windows_in_run
from swift_export.features.bids.tsv import read_tsv

#: Their scans are found in a data set.
pytestmark = pytest.mark.requires("scale")

SIX = "space-MNI152NLin6Asym_res-2"
CHANNELS = 5
MOTION = "framewise_displacement\n" + "n/a\n" * 20 + "0.25\n" * 40


def table_of(task, seed=0, **more) -> ScanTable:
    confounds = None if task.confounds is None else read_confounds(task.confounds)
    windows = windows_in_run([0, 20, 40], 20, repetition_time=task.repetition_time, confounds=confounds)
    vectors = np.random.default_rng(seed).standard_normal((3, CHANNELS)).astype(np.float32)
    return ScanTable(task, windows, vectors, "ukb", digests={"Scan": "ab" * 32, "Artifact": "cd" * 32}, **more)


@pytest.fixture
def tasks(made):
    for run in ("sub-01_ses-a_task-rest_run-1", "sub-01_ses-a_task-rest_run-2", "sub-02_ses-a_task-rest_run-1"):
        made.run(run, SIX, confounds=MOTION)
    (made.root / "participants.tsv").write_text("age\tparticipant_id\n30\tsub-01\n31\tsub-09\n")
    (made.root / "participants.json").write_text('{"age": {"Description": "Age", "Units": "year"}}')
    return discover(made.root)


def issues_of(folder: Path) -> list[tuple[str, str]]:
    """Errors that the official validator finds, by code and file."""
    program = "import bids_validator_deno; bids_validator_deno.cli()"
    command = [sys.executable, "-c", program, "--format", "json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [(issue["code"], issue["location"]) for issue in issues if issue["severity"] == "error"]


@pytest.mark.requires("bids")
def test_the_official_validator_accepts_all_files(tasks, tmp_path):
    output = tmp_path / "out"
    write_dataset(output, tasks, channels=CHANNELS)
    for task in tasks:
        write_scan(output, table_of(task, arrays={"tokens": np.ones((3, 2, 2), np.float32)}))
    write_group(output)

    assert issues_of(output) == []

    # It looks at them: BIDS knows no tables of embeddings, and other faults are not ignored.
    (output / ".bidsignore").unlink()
    (output / "participants.tsv").write_text("age\n3\n")
    codes = {code for code, _ in issues_of(output)}
    assert codes >= {"NOT_INCLUDED", "TSV_COLUMN_MISSING"}


def test_a_table_has_a_row_a_window_and_reads_back_exactly(tasks, tmp_path):
    written = table_of(tasks[0])

    record = write_scan(tmp_path, written)

    table = read_tsv(table_place(tmp_path, tasks[0]))
    assert table.path.relative_to(tmp_path).as_posix() == (
        f"sub-01/ses-a/func/sub-01_ses-a_task-rest_run-1_{SIX}_desc-swift_embeddings.tsv"
    )
    assert table.columns[:6] == (
        *("window", "first_frame", "onset", "duration"),
        *("framewise_displacement_mean", "framewise_displacement_max"),
    )
    assert table.columns[6:] == tuple(f"embedding_{n:03}" for n in range(CHANNELS))
    assert table.cells[0][:6] == ("0", "0", "0.0", "16.0", "n/a", "n/a")
    assert table.cells[1][:6] == ("1", "20", "16.0", "16.0", "0.25", "0.25")
    vectors = np.array([row[6:] for row in table.cells]).astype(np.float32)
    assert (vectors == written.vectors).all()
    assert record == table.path.with_suffix(".json")


def test_the_json_states_what_the_values_come_from(tasks, tmp_path):
    write_scan(tmp_path, table_of(tasks[0], facts={"drop_frames": [0, 0]}))

    record = read_record(tmp_path, tasks[0])

    assert record is not None
    stem = "bids:fmriprep:sub-01/ses-a/func/sub-01_ses-a_task-rest_run-1"
    assert record["Sources"] == [
        f"{stem}_{SIX}_desc-preproc_bold.nii.gz",
        f"{stem}_{SIX}_desc-brain_mask.nii.gz",
        f"{stem}_desc-confounds_timeseries.tsv",
    ]
    assert (record["SamplingFrequency"], record["StartTime"], record["RepetitionTime"]) == (1 / 16, 0.0, 0.8)
    assert (record["Placement"], record["SHA256"]) == ("ukb", {"Scan": "ab" * 32, "Artifact": "cd" * 32})
    assert (record["Mask"], record["Windows"]) == (tasks[0].mask.name, 3)
    assert record["Provenance"] == {"drop_frames": [0, 0]}
    assert str(tmp_path) not in json.dumps(record)


def test_a_scan_without_repetition_time_has_no_times(tmp_path):
    (tmp_path / "x.nii").touch()
    (task,) = discover_files(tmp_path)

    write_scan(tmp_path / "out", table_of(task))

    assert read_tsv(table_place(tmp_path / "out", task)).cells[0][:6] == ("0", "0", *["n/a"] * 4)
    record = read_record(tmp_path / "out", task)
    assert record is not None
    assert record["Sources"] == [f"bids:{task.link}:x.nii"]
    assert record.keys().isdisjoint({"SamplingFrequency", "StartTime", "RepetitionTime", "Mask"})


def test_arrays_and_logits_have_files_of_their_own(tasks, tmp_path):
    tokens = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    write_scan(tmp_path, table_of(tasks[0], kind="logits", arrays={"tokens": tokens}))

    folder = tmp_path / "sub-01/ses-a/func"
    found = sorted(path.name.partition("desc-")[2] for path in folder.iterdir())
    assert found == ["swift_logits.json", "swift_logits.tsv", "swift_tokens.safetensors"]
    (arrays,) = folder.glob("*.safetensors")
    assert (load_file(arrays)["tokens"] == tokens).all()
    assert read_tsv(table_place(tmp_path, tasks[0], "logits")).columns[6] == "logits_000"
    assert read_record(tmp_path, tasks[0]) is None


def test_an_interrupted_scan_is_not_taken_for_finished(tasks, tmp_path, monkeypatch):
    """Killed between its files, neither the old JSON stands beside the new table, nor a table without one counts."""
    write_scan(tmp_path, table_of(tasks[0], seed=0))
    place = table_place(tmp_path, tasks[0])
    before = place.read_text()

    def killed(table):
        raise KeyboardInterrupt

    monkeypatch.setattr(derivative_files, "_record", killed)
    with pytest.raises(KeyboardInterrupt):
        write_scan(tmp_path, table_of(tasks[0], seed=1))
    monkeypatch.undo()

    assert place.read_text() != before
    assert read_record(tmp_path, tasks[0]) is None
    assert [path for path in place.parent.iterdir() if path != place] == []
    place.with_suffix(".json").write_text("{")
    assert read_record(tmp_path, tasks[0]) is None


def test_values_that_are_not_finite_are_not_written(tasks, tmp_path):
    table = table_of(tasks[0])
    table.vectors[1, 2] = np.nan

    with pytest.raises(CheckFailed, match="expected finite features, found 1 that are not"):
        write_scan(tmp_path, table)
    assert list(tmp_path.rglob("*_embeddings.*")) == []


def test_the_data_set_says_what_it_is_and_comes_from(tasks, tmp_path):
    output = tmp_path / "somewhere/out"

    write_dataset(output, tasks, channels=CHANNELS)

    found = json.loads((output / "dataset_description.json").read_text())
    assert (found["DatasetType"], found["DatasetLinks"]) == ("derivative", {"fmriprep": "../../fmriprep"})
    assert found["SourceDatasets"] == [{"URL": "../../fmriprep", "Version": "24.1.1"}]
    (maker,) = found["GeneratedBy"]
    assert (maker["Name"], maker["Version"]) == ("swift-export", __version__)
    columns = json.loads((output / "desc-swift_embeddings.json").read_text())
    assert list(columns)[-1] == f"embedding_{CHANNELS - 1:03}"
    assert columns["onset"]["Units"] == "s"
    assert str(tmp_path) not in "".join(path.read_text() for path in output.iterdir() if path.is_file())


def test_rows_of_participants_are_copied(tasks, made, tmp_path):
    output = tmp_path / "out"

    write_dataset(output, tasks[2:], channels=CHANNELS)
    assert (output / "participants.tsv").read_text() == "participant_id\tage\nsub-02\tn/a\n"

    # An array job describes its own scans: what others wrote stays.
    write_dataset(output, tasks[:1], channels=CHANNELS)
    assert (output / "participants.tsv").read_text() == "participant_id\tage\nsub-01\t30\nsub-02\tn/a\n"
    assert json.loads((output / "participants.json").read_text())["age"]["Units"] == "year"

    (made.root / "participants.tsv").write_text("age\n3\n")
    (told,) = write_dataset(output, tasks, channels=CHANNELS)
    assert "participants.tsv: expected the column participant_id, found none; add it" in told
    assert (output / "participants.tsv").read_text() == "participant_id\tage\nsub-01\t30\nsub-02\tn/a\n"


def test_another_data_set_is_not_overwritten(tasks, made, tmp_path):
    before = (made.root / "dataset_description.json").read_bytes()

    with pytest.raises(UsageError, match=r"found the data set fMRIPrep .*; choose another output folder"):
        write_dataset(made.root, tasks, channels=CHANNELS)
    assert (made.root / "dataset_description.json").read_bytes() == before
    assert not (made.root / "README.md").exists()

    write_dataset(tmp_path / "out", tasks, channels=CHANNELS)
    moved = tmp_path / "site2/fmriprep"
    moved.parent.mkdir()
    made.root.rename(moved)
    with pytest.raises(
        UsageError, match=re.escape("expected results of ../site2/fmriprep, found those of ../fmriprep")
    ):
        write_dataset(tmp_path / "out", discover(moved), channels=CHANNELS)


def test_a_full_disk_leaves_no_half_written_file(tasks, small_disk):
    write_scan(small_disk, table_of(tasks[0]))
    large = {"tokens": np.zeros((3, 2**18), np.float32)}

    with pytest.raises(Exception, match="the disk is full"):
        write_scan(small_disk, table_of(tasks[1], arrays=large))

    assert read_record(small_disk, tasks[0]) is not None
    assert [path.name for path in small_disk.rglob("*run-2*")] == []
