"""Scans of a BIDS data set: which are found, with what, why one is refused, and what is said if there is none."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import pytest

from swift_export.errors import InputError, UsageError
from swift_export.features.bids.discovery import discover, summary
from swift_export.features.bids.scan_selection import selection_of

pytestmark = pytest.mark.requires("scale")

SIX, NINE = "space-MNI152NLin6Asym_res-2", "space-MNI152NLin2009cAsym_res-2"


def names(tasks) -> list[str]:
    return [task.name for task in tasks]


def test_a_scan_comes_with_all_that_belongs_to_it(made):
    folder = made.run("sub-01_ses-a_task-rest_dir-AP_run-02", SIX, tr=0.72)

    (task,) = discover(made.root)

    name = f"sub-01_ses-a_task-rest_dir-AP_run-02_{SIX}"
    assert task.scan == folder / f"{name}_desc-preproc_bold.nii.gz"
    assert task.mask == folder / f"{name}_desc-brain_mask.nii.gz"
    assert task.confounds == folder / "sub-01_ses-a_task-rest_dir-AP_run-02_desc-confounds_timeseries.tsv"
    assert (task.repetition_time, task.refusal, task.dataset) == (0.72, None, made.root)
    assert (task.name, task.participant) == (name, "sub-01")
    assert str(task.result("desc-swift_embeddings.tsv")) == f"sub-01/ses-a/func/{name}_desc-swift_embeddings.tsv"
    assert pickle.loads(pickle.dumps(task)) == task


def test_a_run_in_both_spaces_is_taken_once(made):
    made.run("sub-01_task-rest", NINE, SIX)
    made.run("sub-02_task-rest", NINE)

    tasks = discover(made.root)

    assert names(tasks) == [f"sub-01_task-rest_{SIX}", f"sub-02_task-rest_{NINE}"]
    assert names(discover(made.root, selection_of(space="MNI152NLin2009cAsym"))) == [
        f"sub-01_task-rest_{NINE}",
        f"sub-02_task-rest_{NINE}",
    ]
    assert summary(tasks) == [
        "2 scans of 2 participants",
        "space MNI152NLin6Asym (1), MNI152NLin2009cAsym (1); --space takes one",
    ]


def test_the_space_without_a_stated_resolution_comes_second(made):
    made.run("sub-01_task-rest", "space-MNI152NLin6Asym", SIX, "space-MNI152NLin6Asym_res-1")
    made.run("sub-02_task-rest", "space-MNI152NLin6Asym")

    assert names(discover(made.root)) == [f"sub-01_task-rest_{SIX}", "sub-02_task-rest_space-MNI152NLin6Asym"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"participants": ["sub-01"]}, ["01 a rest 1", "01 b rest 01", "01 b nback 2"]),
        ({"participants": ["01", "02"], "tasks": ["nback"]}, ["01 b nback 2", "02 a nback 1"]),
        ({"sessions": ["ses-a"]}, ["01 a rest 1", "02 a nback 1"]),
        ({"runs": ["1"]}, ["01 a rest 1", "01 b rest 01", "02 a nback 1"]),
    ],
)
def test_labels_select(made, options, expected):
    for run in ("sub-01_ses-a_task-rest_run-1", "sub-01_ses-b_task-rest_run-01"):
        made.run(run, SIX)
    for run in ("sub-01_ses-b_task-nback_run-2", "sub-02_ses-a_task-nback_run-1"):
        made.run(run, SIX)

    found = [
        " ".join(task.entities[key] for key in ("sub", "ses", "task", "run"))
        for task in discover(made.root, selection_of(**options))
    ]

    assert sorted(found) == sorted(expected)


def test_only_numbers_of_runs_have_leading_zeros(made):
    made.run("sub-1_ses-1_task-rest_run-1", SIX)
    made.run("sub-01_ses-01_task-rest_run-01", SIX)

    for options, expected in (
        ({"participants": ["1"]}, ["1"]),
        ({"sessions": ["01"]}, ["01"]),
        ({"runs": ["1"]}, ["01", "1"]),
    ):
        assert [task.entities["ses"] for task in discover(made.root, selection_of(**options))] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"task": "rest"}, ["rest_acq-x", "rest"]),
        ({"task": ["rest", "nback"], "acquisition": None}, ["rest", "nback"]),
        ({"acquisition": "*"}, ["rest_acq-x"]),
        ({"datatype": "func", "suffix": "bold", "acq": ["x", None]}, ["rest_acq-x", "rest", "nback"]),
        ({"run": 1}, []),
    ],
)
def test_filter_files_select_as_those_of_pybids(made, tmp_path, filters, expected):
    for run in ("task-rest_acq-x", "task-rest", "task-nback"):
        made.run(f"sub-01_{run}", SIX)
    file = tmp_path / "filter.json"
    file.write_text(json.dumps({"t1w": {"session": "1"}, "bold": filters}))
    selection = selection_of(filter_file=file)

    if not expected:
        with pytest.raises(InputError, match=r"expected runs .* of run 1, found spaces MNI152NLin6Asym; tasks nback"):
            discover(made.root, selection)
        return
    assert sorted(names(discover(made.root, selection))) == sorted(f"sub-01_task-{run}_{SIX}" for run in expected)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "found \\[\\]"),
        ("{", "malformed JSON"),
        ('{"bold": {"colour": "red"}}', "the entity colour"),
        ('{"bold": {"task": {}}}', "the value {}"),
        ('{"t1w": {}}', "no entry bold among t1w"),
        (None, "no such file"),
    ],
)
def test_wrong_filter_files_are_refused(tmp_path, text, told):
    file = tmp_path / "filter.json"
    if text is not None:
        file.write_text(text)

    with pytest.raises(UsageError, match=told) as caught:
        selection_of(filter_file=file)
    assert str(file) in str(caught.value)


def test_the_most_specific_sidecar_states_the_repetition_time(made):
    folder = made.run("sub-01_ses-a_task-rest", SIX, tr=None)
    made.run("sub-01_ses-a_task-nback", SIX, tr=None)
    (made.root / "task-rest_bold.json").write_text('{"RepetitionTime": 3.0}')
    (made.root / "bold.json").write_text('{"RepetitionTime": 4.0}')
    (made.root / "sub-01/sub-01_task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    own = folder / f"sub-01_ses-a_task-rest_{SIX}_desc-preproc_bold.json"
    own.write_text('{"SkullStripped": false}')  # states none: the file above decides

    nback, rest = discover(made.root)

    assert (nback.repetition_time, rest.repetition_time) == (4.0, 2.0)
    assert [path.name for path in rest.sidecars] == [
        "bold.json",
        "task-rest_bold.json",
        "sub-01_task-rest_bold.json",
        own.name,
    ]


def test_runs_that_cannot_be_used_are_refused_with_the_reason(made):
    made.run("sub-01_task-rest", SIX)
    made.run("sub-02_task-rest", SIX, mask=False)
    made.run("sub-03_task-rest", SIX, tr=None)
    made.run("sub-04_task-rest", SIX, tr=-1)
    made.run("sub-05_task-rest", "", "space-T1w")
    made.run("sub-06_task-rest", "space-MNI152NLin6Asym_res-1")
    for echo in (1, 2):
        made.run(f"sub-07_task-rest_echo-{echo}", "space-MNI152NLin6Asym")
    folder = made.run("sub-08_task-rest", SIX)
    (folder / f"sub-08_task-rest_{SIX}_desc-preproc_bold.nii").touch()
    folder = made.run("sub-09_task-rest", SIX)
    scan = folder / f"sub-09_task-rest_{SIX}_desc-preproc_bold.nii.gz"
    scan.unlink()
    os.symlink("../../.git/annex/objects/key", scan)
    folder = made.run("sub-10_task-rest", SIX, tr=None)
    (folder / f"sub-10_task-rest_{SIX}_desc-preproc_bold.json").write_text("{")

    tasks = discover(made.root)

    told = [
        None,
        "expected its brain mask",
        "expected RepetitionTime in a JSON sidecar, found no sidecar",
        r"RepetitionTime in seconds .* found -1",
        "expected space MNI152NLin6Asym or MNI152NLin2009cAsym, found T1w, native; run fMRIPrep with --output-spaces",
        "expected 2 mm .* found res-1",
        "expected the combined echoes .* found echo-1, echo-2",
        "found .nii and .nii.gz",
        "broken link .*git annex get",
        "sidecar sub-10.* cannot be read",
    ]
    assert [task.entities["sub"] for task in tasks] == [f"{n:02}" for n in range(1, 11)]
    for task, reason in zip(tasks, told, strict=True):
        assert (task.refusal is None) == (reason is None)
        if reason:
            assert re.search(reason, str(task.refusal))
    assert summary(tasks)[-1] == "9 refused"


def test_combined_echoes_are_preferred_to_single_ones(made):
    made.run("sub-01_task-rest", SIX)
    made.run("sub-01_task-rest_echo-1", SIX)

    assert names(discover(made.root)) == [f"sub-01_task-rest_{SIX}"]


def test_a_raw_data_set_leads_to_its_derivatives(made, tmp_path):
    made.run("sub-01_task-rest", SIX)
    raw = tmp_path / "raw"
    (raw / "sub-01/func").mkdir(parents=True)
    (raw / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.9.0"}')
    (raw / "sub-01/func/sub-01_task-rest_bold.nii.gz").touch()
    with pytest.raises(InputError, match="found spaces none; tasks rest; sessions none; desc none"):
        discover(raw)
    (raw / "derivatives").mkdir()

    made.root.rename(raw / "derivatives/fmriprep-24.1.1")
    (task,) = discover(raw)
    assert task.dataset == raw / "derivatives/fmriprep-24.1.1"

    (raw / "derivatives/fmriprep-23").mkdir()
    with pytest.raises(UsageError, match=r"found fmriprep-23, fmriprep-24\.1\.1; choose with --derivatives"):
        discover(raw)
    chosen = selection_of(derivatives=[f"fmriprep={raw}/derivatives/fmriprep-24.1.1"])
    assert discover(raw, chosen) == [task]
    with pytest.raises(UsageError, match="expected a folder of a BIDS data set, found none"):
        discover(raw, selection_of(derivatives=[raw / "nowhere"]))


def test_one_scan_in_two_folders_is_not_taken_twice(made, tmp_path):
    made.run("sub-01_task-rest", SIX)
    os.symlink(made.root, tmp_path / "again")

    with pytest.raises(UsageError, match=r"expected each scan once, found it in .*, too"):
        discover(made.root, selection_of(derivatives=[made.root, tmp_path / "again"]))


def test_what_there_is_instead_is_listed(made):
    made.run("sub-01_ses-a_task-rest", "space-T1w", "space-MNI152NLin6Asym_res-1")
    with pytest.raises(InputError, match="found spaces MNI152NLin6Asym, T1w; tasks rest; sessions a; desc preproc; ch"):
        discover(made.root)
    made.run("sub-01_ses-a_task-rest", SIX)
    with pytest.raises(InputError, match=r"of task nback, found spaces .*; tasks rest"):
        discover(made.root, selection_of(tasks=["nback"]))
    with pytest.raises(UsageError, match=r"--participant-label 07, 9: expected participants of .*, found 01; correct"):
        discover(made.root, selection_of(participants=["07", "01", "sub-9"]))
    with pytest.raises(UsageError, match=r"--session-label \.\./x: expected a BIDS label"):
        selection_of(sessions=["../x"])


def test_an_empty_folder_has_no_scans(tmp_path):
    with pytest.raises(InputError, match="found no BOLD run of 0 participants"):
        discover(tmp_path)
    with pytest.raises(UsageError, match="found none; correct the path"):
        discover(tmp_path / "nowhere")


def test_files_of_other_names_are_left_alone(made):
    """Reports, surfaces and names that would break a terminal or leave a folder."""
    folder = made.run("sub-01_task-rest", SIX)
    (made.root / "sub-01.html").touch()
    (made.root / "sub-02").touch()
    (folder / "sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii").touch()
    (folder / f"sub-01_task-\x1b[31m_{SIX}_desc-preproc_bold.nii.gz").touch()
    (folder / f"sub-..\\x_task-rest_{SIX}_desc-preproc_bold.nii.gz").touch()

    assert names(discover(made.root)) == [f"sub-01_task-rest_{SIX}"]


def test_paths_are_absolute_for_workers_elsewhere(made, monkeypatch):
    made.run("sub-01_task-rest", SIX)
    expected = discover(made.root)
    monkeypatch.chdir(made.root.parent)

    assert discover(Path(made.root.name)) == expected
    assert expected[0].scan.is_absolute()


def test_the_data_set_stays_as_it_was(made):
    made.run("sub-01_task-rest", SIX)
    before = sorted(made.root.rglob("*"))

    discover(made.root)

    assert sorted(made.root.rglob("*")) == before


def test_each_folder_is_listed_at_most_twice(made, monkeypatch):
    """The time of discovery is that of listing folders, however many scans they hold."""
    for subject in range(20):
        for run in range(5):
            made.run(f"sub-{subject:02}_task-rest_run-{run}", SIX)
    listed: list[Path] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(Path(path)) or listdir(path))

    tasks = discover(made.root)

    assert len(tasks) == 100
    assert sorted(set(listed)) == sorted({made.root, *(made.root.glob("sub-*")), *(made.root.glob("sub-*/func"))})
    assert len(listed) <= 2 + 2 * 20
