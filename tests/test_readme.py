"""The README says what the project shows."""

import json

import zoo
from tests import table
from tests.proof import PROOFS


def test_table_of_models_is_the_one_the_command_writes():
    assert table.readme() == table.README.read_text(), "write it: python -m tests.table"


def test_measured_figures_are_of_registered_models_and_every_fixture_is_among_them():
    measured = json.loads(table.MEASURED.read_text())
    assert set(measured) <= set(zoo.list_models())
    missing = {proof.name for proof in PROOFS} - set(measured)
    assert not missing, "measure them: python -m tests.table --measure"
