"""The last line of a process that JAX ends because another one has died."""

import io

from zoo.cli.last_words import LAST_WORDS, relay

WALL = [  # of jaxlib 0.10
    b"E1129 01:17:09.054553 22526 coordination_service.cc:1549] [92] Use error polling to propagate the following\n",
    b"1\n",
    b"The tasks have crashed. Check the task logs for an earlier error, or scheduler events to debug further.\n",
    b"F1129 01:17:09.1 22 client.h:80] Terminating process because the JAX distributed service detected fatal\n",
]


def pass_on(lines):
    sink = io.BytesIO()
    relay(lines, sink)
    return sink.getvalue()


def test_everything_is_passed_on_while_nothing_ends():
    lines = [b"epoch 1/2\n", b"zoo: a warning\n", b"Traceback\n", b"without an end"]
    assert pass_on(lines) == b"".join(lines)


def test_the_wall_of_text_is_one_line():
    assert pass_on([b"epoch 1/2\n", *WALL]) == b"epoch 1/2\n" + LAST_WORDS


def test_what_we_say_ourselves_is_said_once():
    own = b"zoo: another process of this job has ended: ...\n"
    assert pass_on([*WALL[:2], own, *WALL[2:]]) == own
    assert pass_on([own, *WALL]) == own
