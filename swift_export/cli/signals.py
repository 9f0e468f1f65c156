"""Interrupts that unwind the work in hand, and never crash it."""

from __future__ import annotations

import signal
from types import FrameType

__all__ = ["Terminated", "handle_signals", "ignore_signals"]

_STOPS = (signal.SIGINT, signal.SIGTERM)
#: How long to wait before an interrupt that cannot be raised yet is tried again.
_AGAIN_S = 0.05


class Terminated(BaseException):
    """SIGTERM arrived: like KeyboardInterrupt, it unwinds through every clean-up."""


def handle_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT and Terminated on SIGTERM, but not within an import.

    Native extensions, jaxlib's among them, abort the process when an exception passes through their initialisation.
    """
    for number in _STOPS:
        signal.signal(number, _raise)


def ignore_signals() -> None:
    """Let SIGINT and SIGTERM change nothing any more."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def _raise(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        return
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
