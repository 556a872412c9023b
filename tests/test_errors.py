"""The one error of what a user got wrong."""

import copy
import pickle

from zoo.errors import UserError


def test_an_error_is_a_value_error_that_reads_as_problem_and_remedy():
    error = UserError("epochs is 0", "it must be at least 1", code="number", name="epochs")
    assert isinstance(error, ValueError)
    assert str(error) == "epochs is 0: it must be at least 1."
    assert str(UserError("nothing fits")) == "nothing fits."


def test_an_error_survives_a_copy_and_a_pickle():
    error = UserError("epochs is 0", "it must be at least 1", code="number", name="epochs")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.code, twin.context) == (str(error), "number", {"name": "epochs"})
