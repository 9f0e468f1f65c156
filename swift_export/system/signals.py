"""Interrupts that unwind the current work: they do not crash it, do not get lost, and do not interrupt a clean-up."""

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
    """SIGTERM arrived. Like KeyboardInterrupt, it unwinds through every clean-up."""


class HungUp(BaseException):
    """SIGHUP arrived: the terminal closed, or another process sent it. It unwinds like Terminated."""


_STOPS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
#: Delay before the next attempt to raise an interrupt.
_AGAIN_S = 0.05
#: Interrupts within this time after another count as one: repeated keys, or SIGTERM together with SIGHUP.
_SAME_S = 2.0

#: Number and time of the raised interrupts.
_arrived: list[tuple[int, float]] = []


def handle_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT, Terminated on SIGTERM and HungUp on SIGHUP, but not within an import.

    Native extensions, such as jaxlib's, abort the process if an exception passes through their initialisation. An
    interrupt shortly after another is dropped, because it would interrupt the clean-up of the first. An ignored SIGHUP
    stays ignored, because nohup started the process.
    """
    for number in _STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = _not_raised


def ignore_signals() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP from now on."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def raise_arrived() -> None:
    """Raise an interrupt again that has arrived, in case a library converted it to another error."""
    if _arrived:
        raise _STOPS[_arrived[0][0]]


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer SIGINT, SIGTERM and SIGHUP to the end of the block; only the main thread ever receives them."""
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
    """Turn SIGTERM, which batch schedulers send, and SIGHUP into SystemExit, so that ``finally`` blocks run.

    A handler that the program has set stays in place.
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
    """Retry interrupts that were raised in a finalizer or in a callback from C, where Python drops exceptions."""
    for number, kind in _STOPS.items():
        if issubclass(unraisable.exc_type, kind):
            _arrived.clear()  # nothing was unwound yet
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
