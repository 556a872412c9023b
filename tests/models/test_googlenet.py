"""GoogLeNet: table 1 of the paper; torchvision's net at other sizes; the paper's, made of torchvision's and torch's."""

import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}
MAIN_BRANCH = 6_998_552  # parameters
# Table 1: side of the maps, millions of operations. Without 5a, whose 54 does not follow from its own widths; nor do
# the printed numbers of parameters of 4c, 4d, 5a and 5b.
OPERATIONS = {
    **{"3a": (28, 128), "3b": (28, 304), "4a": (14, 73), "4b": (14, 88), "4c": (14, 100)},
    **{"4d": (14, 119), "4e": (14, 170), "5b": (7, 71)},
}


@pytest.fixture(scope="module")
def layers():
    return summary.layers(zoo.create("googlenet_2014"), (224, 224, 3))


def test_main_branch_has_the_published_number_of_parameters(layers):
    assert sum(layer.params for layer in layers if not layer.auxiliary) == MAIN_BRANCH


@pytest.mark.parametrize("module", OPERATIONS)
def test_modules_cost_what_table_1_says(layers, module):
    own = [layer for layer in layers if layer.path.startswith(f"inception{module}/")]
    side, millions = OPERATIONS[module]
    assert {layer.shape[0] for layer in own} == {side}
    assert sum(layer.macs for layer in own) / 1e6 == pytest.approx(millions, abs=1)


def composed():
    """torchvision's class with the paper's parts in place of its own."""
    reference("torchvision/googlenet", init_weights=False)()  # makes torchvision importable
    from torch import nn
    from torch.nn import functional
    from torchvision.models.googlenet import GoogLeNet, InceptionAux
    from torchvision.models.googlenet import Inception as TorchInception

    class ConvReLU(nn.Module):
        def __init__(self, inputs, outputs, **kwargs):
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, **kwargs)

        def forward(self, x):
            return functional.relu(self.conv(x))

    class Inception(TorchInception):
        def __init__(self, inputs, ones, reduce3, threes, reduce5, fives, pooled):
            super().__init__(inputs, ones, reduce3, threes, reduce5, fives, pooled, ConvReLU)
            self.branch3[1] = ConvReLU(reduce5, fives, kernel_size=5, padding=2)

    class Aux(InceptionAux):
        def __init__(self, inputs, classes, dropout):
            super().__init__(inputs, classes, ConvReLU, dropout)

        def forward(self, x):
            return super().forward(functional.avg_pool2d(x, 5, 3))

    net = GoogLeNet(**TEN, init_weights=False, blocks=[ConvReLU, Inception, Aux])
    respond = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    net.maxpool1 = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), respond)
    net.maxpool2 = nn.Sequential(respond, nn.MaxPool2d(3, 2, ceil_mode=True))
    net.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return net


@pytest.mark.parity
@pytest.mark.parametrize("size", [(97, 131), pytest.param((224, 224), marks=pytest.mark.slow)])
def test_the_paper_s_net_equals_torch_s_layers_put_together(size):
    compare(composed, "googlenet_2014", (2, *size, 3), fields=TEN)


@pytest.mark.parity
@pytest.mark.parametrize("transform_input", [False, True])
def test_other_sizes_and_transformed_images_equal_torchvision(transform_input):
    fields = TEN | {"transform_input": transform_input}
    make = reference("torchvision/googlenet", init_weights=False, **fields)
    compare(make, "googlenet", (2, 97, 131, 3), fields=fields)
