"""As much of torch as a model of fmri-fm-eval uses, on NumPy: PyPI's torch has gigabytes of CUDA."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import nn

__all__ = ["Tensor", "from_numpy", "nn"]


class Tensor(np.ndarray):
    def numpy(self) -> np.ndarray:
        return np.asarray(self)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return self.astype(np.float32)

    def to(self, device: Any) -> Tensor:
        return self


def from_numpy(array: np.ndarray) -> Tensor:
    return array.view(Tensor)
