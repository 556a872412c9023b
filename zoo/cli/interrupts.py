"""Ctrl-C: it ends a command with one line, however often and whenever it is pressed."""

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PAUSE = 0.05  # seconds until an interrupt that was not heard is repeated


@contextmanager
def answered(*, own: bool) -> Iterator[None]:
    """Around a command, in which Ctrl-C raises `KeyboardInterrupt`.

    Args:
      own: the process is there for the command alone. When the command is done, an interrupt finds nothing that it
        should be reported from: the system ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are not for the others
        yield
        return
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = _repeat
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, signal.SIG_DFL if own and before is not signal.SIG_IGN else before)


def ignore() -> None:
    """While a first interrupt is being answered, a second one says nothing new."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _repeat(unraisable: "sys.UnraisableHookArgs") -> None:
    """An interrupt that comes while Python collects garbage or unlocks a module is lost there: it comes once more."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(PAUSE, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(unraisable)
