"""The assignment of frames in a run to clips."""

from __future__ import annotations

import re
from dataclasses import dataclass

from swift_export.errors import InputError, UsageError

__all__ = ["Windows", "plan_windows", "window_count"]


@dataclass(frozen=True)
class Windows:
    """Clips of ``frames`` frames, ``stride`` apart within a clip, one from each of ``starts``.

    Indices count the ``total`` frames that remain after dropping frames and resampling.
    """

    starts: tuple[int, ...]
    frames: int
    stride: int
    total: int

    def indices(self, window: int) -> range:
        """The frame indices of one window."""
        start = self.starts[window]
        return range(start, start + self.frames * self.stride, self.stride)


def window_count(windows: str) -> int | None:
    """The number in ``--windows``; None for all."""
    if windows == "all":
        return None
    if not re.fullmatch("[0-9]{1,6}", windows) or int(windows) < 1:
        raise UsageError(f"--windows {windows}: expected all, or a number of at least 1")
    return int(windows)


def plan_windows(
    total: int,
    frames: int,
    *,
    name: str,
    left: str = "",
    stride: int = 1,
    start: int = 0,
    count: int | None = None,
    step: int | None = None,
) -> Windows:
    """Windows over ``total`` frames, as in the authors' code.

    A window covers ``frames * stride`` frames of the run. The next window starts ``step`` frames later, by default at
    the end of the previous one, and remaining frames are left out. ``count`` is the number of windows, by default all.
    ``name`` and ``left``, a remark on dropped frames, are for messages.

    Raises:
        InputError: the run has too few frames.
        UsageError: an option is out of range.

    """
    if frames < 1:
        raise UsageError(f"--frames {frames}: expected at least 1")
    if start < 0:
        raise UsageError(f"--start {start}: expected a frame number of at least 0")
    if count is not None and count < 1:
        raise UsageError(f"--windows {count}: expected all, or a number of at least 1")
    if step is not None and step < 1:
        raise UsageError(f"--stride {step}: expected a number of frames of at least 1")
    span = frames * stride
    starts = range(start, total - span + 1, step or span)
    wanted = 1 if count is None else count
    if len(starts) < wanted:
        needed = start + (wanted - 1) * (step or span) + span
        apart = f", {stride} apart" if stride > 1 else ""
        request = f"{frames} from frame {start}{apart}" if wanted == 1 else f"{wanted} windows from frame {start}"
        raise InputError(
            f"{name}: expected at least {needed} frames ({request}), found {total}{left}; give a longer run, "
            "or use fewer --frames"
        )
    return Windows(tuple(starts if count is None else starts[:count]), frames, stride, total)
