"""What each derivative takes, says and refuses; its values are in test_properties.py and test_golden.py."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.losses import gradient_of, huber, softmax_cross_entropy
from zoo.losses.gradient import derivative_of


@pytest.mark.parametrize("loss", gradient_of, ids=lambda loss: loss.__name__)
def test_a_derivative_takes_what_its_loss_takes_and_stands_under_it(loss):
    gradient = gradient_of[loss]
    assert inspect.signature(gradient).parameters == inspect.signature(loss).parameters
    assert f"erivative of `{loss.__name__}`" in gradient.__doc__
    assert inspect.getsourcefile(inspect.unwrap(gradient)) == inspect.getsourcefile(loss)
    lines, start = inspect.getsourcelines(loss)
    assert inspect.getsourcelines(gradient)[1] == start + len(lines) + 2


@pytest.mark.parametrize("function", [softmax_cross_entropy, gradient_of[softmax_cross_entropy]])
def test_a_derivative_refuses_what_its_loss_refuses(function):
    logits, labels = np.zeros((2, 3), np.float32), np.zeros(2, int)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'smoothing'"):
        function(logits, labels, smoothing=0.1)
    with pytest.raises(TypeError, match=r"positional argument"):
        function(logits, labels, 0.1)
    with pytest.raises(TypeError, match=r"'labels'"):
        function(logits)


def test_arguments_may_be_passed_by_name():
    p, t = np.array([0.5, 3.0], np.float32), np.zeros(2, np.float32)
    np.testing.assert_array_equal(gradient_of[huber](targets=t, predictions=p, delta=2.0), [0.5, 2.0])


def test_a_registered_formula_gets_prepared_arguments_and_the_options_that_it_names(monkeypatch):
    def loss(a, b, *, scale=3.0, shift=1.0, unused=0.0):
        """Never called: the derivative has its signature alone."""

    def prepare(a, b, shift):
        return jnp.asarray(a) + shift, jnp.asarray(b)

    monkeypatch.setitem(gradient_of, loss, None)  # what is registered below goes away with the test

    @derivative_of(loss, prepare)
    def named(a, b, scale):
        """Return what it got."""
        return float(a), float(b), scale

    assert gradient_of[loss] is named
    assert (named.__name__, named.__doc__) == ("named", "Return what it got.")
    assert named(1, 2) == (2, 2, 3)
    assert named(1, b=2, shift=4, unused=5, scale=6) == (5, 2, 6)
