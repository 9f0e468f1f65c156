"""The group level: one row a scan, one table a label, nothing compared that differs in model or placement."""

from __future__ import annotations

import json

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.features.bids.derivative_files import table_place, write_scan
from swift_export.features.bids.group_table import read_scans, write_tables
from swift_export.features.bids.outliers import LIMIT, robust_scores
from swift_export.features.bids.scan_table import ScanTable, Window
from swift_export.features.bids.scan_task import Task
from swift_export.features.bids.tsv import read_tsv

SPACE = {"space": "MNI152NLin6Asym", "res": "2"}


def written(output, name, vectors, *, motion=(0.1, 0.3), placement="ukb", artifact="a" * 64) -> Task:
    entities = dict(pair.split("-") for pair in name.split("_"))
    task = Task(output / "scan.nii.gz", {**entities, **SPACE})
    windows = [Window(20 * n, 16.0 * n, 16.0, fd, None if fd is None else 2 * fd) for n, fd in enumerate(motion)]
    vectors = np.array(vectors, np.float32)
    write_scan(output, ScanTable(task, windows, vectors, placement, digests={"Artifact": artifact}))
    return task


def test_a_row_is_the_mean_of_a_scans_windows(tmp_path):
    written(tmp_path, "sub-02_ses-a_task-rest_run-1", [[1, 2, 3], [3, 2, 1]])
    written(tmp_path, "sub-01_task-rest", [[0.1, 0, 0], [0.1, 0, 0]], motion=(None, None))
    written(tmp_path, "sub-01_task-nback", [[1, 1, 1], [1, 1, 1]])

    nback, rest = write_tables(tmp_path, read_scans(tmp_path))

    assert nback.name == "group_task-nback_space-MNI152NLin6Asym_desc-swift_embeddings.tsv"
    table = read_tsv(rest)
    assert table.columns == (
        *("participant_id", "session_id", "run", "scan", "windows"),
        *("framewise_displacement_mean", "framewise_displacement_max", "window_deviation"),
        *("embedding_000", "embedding_001", "embedding_002"),
    )
    one, two = table.cells
    name = "task-rest_space-MNI152NLin6Asym_res-2"
    assert one == ("sub-01", "n/a", "n/a", f"sub-01_{name}", "2", "n/a", "n/a", "0.0", "0.1", "0.0", "0.0")
    assert two[:5] == ("sub-02", "ses-a", "1", "sub-02_ses-a_task-rest_run-1_space-MNI152NLin6Asym_res-2", "2")
    # Deviations of the channels: sqrt(2), 0 and sqrt(2).
    assert [float(cell) for cell in two[5:]] == pytest.approx([0.2, 0.6, (4 / 3) ** 0.5, 2, 2, 2])
    described = json.loads(rest.with_suffix(".json").read_text())
    assert set(table.columns) < set(described)
    assert (described["Placement"], described["SHA256"]) == ("ukb", {"Artifact": "a" * 64})


def test_scans_of_different_models_or_placements_are_not_mixed(tmp_path):
    written(tmp_path, "sub-01_task-rest", [[1, 2], [3, 4]])
    written(tmp_path, "sub-02_task-rest", [[1, 2], [3, 4]])
    other = written(tmp_path, "sub-03_task-nback", [[1, 2], [3, 4]], placement="hcp")
    with pytest.raises(InputError, match=r"found 2 with placement ukb, artifact aaa.* 1 with placement hcp.*sub-03"):
        read_scans(tmp_path)
    written(tmp_path, "sub-03_task-nback", [[1, 2], [3, 4]], artifact="b" * 64)
    with pytest.raises(InputError, match="artifact bbb"):
        read_scans(tmp_path)
    table_place(tmp_path, other).with_suffix(".json").unlink()  # as if interrupted

    assert len(read_scans(tmp_path)) == 2


def test_tables_without_scans_are_removed_and_nothing_else(tmp_path):
    task = written(tmp_path, "sub-01_task-rest", [[1, 2], [3, 4]])
    written(tmp_path, "sub-02_task-nback", [[1, 2], [3, 4]])
    nback, rest = write_tables(tmp_path, read_scans(tmp_path))
    kept = [tmp_path / "group.html", tmp_path / "group_notes_desc-swift_embeddings.tsv"]
    for path in kept:
        path.touch()
    table_place(tmp_path, task).unlink()

    assert write_tables(tmp_path, read_scans(tmp_path)) == [nback]
    assert not rest.exists()
    assert not rest.with_suffix(".json").exists()
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("embedding_001", "other"), "expected a table of embedding by swift-export"),
        (lambda text: text.partition("\n")[0], "found no rows"),
        (lambda text: text.replace("3.5", "n/a"), "expected finite numbers, found others"),
        (lambda text: text.replace("3.5", "inf"), "expected finite numbers, found others"),
        (lambda text: text.replace("\t3.5", ""), "expected 8 cells in each row"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, change, told):
    place = table_place(tmp_path, written(tmp_path, "sub-01_task-rest", [[1, 2], [3.5, 4]]))
    place.write_text(change(place.read_text()))

    with pytest.raises(InputError, match=told) as caught:
        read_scans(tmp_path)
    assert str(place) in str(caught.value)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected finished scans, .*found none; run the level participant"):
        read_scans(tmp_path)


def test_a_scan_far_from_the_others_is_an_outlier():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 30)) * rng.uniform(0.01, 100, 30) + rng.uniform(-1000, 1000, 30)
    vectors[:, 7] = 3.0  # a dead channel
    clean = robust_scores(vectors)
    assert clean is not None
    assert (clean < LIMIT).all()

    # A third of the scans wrong in the same way neither moves the median nor hides itself.
    vectors[:12, :7] += 800
    scores = robust_scores(vectors)
    assert scores is not None
    assert (scores[:12] > LIMIT).all()
    assert (scores[12:] < LIMIT).all()


def test_few_or_equal_scans_have_no_outliers():
    assert robust_scores(np.zeros((7, 3))) is None
    equal = robust_scores(np.ones((9, 3)))
    assert equal is not None
    assert (equal == 0).all()
