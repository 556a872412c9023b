"""Ctrl-C and SIGTERM during a training: between two steps, not within one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
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


class HeldInterrupts:
    """Those that came while they were held.

    Attributes:
      number: of the signal; 0: none came.
    """

    def __init__(self, handlers: Mapping[int, Callable[[int, None], object]]) -> None:
        self.number, self._handlers = 0, handlers

    def answer(self, number: int) -> None:
        """As if the signal came now; 0: nothing."""
        self.number = 0
        if number:
            self._handlers[number](number, None)


@contextlib.contextmanager
def hold_interrupts() -> Iterator[HeldInterrupts]:
    """Makes both wait for a call of `answer`, between two steps, or for the end; a second one does not wait.

    A step takes the arrays of the old state: an interruption in the middle of it would leave neither state to save.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    old = {int(number): handler for number, handler in handlers.items() if callable(handler)}
    held = HeldInterrupts(old)
    if threading.current_thread() is not threading.main_thread():
        yield held
        return

    def hold(number: int, _: object) -> None:
        held.number = number
        restore()

    def restore() -> None:
        for number, handler in old.items():
            signal.signal(number, handler)

    for number in old:
        signal.signal(number, hold)
    try:
        yield held
        held.answer(held.number)
    finally:
        restore()
