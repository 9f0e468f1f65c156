"""As much of fmri-fm-eval's reading of images as a model uses; the atlas comes from a variable of the environment."""

import os
from pathlib import Path

import nibabel
import numpy as np


def fetch_schaefer(parcels: int, *, space: str) -> Path:
    assert (parcels, space) == (400, "mni")
    return Path(os.environ["ATLAS"])


def read_nifti_data(path: Path) -> np.ndarray:
    return np.ascontiguousarray(nibabel.load(path).get_fdata().T)
