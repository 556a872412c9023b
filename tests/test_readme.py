"""The README says what the project shows."""

import json

import zoo
from tools import write_model_table as table
from tests.support.proof import PROOFS


def test_table_of_models_is_the_one_the_command_writes():
    assert table.readme() == table.README.read_text(), "write it: python -m tools.write_model_table"


def test_measured_figures_are_of_registered_models_and_every_fixture_is_among_them():
    measured = json.loads(table.MEASURED.read_text())
    assert set(measured) <= set(zoo.list_models())
    missing = {proof.name for proof in PROOFS} - set(measured)
    assert not missing, "measure them: python -m tools.write_model_table --measure"


def test_example_prints_what_the_readme_shows(capsys):
    """The same words and the same tale: the digits differ from machine to machine."""
    blocks = [block for block in table.README.read_text().split("```") if block.startswith(("python\n", "\nrunning"))]
    code, printed = blocks
    exec(code.removeprefix("python\n"), {})
    shown, now = (
        dict(line.split() for line in text.split("\n") if line) for text in (printed, capsys.readouterr().out)
    )
    assert shown.keys() == now.keys()
    assert float(now["running"]) < 0.5 < 0.8 < float(now["batch"])
    assert float(shown["running"]) < 0.5 < 0.8 < float(shown["batch"])
