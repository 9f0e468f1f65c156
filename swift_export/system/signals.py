"""Interrupts that unwind the work in hand: none crashes it, none is lost, and none cuts a clean-up short."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = [
    "HungUp",
    "Terminated",
    "exit_when_terminated",
    "handle_signals",
    "ignore_signals",
    "raise_arrived",
    "signals_deferred",
]


class Terminated(BaseException):
    """SIGTERM arrived: like KeyboardInterrupt, it unwinds through every clean-up."""


class HungUp(BaseException):
    """SIGHUP arrived: the terminal is gone, or somebody sent it; it unwinds as Terminated does."""


_STOPS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
#: How long to wait before an interrupt that could not be raised is tried again.
_AGAIN_S = 0.05
#: Further interrupts within so long after one are the same wish: impatient fingers, SIGTERM and SIGHUP together.
_SAME_S = 2.0

#: Number and time of those that were raised.
_arrived: list[tuple[int, float]] = []


def handle_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT, Terminated on SIGTERM and HungUp on SIGHUP, but not within an import.

    Native extensions, jaxlib's among them, abort the process when an exception passes through their initialisation.
    One that follows another closely is dropped: it would end the clean-up that the first began. A SIGHUP that is
    ignored stays so: the process was started by nohup.
    """
    for number in _STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = _not_raised


def ignore_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP change nothing any more."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def raise_arrived() -> None:
    """Raise the interrupt that has arrived, if one has: a library may have made an error of its own of it."""
    if _arrived:
        raise _STOPS[_arrived[0][0]]


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP wait until the block is done; no thread but the main one ever gets one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _frame: pending.append(number))
        for number in _STOPS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for waiting in pending:
            signal.raise_signal(waiting)


@contextmanager
def exit_when_terminated() -> Iterator[None]:
    """Turn SIGTERM, as batch schedulers send it, and SIGHUP into SystemExit: ``finally`` blocks run as for Ctrl-C.

    A program that has its own way with one of them keeps it.
    """
    main = threading.current_thread() is threading.main_thread()
    fatal = [n for n in (signal.SIGTERM, signal.SIGHUP) if main and signal.getsignal(n) is signal.SIG_DFL]
    for number in fatal:
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in fatal:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    if _arrived and time.monotonic() - _arrived[-1][1] < _SAME_S:
        return
    if _importing(frame):
        _try_again(number)
    else:
        _arrived.append((number, time.monotonic()))
        raise _STOPS[number]


def _not_raised(unraisable: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised within a finalizer or a callback of C code; an interrupt is not to be dropped."""
    for number, kind in _STOPS.items():
        if issubclass(unraisable.exc_type, kind):
            _arrived.clear()  # it has not unwound anything yet
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
