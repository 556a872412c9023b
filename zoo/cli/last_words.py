"""What a process of many leaves on stderr when JAX ends it because another one has died: one line.

JAX's service for many processes then writes a page and aborts, on a thread that no Python can stop. What goes to stderr
therefore passes through this program, `python -m zoo.cli.last_words`, which outlives it.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import BinaryIO

MARKS = (  # of the service, and of a collective that loses its other side while it connects
    b"coordination_service",
    b"Terminating process because the JAX distributed service",
    b"instance of 'gloo::",
    b"gloo/transport",
)
OWN = b"zoo: "
LAST_WORDS = (
    OWN + b"another process of this job has ended, or never came: start all of them again, with `zoo resume RUN`.\n"
)


def pass_stderr_on() -> None:
    """Puts the program between this process and its stderr. Start-up's cost is that of an empty Python."""
    reading, writing = os.pipe()
    program = [sys.executable, "-m", __name__]
    subprocess.Popen(program, stdin=reading, stdout=2, stderr=subprocess.DEVNULL, start_new_session=True)
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)


def relay(source: Iterable[bytes], sink: BinaryIO) -> None:
    """Every line, up to where JAX speaks of the end; from there on only our own, or one in their place."""
    ending = said = False
    for line in source:
        ending = ending or any(mark in line for mark in MARKS)
        said = said or line.startswith(OWN)
        if not ending or line.startswith(OWN):
            sink.write(line)
            sink.flush()
    if ending and not said:
        sink.write(LAST_WORDS)
        sink.flush()


if __name__ == "__main__":
    relay(sys.stdin.buffer, sys.stdout.buffer)
