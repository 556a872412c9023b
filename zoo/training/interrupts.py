"""Ctrl-C and SIGTERM during a training: between two steps, not within one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from zoo.errors import Terminated


@contextlib.contextmanager
def answer_termination() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated` where nobody else answers it, and it would end the process without a word."""
    in_main = threading.current_thread() is threading.main_thread()  # signals are not for the others
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


@contextlib.contextmanager
def hold_interrupts() -> Iterator[Callable[[], None]]:
    """Makes both wait for a call of the function that is given, between two steps; a second one does not wait.

    A step takes the arrays of the old state: an interruption in the middle of it would leave neither state to save.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    old = {number: handler for number, handler in handlers.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    held: list[signal.Signals] = []

    def hold(number: int, _: object) -> None:
        held.append(signal.Signals(number))
        restore()

    def restore() -> None:
        for number, handler in old.items():
            signal.signal(number, handler)

    def check() -> None:
        if held:
            number = held.pop()
            old[number](number, None)

    for number in old:
        signal.signal(number, hold)
    try:
        yield check
        check()
    finally:
        restore()
