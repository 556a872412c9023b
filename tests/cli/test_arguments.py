"""What is said of words that a command does not take: one line each, on stderr, with what to type instead."""

import subprocess
import sys

import pytest

from zoo.cli import main as cli

WRONG = {
    "option with a letter too few": ("train mlp --epoch 3", "train has no option '--epoch': did you mean '--epochs'? "),
    "option before a missing word": ("train --epoch 3", "train has no option '--epoch': did you mean '--epochs'? "),
    "option with its value": ("show lenet5 --imagesize=4", "no option '--imagesize': did you mean '--image-size'? "),
    "option like no other": ("show lenet5 --xyzzy", "show has no option '--xyzzy': `zoo show --help` shows"),
    "short option": ("train mlp -e 3", "train has no option '-e': `zoo train --help` shows"),
    "word as an option": ("train --model mlp", "no option '--model': leave it out, its value stands alone."),
    "pattern as an option": ("list --pattern 'res*'", "no option '--pattern': leave it out, its value stands alone."),
    "no model": ("train", "no MODEL given: `zoo train --help` shows what it takes."),
    "options alone": ("train --epochs 3", "no MODEL given: "),
    "nothing to convert": ("convert", "no MODEL FILE OUT given: "),
    "no file to write": ("convert mlp a", "no OUT given: "),
    "a word too many": ("list a b", "list does not take 'b': `zoo list --help` shows what it takes."),
    "a second model": ("train mlp lenet5", "train does not take 'lenet5': "),
    "option without its value": ("train mlp --epochs", "--epochs has no value: "),
    "value of a switch": ("train mlp --overwrite=3", "train does not take '3': "),
    "unknown choice": ("eval run --statistics mean", "--statistics takes 'running', 'batch', 'both', not 'mean': "),
    "no whole number": ("train mlp --epochs 1.5", "--epochs takes a whole number, not '1.5': "),
    "no number": ("train mlp --lr 1e", "--lr takes a number, not '1e': "),
    "no whole number, by default none": ("show mlp --image-size x", "--image-size takes a whole number, not 'x': "),
    "None of Python": ("resume run --lr None", "--lr takes a number, not 'None': "),
    "number out of range": ("train mlp --batch_size=0", "--batch-size is 0: it must be at least 1."),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_wrong_words_are_one_line_and_exit_code_2(words, message, capsys):
    code = cli.main(words.replace("'", "").split())
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith(f"zoo: {message}") or message in err
    assert err.startswith("zoo: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_line_is_the_same_on_a_terminal_that_knows_ascii_alone(encoding):
    command = [sys.executable, "-X", "utf8=0", "-m", "zoo", "show"]
    process = subprocess.run(command, env={"PYTHONIOENCODING": encoding}, capture_output=True, text=True, check=False)
    assert process.stderr == "zoo: no MODEL given: `zoo show --help` shows what it takes.\n"


def test_options_are_written_with_hyphens_or_underscores_and_values_may_be_negative(capsys):
    assert cli.main(["show", "lenet5", "--image_size", "32"]) == 0
    assert "60,850" in capsys.readouterr().out
    assert cli.main(["train", "mlp", "--lr", "-1"]) == 2
    assert capsys.readouterr().err == "zoo: --lr is -1.0: it must be positive.\n"


def test_after_two_hyphens_every_word_is_a_value(capsys):
    assert cli.main(["list", "--", "--x*"]) == 2
    assert capsys.readouterr().err == "zoo: no model matches '--x*': `zoo list` shows all models.\n"
