"""Which frames of a run make which clip."""

from __future__ import annotations

from dataclasses import dataclass

from swift_export.errors import InputError, UsageError

__all__ = ["Windows", "plan_windows"]


@dataclass(frozen=True)
class Windows:
    """Clips of ``frames`` frames, ``stride`` apart within a clip, from each of ``starts``.

    Frames are counted in what is left of a run after frames were dropped and the run resampled, ``total`` of them.
    """

    starts: tuple[int, ...]
    frames: int
    stride: int
    total: int

    def indices(self, window: int) -> range:
        """The frames of one window."""
        start = self.starts[window]
        return range(start, start + self.frames * self.stride, self.stride)


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
    """Windows over ``total`` frames, as the authors' code cuts them.

    A window takes ``frames * stride`` frames of the run, and the remainder of the run is left out. The next one starts
    ``step`` frames later, by default where the last one ended. ``count`` is how many to take, by default all.
    ``name`` and ``left``, a remark on what was left out, are for messages. Raises InputError where the run holds fewer.
    """
    if frames < 1:
        raise UsageError(f"--frames {frames}: expected at least 1")
    if start < 0:
        raise UsageError(f"--start {start}: expected a frame from 0 on")
    if count is not None and count < 1:
        raise UsageError(f"--windows {count}: expected all, or a number from 1 on")
    if step is not None and step < 1:
        raise UsageError(f"--stride {step}: expected a number of frames from 1 on")
    span = frames * stride
    starts = range(start, total - span + 1, step or span)
    wanted = 1 if count is None else count
    if len(starts) < wanted:
        needed = start + (wanted - 1) * (step or span) + span
        apart = f", every {stride}. of {span}" if stride > 1 else ""
        what = f"{frames} from frame {start}{apart}" if wanted == 1 else f"{wanted} windows from frame {start}"
        raise InputError(
            f"{name}: expected at least {needed} frames ({what}), found {total}{left}; give a longer run, "
            "or a model of fewer --frames"
        )
    return Windows(tuple(starts if count is None else starts[:count]), frames, stride, total)
