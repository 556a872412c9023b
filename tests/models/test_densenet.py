"""DenseNets that no fixture has, and the state dicts of 2017."""

import re
from functools import partial

import jax
import numpy as np
import pytest

import zoo
from tests.support import layouts
from tests.support.live import compare, reference
from tests.support.nets import draw_variables
from zoo import weights

TEN = {"num_classes": 10}
TINY = {"num_classes": 3, "growth": 4, "stem": 6, "depths": (2, 1, 1, 2)}
slow = pytest.mark.slow


def test_keys_of_old_files_are_rewritten():
    model = zoo.create("densenet121", **TINY)
    variables = draw_variables(model, (32, 32, 3))
    state = weights.to_torch("densenet121", variables)
    old = {re.sub(r"(denselayer\d+\.\w+)(\d)\.", r"\1.\2.", key): value for key, value in state.items()}
    assert "features.denseblock4.denselayer2.norm.1.running_var" in old
    loaded = weights.from_torch("densenet121", old, model=model)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_dropout_falls_on_the_new_maps_only():
    model = zoo.create("densenet40_k12", depths=(1,), dropout=0.5)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    settings = {"train": True, "endpoints": ("stem", "denseblock1"), "mutable": ["batch_stats"]}
    run = jax.jit(partial(model.apply, rngs={"dropout": jax.random.key(2)}, **settings))
    (_, ends), _ = run(draw_variables(model, (8, 8, 3)), images)
    old, new = np.split(ends["denseblock1"], [16], axis=-1)
    np.testing.assert_array_equal(old, ends["stem"])
    assert 0.4 < np.mean(new == 0) < 0.6


@pytest.mark.parity
def test_plain_densenet_equals_the_papers_description_in_torch():
    from tests.support.composed import plain_densenet

    depths = (3, 3, 3)
    make = partial(plain_densenet, 12, depths, 16)
    compare(make, "densenet40_k12", (3, 25, 34, 3), fields={"depths": depths})


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    ["densenet121", *(pytest.param(f"densenet{depth}", marks=slow) for depth in (161, 169, 201))],
)
def test_densenet_equals_torchvision(name):
    compare(reference(f"torchvision/{name}", **TEN), name, (2, 65, 97, 3), fields=TEN)


@pytest.mark.parity
@pytest.mark.slow
def test_cifar_densenet_equals_pytorchcv():
    name, layout = "densenet100_k12_bc", layouts.PYTORCHCV_DENSENET_CIFAR
    compare(reference(f"pytorchcv/{name}_cifar10"), name, (2, 32, 32, 3), layout=layout)
