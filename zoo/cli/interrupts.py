"""Ctrl-C: it ends a command with one line and exit code 130, however often and whenever it is pressed."""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PAUSE = 0.05  # seconds until an interrupt that was not heard is repeated


def end(*_: object) -> None:
    """The answer while libraries are loaded, in which an exception would be lost or taken for another."""
    ignore()
    with suppress(OSError):
        os.write(2, b"zoo: interrupted\n")
    os._exit(130)


@contextmanager
def answered() -> Iterator[None]:
    """Around a command, in which Ctrl-C raises `KeyboardInterrupt`.

    In a process that is there for the command alone (until now `end` answered), an interrupt after the command finds
    nothing that it should be reported from: the system ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are not for the others
        yield
        return
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if before is end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = _repeat
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is end else before)


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
