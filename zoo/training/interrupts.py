"""Ctrl-C during a training: between two steps, not within one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def hold_interrupts() -> Iterator[Callable[[], None]]:
    """Makes Ctrl-C wait for a call of the function that is given, between two steps; a second Ctrl-C does not wait.

    A step takes the arrays of the old state: an interruption in the middle of it would leave neither state to save.
    """
    old = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(old):
        yield lambda: None
        return
    held: list[int] = []

    def hold(number: int, _: object) -> None:
        held.append(number)
        signal.signal(signal.SIGINT, old)

    def check() -> None:
        if held:
            old(held.pop(), None)

    signal.signal(signal.SIGINT, hold)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, old)
