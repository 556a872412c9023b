"""What is printed on terminals of every width, on those that know ASCII alone, and on streams that are gone."""

import errno
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Terminal
from zoo.cli import main as cli
from zoo.models import registry
from zoo.training import RunFolder

HOSTILE = "\x1b[31m[red]\x1b]0;title\x07:smile:\x9b1m\u202e\n.png"


class Unwritable(Terminal):
    """A terminal whose window was closed."""

    def write(self, text):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch, and a picture for it whose name is meant to do harm."""
    folder = tmp_path_factory.mktemp("runs") / "mlp"
    assert cli.main(["train", "mlp", "--epochs", "1", "--batch-size", "128", "--out", str(folder)]) == 0
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder.parent / HOSTILE)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder.parent / "café.png")
    return folder


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("command", ["list", "show", "eval", "predict"])
def test_nothing_is_broken_inside_and_no_line_is_wider_than_the_terminal(run, command, columns, at_width, capsys):
    words = {
        "list": ["list"],
        "show": ["show", "lenet5"],
        "eval": ["eval", str(run)],
        "predict": ["predict", str(run), os.path.relpath(run.parent / "café.png")],
    }[command]
    assert cli.main(words) == 0
    whole = set(capsys.readouterr().out.split())
    stdout, _ = at_width(columns)
    assert cli.main(words) == 0
    lines = [line for line in stdout.lines() if not line.startswith("─")]
    shown = " ".join(lines).split("(in a wider terminal")[0].split()
    assert [word for word in shown if not (word in whole or word.endswith("…"))] == []
    paths = [line for line in lines if "/" in line and " " not in line.strip()]
    assert all(len(line) <= columns for line in lines if line not in paths)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_list_has_one_line_a_model_at_every_width(columns, at_width):
    stdout, _ = at_width(columns)
    assert cli.main(["list"]) == 0
    firsts = [line.split(" ")[0] for line in stdout.lines()]
    assert [first for first in firsts if first in registry.list_models()] == registry.list_models()
    assert len(stdout.lines()) <= len(registry.list_models()) + 5
    assert ("Szegedy" in stdout.getvalue()) == (columns >= 80)
    assert ("1512.03385" in stdout.getvalue()) == (columns == 200)


def test_names_and_labels_from_files_cannot_steer_the_terminal(run, tmp_path, at_width, capsys):
    (tmp_path / "labels.json").write_text('["\\u001b[2Jx[red]"' + ', "[blink]\\u009b1m"' * 9 + "]")
    for words, code in (
        (["predict", run, run.parent / HOSTILE, "--labels", tmp_path / "labels.json"], 0),
        (["predict", run, tmp_path / HOSTILE], 2),
        (["eval", tmp_path / HOSTILE], 2),
        (["list", HOSTILE], 2),
        (["verify", HOSTILE, HOSTILE], 2),
    ):
        assert cli.main([str(word) for word in words]) == code
        printed = "".join(capsys.readouterr())
        assert "[red]" in printed
        assert [c for c in printed if not (c.isprintable() or c == "\n")] == []
    assert cli.main(["list", "a", HOSTILE]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert cli.main(["predict", str(run), str(run.parent / HOSTILE)]) == 0
    assert r"\x1b[31m[red]\x1b]0;title\x07:smile:\x9b1m\u202e\n.png" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [0, 80])
def test_a_terminal_that_knows_ascii_alone_gets_ascii(run, columns, at_width, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    if columns:
        stream, _ = at_width(columns, "ascii")
    else:
        monkeypatch.setattr(sys, "stdout", stream)
    assert cli.main(["predict", str(run), str(run.parent / "café.png")]) == 0
    assert cli.main(["list", "wide*"]) == 0
    printed = stream.getvalue() if columns else stream.buffer.getvalue().decode()
    assert "caf\\xe9.png" in printed.replace("\n", "")
    assert printed.isascii()


def broken_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def closed_file():
    stream = broken_pipe()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [broken_pipe, closed_file, Unwritable])
def test_a_training_outlives_the_terminal_that_it_was_shown_on(make, tmp_path, monkeypatch, capsys):
    stream = make()
    monkeypatch.setattr(sys, "stderr", stream)
    assert cli.main(["train", "mlp", "--epochs", "2", "--batch-size", "128", "--out", str(tmp_path / "run")]) == 0
    assert RunFolder(tmp_path / "run").weights_path.exists()
    out = capsys.readouterr().out
    assert out.count("the progress was not shown to its end: ") == 1
    assert "weights: " in out
    stream.close()


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch, capsys):
    with broken_pipe() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["list"]) == 0
    assert capsys.readouterr().err == ""


def test_a_full_disk_behind_stdout_is_one_line(monkeypatch, capsys):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == f"zoo: stdout cannot be written: {os.strerror(errno.ENOSPC)}\n"


def test_a_command_without_stdout_and_stderr_does_its_work():
    command = 'exec "$0" -m zoo "$@" >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, sys.executable, "list"], check=False).returncode == 0
    assert subprocess.run(["sh", "-c", command, sys.executable, "trian"], check=False).returncode == 2


def test_what_takes_long_is_said_on_the_terminal_alone(at_width, capsys):
    assert cli.main(["show", "lenet5"]) == 0
    assert capsys.readouterr().err == ""
    _, stderr = at_width(80)
    assert cli.main(["show", "lenet5"]) == 0
    assert any("tracing lenet5" in line for line in stderr.lines())
