"""The drills of `tools/faults.py`, each with as few trials as show something; full and read-only disks need root."""

from functools import partial

import pytest

from tools import faults


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return faults.Workplace(tmp_path_factory.mktemp("faults"), "mlp")


DRILLS = {
    "kill": partial(faults.kill, trials=1),
    "refuse_files": partial(faults.refuse_files, every=14),
    "remove_folder": faults.remove_folder,
    "share_folder": faults.share_folder,
    "terminate": faults.terminate,
    "turn_clock_back": faults.turn_clock_back,
    "damage": partial(faults.damage, trials=2),
    "ask_for_absent_device": faults.ask_for_absent_device,
}


@pytest.mark.parametrize("drill", DRILLS.values(), ids=DRILLS)
def test_a_training_survives_and_comes_to_the_same_bits(work, drill):
    row = drill(work)
    assert row.survived == row.trials > 0


def test_the_table_says_what_was_lost():
    rows = [faults.Row("fire", 10, 9, "it burns"), faults.Row("water", 1, True)]
    lines = faults.format_table(rows).splitlines()
    assert lines[2:] == ["| fire | 10 | 9 | it burns |", "| water | 1 | 1 |  |"]
