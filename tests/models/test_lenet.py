"""LeNet-5 against the figures printed in the paper (section II.B) and a slow version of its partial connections."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import zoo
from zoo.models import summary
from zoo.models.lenet import C3_CONNECTIONS, PartialConv, scaled_tanh

TRAINABLE = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164}  # as printed, section II.B
MAPS = {"c1": (28, 28, 6), "s2": (14, 14, 6), "c3": (10, 10, 16), "s4": (5, 5, 16), "c5": (120,), "f6": (84,)}

TABLE_I = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""


def test_layers_have_the_sizes_and_trainable_parameters_of_the_paper():
    layers = {layer.path: layer for layer in summary.layers(zoo.create("lenet5"), (32, 32, 1))}
    assert {name: layers[name].params for name in TRAINABLE} == TRAINABLE
    assert {name: layers[name].shape for name in MAPS} == MAPS
    assert sum(TRAINABLE.values()) == 60_000  # "LeNet-5 contains ... 60,000 trainable free parameters"


def test_connections_are_those_of_table_one():
    rows = [line.split() for line in TABLE_I.split("\n") if line]
    assert [{i for i in range(6) if rows[i][j] == "X"} for j in range(16)] == list(C3_CONNECTIONS)


def test_partial_convolution_equals_the_loop_over_the_table():
    x = np.random.default_rng(0).normal(size=(1, 7, 6, 6)).astype(np.float32)
    layer = PartialConv()
    variables = layer.init(jax.random.key(0), jnp.asarray(x))
    kernel = np.asarray(variables["params"]["kernel"])
    expected, connection = np.zeros((1, 3, 2, 16), np.float32), 0
    for j, seen in enumerate(C3_CONNECTIONS):
        for i in sorted(seen):
            for r in range(3):
                for c in range(2):
                    expected[0, r, c, j] += np.sum(x[0, r : r + 5, c : c + 5, i] * kernel[:, :, connection])
            connection += 1
    np.testing.assert_allclose(layer.apply(variables, jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


def test_squashing_function_is_the_paper_s():
    """Appendix A: f(1) = 1, f(-1) = -1, and the second derivative's extremes are there."""
    np.testing.assert_allclose(scaled_tanh(jnp.array([1.0, -1.0])), [1, -1], atol=1e-4)
    third = jax.grad(jax.grad(jax.grad(lambda x: 1.7159 * jnp.tanh(2 / 3 * x))))(1.0)
    assert abs(float(third)) < 0.02


def test_both_nets_fit_a_handful_of_images():
    images = jax.random.normal(jax.random.key(0), (10, 32, 32, 1))
    batch = {"image": images, "label": jnp.arange(10, dtype=jnp.int32)}
    step = zoo.make_train_step(zoo.losses.softmax_cross_entropy)
    for name in zoo.list_models("lenet5*"):
        state = zoo.create_train_state(zoo.create(name), jax.random.key(0), optax.sgd(0.03, momentum=0.9), (32, 32, 1))
        for _ in range(30):
            state, metrics = step(state, batch)
        assert float(metrics["accuracy"]) == 1.0, name
