"""What a training shows of itself, on terminals of every width and without one."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from zoo.cli import progress
from zoo.training import Epoch, Progress

STEP = Progress(epoch=12, images=640, of_images=1442, loss=12.3456, accuracy=1.0, images_per_second=12345.6)
ROW = Epoch(12, 0.1, 12.3456, 1.0, 1.5, 0.987, 1.6, 0.876, 12345.6, 3.0)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_bar_says_compiling_until_there_are_numbers_and_shows_them_whole(columns, at_width):
    _, stderr = at_width(columns)
    with progress.ProgressDisplay(20) as display:
        display.bar.refresh()
        compiling = stderr.lines()
        display.show_step(STEP, None)
        display.bar.refresh()
    assert any("compiling" in line for line in compiling)
    assert not any(re.search(r"\d\.\d|images/s", line) for line in compiling)
    frame = next(line for line in stderr.lines() if "epoch 12/20" in line)
    assert len(frame) <= columns
    assert "…" not in frame
    assert ("loss 12.346  accuracy 100.0%" in frame) or columns == 40
    assert re.search(r"epoch 12/20 .*loss 12\.346", frame)
    assert ("12,346 images/s" in frame) == (columns >= 80)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_line_of_an_epoch_is_broken_at_spaces_and_is_one_at_80(columns, at_width):
    _, stderr = at_width(columns)
    progress.ProgressDisplay(20).show_epoch(ROW, None)
    lines = stderr.lines()[:-1]
    assert all(len(line) <= columns for line in lines)
    assert (len(lines) == 1) == (columns >= 80)
    assert " ".join(" ".join(lines).split()[:8]) == "epoch 12/20 loss 12.346 accuracy 100.0% test 98.7%"


def test_without_a_terminal_a_line_comes_now_and_then_within_an_epoch(monkeypatch, capsys):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with progress.ProgressDisplay(20) as display:
        for _ in range(4):
            display.show_step(STEP, None)
    line = "epoch 12/20  640 of 1,442 images  loss 12.346  accuracy 100.0%  12,346 images/s  0:00:01 left\n"
    assert capsys.readouterr().err == 2 * line


def test_a_step_that_waits_for_its_images_says_so(at_width):
    _, stderr = at_width(200)
    with progress.ProgressDisplay(20) as display:
        display.show_step(replace(STEP, limit="input"), None)
        display.bar.refresh()
    assert any("12,346 images/s, limited by input" in line for line in stderr.lines())
