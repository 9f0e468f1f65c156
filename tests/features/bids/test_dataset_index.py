"""What bids2table does not do by itself: odd paths and names, sidecars, links; and what is said if it is missing."""

from __future__ import annotations

import os
import sys
import tempfile

import pytest

from swift_export.errors import InputError, UsageError
from swift_export.features.bids.discovery import discover
from swift_export.features.bids.entities import entities_of, is_bids_name
from swift_export.features.bids.scan_selection import selection_of

SIX = "space-MNI152NLin6Asym_res-2"

needs_library = pytest.mark.requires("scale")


def names(tasks) -> list[str]:
    return [task.name for task in tasks]


def test_the_package_to_install_is_named(made, monkeypatch):
    made.run("sub-01_task-rest", SIX)
    monkeypatch.setitem(sys.modules, "bids2table", None)

    with pytest.raises(UsageError, match=r"requires bids2table; install it with: pip install 'swift-export\[scale\]'"):
        discover(made.root)


@pytest.mark.parametrize(
    ("name", "entities"),
    [
        ("sub-01_task-a+b_desc-x_bold.nii.gz", {"sub": "01", "task": "a+b", "desc": "x"}),
        ("bold.json", None),
        ("sub-01.html", None),
        ("sub-01_rest_bold.nii", None),
        ("sub-01_sub-02_bold.nii", None),
        ("sub-_bold.nii", None),
        ("sub-01_bold", None),
        ("sub-01_bold.x\x1b[31m_bold.nii", None),
        ("sub-../x_bold.nii", None),
        ("sub-01_bold.nii\n", None),
        (f"sub-{'1' * 300}_bold.nii", None),
    ],
)
def test_names_are_those_that_bids_allows(name, entities):
    assert entities_of(name) == entities
    assert is_bids_name(name) == (entities is not None)


@needs_library
@pytest.mark.parametrize("folder", ["fmriprep-24.1.1", ".hidden", "a[1]/b*", "sub-01"])
def test_the_name_of_the_folder_does_not_matter(made, tmp_path, monkeypatch, folder):
    made.run("sub-01_task-rest", SIX)
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    made.root.rename(tmp_path / folder)

    (task,) = discover(tmp_path / folder)

    assert task.scan.parent == tmp_path / folder / "sub-01/func"
    (tmp_path / "12[3]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "12[3]"))
    assert discover(tmp_path / folder) == [task]


@needs_library
def test_a_changed_data_set_is_read_anew(made):
    with pytest.raises(InputError):
        discover(made.root)
    made.run("sub-01_task-rest", SIX, tr=2.0)
    assert discover(made.root)[0].repetition_time == 2.0
    made.run("sub-01_task-rest", SIX, tr=3.0)
    assert discover(made.root)[0].repetition_time == 3.0


@needs_library
def test_odd_names_are_no_noise(made, capfd):
    made.run("sub-01_task-rest_run-a", SIX)
    made.run("sub-01_task-rest_part-sum", SIX)
    made.run("sub-01_colour-red_task-rest", SIX)

    tasks = discover(made.root)

    assert [task.entities.get("run", task.entities.get("part", task.entities.get("colour"))) for task in tasks] == [
        "red",
        "sum",
        "a",
    ]
    assert [task.refusal for task in tasks] == [None] * 3
    assert capfd.readouterr() == ("", "")


@needs_library
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"sub-01_task-rest_run-99999999999_bold.nii.gz", "found: Value 99999999999 too large"),
        (b"sub-01_task-\xff_bold.nii.gz", r"found: \\udcff"),
    ],
)
def test_a_name_that_no_table_holds_is_an_error(made, name, told):
    folder = made.run("sub-01_task-rest", SIX)
    os.close(os.open(os.fsencode(folder) + b"/" + name, os.O_CREAT))

    with pytest.raises(InputError, match=told) as caught:
        discover(made.root)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("rename the file")


@needs_library
def test_participants_that_the_library_cannot_find_are_named(made):
    made.run("sub-01_task-rest", SIX)
    made.run("sub-a+b_task-rest", SIX)

    with pytest.raises(InputError, match=r"found a\+b; rename them, or choose others with --participant-label"):
        discover(made.root)
    assert len(discover(made.root, selection_of(participants=["01"]))) == 1


@needs_library
def test_many_chosen_participants_are_found(made):
    for number in range(103):
        made.run(f"sub-{number:03}_task-rest", SIX)

    chosen = [f"{number:03}" for number in range(102)]

    assert [task.entities["sub"] for task in discover(made.root, selection_of(participants=chosen))] == chosen
    assert len(discover(made.root, selection_of(participants=["005", "100"]))) == 2


@needs_library
def test_links_are_followed_and_lead_to_each_scan_once(made, tmp_path):
    """Data sets of datalad are links; a participant may be one, and its sidecars are those above the link."""
    folder = made.run("sub-01_task-rest", SIX, tr=None)
    (made.root / "task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    (made.root / "sub-01").rename(tmp_path / "elsewhere")
    (made.root / "sub-01").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/func/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "linked").symlink_to(made.root)

    (task,) = discover(tmp_path / "linked")

    assert task.scan == tmp_path / "linked" / folder.relative_to(made.root) / f"{task.name}_desc-preproc_bold.nii.gz"
    assert (task.refusal, task.repetition_time) == (None, 2.0)


@needs_library
def test_sidecars_of_the_raw_data_set_are_not_those_of_its_derivatives(made, tmp_path):
    made.run("sub-01_task-rest", SIX, tr=None)
    raw = tmp_path / "raw"
    (raw / "derivatives").mkdir(parents=True)
    (raw / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.9.0"}')
    (raw / "bold.json").write_text('{"RepetitionTime": 9.0}')
    made.root.rename(raw / "derivatives/fmriprep-24.1.1")

    (task,) = discover(raw)

    assert "expected RepetitionTime in a JSON sidecar, found no sidecar" in str(task.refusal)
