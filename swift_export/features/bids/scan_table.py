"""The features of one scan, as they are written: a row a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from swift_export.features.bids.confounds import Confounds, frame_at
from swift_export.features.bids.scan_task import Task

__all__ = ["ScanTable", "Vector", "Window", "windows_in_run"]

#: What a table holds: embeddings of the backbone, or logits of a head behind it.
Vector = Literal["embedding", "logits"]


@dataclass(frozen=True)
class Window:
    """Where a window lies in its run. Frames count from the run's first one, dropped frames included.

    Attributes:
        first_frame: the first frame; of a resampled run, the frame of the file in which it lies.
        onset: seconds from the beginning of the run's first frame; None without a repetition time.
        duration: seconds.
        fd_mean: mean of the framewise displacement of its frames, in mm; None if it is not known.
        fd_max: the largest one.

    """

    first_frame: int
    onset: float | None = None
    duration: float | None = None
    fd_mean: float | None = None
    fd_max: float | None = None


@dataclass(frozen=True)
class ScanTable:
    """The windows of a scan and their vectors.

    Attributes:
        task: the scan.
        windows: in their order.
        vectors: one row a window.
        placement: the placement's name or point (docs/input-contract.md).
        kind: what the vectors are: embeddings, or a head's logits.
        digests: SHA-256 of what the values depend on, by ``Scan``, ``Mask``, ``Artifact`` and ``Weights``.
        facts: more to be stated in the JSON sidecar: plain data, such as dropped frames, runtime, versions, warnings.
        arrays: features or tokens for the ``.safetensors`` file, by name; empty for none.

    """

    task: Task
    windows: Sequence[Window]
    vectors: Float32[np.ndarray, "windows channels"]
    placement: str
    kind: Vector = "embedding"
    digests: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def windows_in_run(
    starts: Sequence[int],
    span: int,
    *,
    dropped: int = 0,
    scale: float = 1.0,
    repetition_time: float | None = None,
    confounds: Confounds | None = None,
) -> list[Window]:
    """Where windows lie in their run.

    Args:
        starts: the first frame of each, counted after the dropped ones.
        span: number of frames from the first to the last, those between the frames of a window included.
        dropped: number of frames dropped at the beginning.
        scale: frames of the file in one frame counted here, if the run is resampled.
        repetition_time: seconds between frames of the file.
        confounds: the motion of the run.

    """
    windows = []
    for start in starts:
        first, end = dropped + start * scale, dropped + (start + span) * scale
        onset, duration = (
            (None, None) if repetition_time is None else (first * repetition_time, span * scale * repetition_time)
        )
        mean, most = (None, None) if confounds is None else confounds.motion(first, end)
        windows.append(Window(frame_at(first), onset, duration, mean, most))
    return windows
