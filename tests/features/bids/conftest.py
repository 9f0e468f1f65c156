"""Data sets as fMRIPrep names them, with empty files: discovery reads names and sidecars alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DESCRIPTION = {
    "Name": "fMRIPrep - fMRI PREProcessing workflow",
    "BIDSVersion": "1.9.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.1"}],
}


class Made:
    """A folder of fMRIPrep's output."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / "dataset_description.json").write_text(json.dumps(DESCRIPTION))

    def run(
        self,
        run: str,
        *spaces: str,
        mask: bool = True,
        tr: float | None = 0.8,
        confounds: str | None = "framewise_displacement\nn/a\n0.1\n",
    ) -> Path:
        """Write a run, such as ``sub-01_ses-1_task-rest``, in spaces such as ``space-MNI152NLin6Asym_res-2``."""
        sub, *rest = run.split("_")
        session = [part for part in rest if part.startswith("ses-")]
        folder = self.root.joinpath(sub, *session, "func")
        folder.mkdir(parents=True, exist_ok=True)
        for space in spaces:
            name = f"{run}_{space}" if space else run
            (folder / f"{name}_desc-preproc_bold.nii.gz").touch()
            if mask:
                (folder / f"{name}_desc-brain_mask.nii.gz").touch()
            if tr is not None:
                (folder / f"{name}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": tr}))
        if confounds is not None:
            (folder / f"{run}_desc-confounds_timeseries.tsv").write_text(confounds)
        return folder


SIX, NINE = "space-MNI152NLin6Asym_res-2", "space-MNI152NLin2009cAsym_res-2"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "fmriprep")
