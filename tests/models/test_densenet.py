"""DenseNets that no fixture has, and the state dicts of 2017."""

import re
from functools import partial

import jax
import numpy as np
import pytest

import zoo
from tests.support import layouts
from tests.support.live import compare, compare_structure, reference
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


def plain_densenet(growth: int, depths: tuple[int, ...], stem: int):
    """The paper's first net from torch's modules: no bottlenecks, no compression; torchvision's names."""
    from torch import cat, nn

    class Layer(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, growth, 3, padding=1, bias=False)

        def forward(self, x):
            return cat([x, self.conv1(self.norm1(x).relu())], 1)

    net, channels = nn.Sequential(), stem
    net.features = nn.Sequential()
    net.features.add_module("conv0", nn.Conv2d(3, stem, 3, padding=1, bias=False))
    for block, depth in enumerate(depths, 1):
        layers = nn.Sequential()
        for i in range(depth):
            layers.add_module(f"denselayer{i + 1}", Layer(channels))
            channels += growth
        net.features.add_module(f"denseblock{block}", layers)
        if block < len(depths):
            transition = nn.Sequential()
            transition.add_module("norm", nn.BatchNorm2d(channels))
            transition.add_module("relu", nn.ReLU())
            transition.add_module("conv", nn.Conv2d(channels, channels, 1, bias=False))
            transition.add_module("pool", nn.AvgPool2d(2))
            net.features.add_module(f"transition{block}", transition)
    net.features.add_module("norm5", nn.BatchNorm2d(channels))
    net.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.classifier = nn.Linear(channels, 10)
    return net


@pytest.mark.parity
@pytest.mark.parametrize("depths", [(3, 3, 3), pytest.param((12, 12, 12), marks=slow)])
def test_plain_densenet_equals_the_papers_description_in_torch(depths):
    fields = {"depths": depths}
    compare(lambda: plain_densenet(12, depths, 16), "densenet40_k12", (3, 25, 34, 3), fields=fields)


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    ["densenet121", *(pytest.param(f"densenet{depth}", marks=slow) for depth in (161, 169, 201))],
)
def test_densenet_equals_torchvision(name):
    compare(reference(f"torchvision/{name}", **TEN), name, (2, 65, 97, 3), fields=TEN)


@pytest.mark.parity
@pytest.mark.slow
def test_densenet264_equals_torchvisions_class_with_the_papers_table():
    reference("torchvision/densenet121")()  # declares what the import needs
    from torchvision.models import DenseNet

    make = lambda: DenseNet(32, (6, 12, 64, 48), 64, num_classes=10)  # noqa: E731
    compare(make, "densenet264", (2, 65, 97, 3), fields=TEN)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["densenet250_k24_bc", "densenet190_k40_bc"])
def test_deep_cifar_densenet_has_pytorchcvs_structure(name):
    compare_structure(reference(f"pytorchcv/{name}_cifar10"), name, layouts.PYTORCHCV_DENSENET_CIFAR)


@pytest.mark.parity
@pytest.mark.slow
def test_cifar_densenet_equals_pytorchcv():
    name, layout = "densenet100_k12_bc", layouts.PYTORCHCV_DENSENET_CIFAR
    compare(reference(f"pytorchcv/{name}_cifar10"), name, (2, 32, 32, 3), layout=layout)
