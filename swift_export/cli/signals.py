"""Interrupts that unwind the work in hand: none crashes it, none is lost on the way."""

from __future__ import annotations

import signal
import sys
from types import FrameType

__all__ = ["Terminated", "handle_signals", "ignore_signals", "raise_arrived"]


class Terminated(BaseException):
    """SIGTERM arrived: like KeyboardInterrupt, it unwinds through every clean-up."""


_STOPS: dict[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
#: How long to wait before an interrupt that could not be raised is tried again.
_AGAIN_S = 0.05

_arrived: list[int] = []


def handle_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT and Terminated on SIGTERM, but not within an import.

    Native extensions, jaxlib's among them, abort the process when an exception passes through their initialisation.
    """
    for number in _STOPS:
        signal.signal(number, _raise)
    sys.unraisablehook = _not_raised


def ignore_signals() -> None:
    """Let SIGINT and SIGTERM change nothing any more."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def raise_arrived() -> None:
    """Raise the interrupt that has arrived, if one has: a library may have made an error of its own of it."""
    if _arrived:
        raise _STOPS[_arrived[0]]


def _raise(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        _try_again(number)
    else:
        _arrived.append(number)
        raise _STOPS[number]


def _not_raised(unraisable: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised within a finalizer or a callback of C code; an interrupt is not to be dropped."""
    for number, kind in _STOPS.items():
        if issubclass(unraisable.exc_type, kind):
            _try_again(number)
            return
    sys.__unraisablehook__(unraisable)


def _try_again(number: int) -> None:
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
