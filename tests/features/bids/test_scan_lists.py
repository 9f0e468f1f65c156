"""Scans that are no BIDS data set: from a glob, a folder, or a TSV."""

from __future__ import annotations

import pytest

from swift_export.errors import InputError, UsageError
from swift_export.features.bids.scan_lists import discover_files


@pytest.fixture
def folder(tmp_path):
    def folder(*names: str):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return folder


def test_a_folder_is_its_nifti_files_with_the_masks_beside_them(folder):
    path = folder("s1_bold.nii.gz", "s1_mask.nii.gz", "b.nii", "b_mask.nii", "notes.txt", ".hidden.nii", "sub/x.nii")

    one, two = discover_files(path)

    assert (one.scan.name, one.mask and one.mask.name, one.name) == ("b.nii", "b_mask.nii", "sub-b")
    assert (two.scan.name, two.mask and two.mask.name) == ("s1_bold.nii.gz", "s1_mask.nii.gz")
    assert (two.name, two.repetition_time, two.refusal) == ("sub-s1bold", None, None)


def test_a_glob_keeps_entities_of_bids_names(folder):
    bold = "sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"
    path = folder(f"a/{bold}", "a/sub-01_task-rest_space-MNI152NLin6Asym_desc-brain_mask.nii.gz", "b/plain.nii")

    one, two = discover_files(f"{path}/**/*.nii*")

    assert one.name == "sub-01_task-rest_space-MNI152NLin6Asym"
    assert one.mask == path / "a/sub-01_task-rest_space-MNI152NLin6Asym_desc-brain_mask.nii.gz"
    assert (two.name, two.mask) == ("sub-plain", None)


def test_paths_of_a_tsv_count_from_its_folder(folder, monkeypatch):
    path = folder("data/x_1.nii", "data/x_2.nii", "data/m.nii", "sub-07_task-rest_bold.nii")
    (path / "scans.tsv").write_text(
        "participant_id\tscan\tmask\tage\r\n"
        "sub-01\tdata/x_1.nii\tdata/m.nii\t30\r\n"
        "01\tdata/x_2.nii\tn/a\tn/a\r\n"
        "08\tsub-07_task-rest_bold.nii\t\t1\r\n"
        "n/a\tdata/gone.nii\tn/a\t2\r\n"
        "a b\tdata/x_1.nii\tn/a\t2\r\n"
    )
    monkeypatch.chdir("/")

    tasks = {task.name: task for task in discover_files(path / "scans.tsv")}

    assert list(tasks) == ["sub-01_acq-x1", "sub-01_acq-x2", "sub-08_task-rest", "sub-gone", "sub-x1"]
    assert tasks["sub-01_acq-x1"].mask == path / "data/m.nii"
    assert tasks["sub-01_acq-x2"].mask is None
    assert tasks["sub-01_acq-x2"].scan == path / "data/x_2.nii"
    assert [task.refusal is None for task in tasks.values()] == [True, True, True, False, False]
    assert "gone.nii: no such file; correct it in scans.tsv" in str(tasks["sub-gone"].refusal)
    assert "expected a participant_id of letters and digits, found a b" in str(tasks["sub-x1"].refusal)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "found an empty file"),
        (b"bold\nx.nii\n", "expected the columns scan, mask, participant_id, found bold; add scan"),
        (b"scan\tmask\nx.nii\n", "expected 2 cells in each row, as in the header, found 1 after x.nii"),
        (b"scan\tscan\nx.nii\ty.nii\n", "a column twice"),
        (b"scan\n\xff\xfe\n", "expected UTF-8 text"),
        (b"scan\nn/a\n", "expected a scan in each row"),
        (b"scan\n", "expected NIfTI files, found none"),
    ],
)
def test_a_malformed_tsv_is_refused(tmp_path, text, told):
    path = tmp_path / "scans.tsv"
    path.write_bytes(text)

    with pytest.raises(InputError, match=told) as caught:
        discover_files(path)
    assert str(path) in str(caught.value)


def test_two_scans_do_not_share_a_name(folder):
    path = folder("a_1.nii", "a1.nii")

    with pytest.raises(UsageError, match=r"found sub-a1 for both; list them in a TSV"):
        discover_files(path)


def test_what_there_is_instead_is_listed(folder):
    path = folder("x/notes.txt")

    with pytest.raises(InputError, match=r"found notes\.txt; correct"):
        discover_files(path / "x")
    with pytest.raises(InputError, match="found none; correct"):
        discover_files(f"{path}/*.nii")
    with pytest.raises(InputError, match="found no such file"):
        discover_files(path / "gone.tsv")
