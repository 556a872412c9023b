"""The one error of what a user got wrong."""

import ast
import copy
import pickle
from collections import Counter
from pathlib import Path

from zoo.errors import UserError

ROOT = Path(__file__).parents[1]
EVERYTHING = {"Exception", "BaseException"}
SKIPS = {"skip", "skipif", "skipIf", "skipUnless", "skipTest", "SkipTest", "xfail", "importorskip", "expectedFailure"}


def test_an_error_is_a_value_error_that_reads_as_problem_and_remedy():
    error = UserError("epochs is 0", "it must be at least 1", code="number", name="epochs")
    assert isinstance(error, ValueError)
    assert str(error) == "epochs is 0: it must be at least 1."
    assert str(UserError("nothing fits")) == "nothing fits."


def test_an_error_survives_a_copy_and_a_pickle():
    error = UserError("epochs is 0", "it must be at least 1", code="number", name="epochs")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.code, twin.context) == (str(error), "number", {"name": "epochs"})


def names_in(node):
    """Of what is caught, suppressed or called: `Exception` of `(OSError, builtins.Exception)`."""
    return {getattr(part, "attr", getattr(part, "id", "")) for part in ast.walk(node)}


def catches_everything(node):
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or bool(names_in(node.type) & EVERYTHING)
    suppresses = isinstance(node, ast.Call) and "suppress" in names_in(node.func)
    return suppresses and any(names_in(argument) & EVERYTHING for argument in node.args)


def skips(node):
    """A call of one, or a mark without arguments, as a decorator or in `pytestmark`."""
    return isinstance(node, ast.Attribute | ast.Name) and bool(
        {getattr(node, "attr", ""), getattr(node, "id", "")} & SKIPS
    )


def find(source):
    """The lines that catch everything, and those that skip a test."""
    nodes = list(ast.walk(ast.parse(source)))
    return tuple(sorted({node.lineno for node in nodes if kind(node)}) for kind in (catches_everything, skips))


def test_the_search_knows_every_spelling():
    catching = ["except:", "except Exception:", "except (OSError, Exception) as e:", "except builtins.BaseException:"]
    for line in catching:
        assert find(f"try:\n    pass\n{line}\n    pass") == ([3], []), line
    assert find("with contextlib.suppress(OSError, Exception): pass") == ([1], [])
    assert find("try:\n    pass\nexcept (OSError, ValueError):\n    pass\nwith suppress(OSError): pass") == ([], [])
    skipping = ["@pytest.mark.skip\ndef f(): pass", "pytestmark = mark.xfail", "pytest.importorskip('torch')"]
    for line in [*skipping, "raise unittest.SkipTest", "self.skipTest('')", "@skipIf(True, '')\ndef f(): pass"]:
        assert find(line) == ([], [1]), line


def test_what_catches_everything_and_what_is_skipped_is_listed_with_its_reason():
    """A new one is a decision, and is written down here."""
    catching, skipping, unexplained = Counter(), Counter(), []
    wings = ("zoo", "tests", "tools", "benchmarks", "docs")
    for path in sorted(path for wing in wings for path in (ROOT / wing).rglob("*.py")):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        for counter, reason, numbers in zip((catching, skipping), ("  # ", "reason="), find(text), strict=True):
            counter[name] += len(numbers)
            unexplained += [f"{name}:{n}" for n in numbers if reason not in text.splitlines()[n - 1]]
    assert not unexplained
    assert +catching == {
        "zoo/bench/contestant.py": 1,
        "zoo/cli/runs.py": 1,
        "zoo/data/cifar.py": 1,
        "zoo/data/pictures.py": 1,
        "zoo/training/epochs.py": 2,
        "zoo/weights/exporting.py": 1,
        "zoo/weights/files.py": 1,
        "zoo/weights/hub.py": 3,
        "zoo/weights/inspection.py": 1,
        "zoo/weights/torch_files.py": 1,
    }
    assert +skipping == {"tests/data/test_folder.py": 1, "tests/training/test_memory.py": 1}
