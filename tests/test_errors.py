"""The one error of what a user got wrong."""

import copy
import pickle
import re
from collections import Counter
from pathlib import Path

from zoo.errors import UserError

ROOT = Path(__file__).parents[1]
BROAD = re.compile(r"^\s*except(:| \(?(Base)?Exception\b)|suppress\((Base)?Exception\b")
SKIP = re.compile(r"\bmark\.(skip|skipif|xfail)\b|\bpytest\.(skip|xfail|importorskip)\(")


def test_an_error_is_a_value_error_that_reads_as_problem_and_remedy():
    error = UserError("epochs is 0", "it must be at least 1", code="number", name="epochs")
    assert isinstance(error, ValueError)
    assert str(error) == "epochs is 0: it must be at least 1."
    assert str(UserError("nothing fits")) == "nothing fits."


def test_an_error_survives_a_copy_and_a_pickle():
    error = UserError("epochs is 0", "it must be at least 1", code="number", name="epochs")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.code, twin.context) == (str(error), "number", {"name": "epochs"})


def test_what_catches_everything_and_what_is_skipped_is_listed_with_its_reason():
    """A new one is a decision, and is written down here."""
    catching, skipping, unexplained = Counter(), Counter(), []
    wings = ("zoo", "tests", "tools", "benchmarks", "docs")
    for path in sorted(path for wing in wings for path in (ROOT / wing).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if BROAD.search(line):
                catching[name] += 1
                unexplained += [] if "  # " in line else [f"{name}:{number}"]
            if SKIP.search(line):
                skipping[name] += 1
                unexplained += [] if "reason=" in line else [f"{name}:{number}"]
    assert not unexplained
    assert dict(catching) == {
        "zoo/bench/contestant.py": 1,
        "zoo/cli/runs.py": 1,
        "zoo/data/cifar.py": 1,
        "zoo/data/pictures.py": 1,
        "zoo/training/epochs.py": 2,
        "zoo/weights/exporting.py": 1,
        "zoo/weights/files.py": 1,
        "zoo/weights/hub.py": 3,
        "zoo/weights/inspection.py": 1,
        "zoo/weights/prediction.py": 1,
        "zoo/weights/torch_files.py": 1,
    }
    assert dict(skipping) == {"tests/data/test_folder.py": 1, "tests/training/test_memory.py": 1}
