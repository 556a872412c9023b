"""Terminals that remember what was printed to them."""

import io
import re
import sys

import pytest


class Terminal(io.StringIO):
    """Keeps what is printed to it."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def lines(self):
        """What can be seen: without colours, each frame of a moving line on its own."""
        return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue().replace("\x1b[2K", "\n")))


@pytest.fixture
def at_width(monkeypatch):
    """Makes stdout and stderr terminals of a width, and returns them."""

    def make(columns, encoding="utf-8"):
        streams = {name: Terminal() for name in ("stdout", "stderr")}
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        for name, stream in streams.items():
            stream.encoding = encoding
            monkeypatch.setattr(sys, name, stream)
        return streams["stdout"], streams["stderr"]

    return make


@pytest.fixture(autouse=True)
def own_memory(monkeypatch):
    """The tests' process gives its memory back, whatever the command would do with a process of its own."""
    monkeypatch.setattr("zoo.training.memory.LIBRARY", None)
