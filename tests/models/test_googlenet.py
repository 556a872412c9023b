"""GoogLeNet: table 1 of the paper; torchvision's net at other sizes; the paper's, made of torchvision's and torch's."""

from functools import partial

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


@pytest.mark.parity
def test_the_paper_s_net_equals_torch_s_layers_put_together_at_other_sizes():
    from tests.support.composed import googlenet_2014

    compare(partial(googlenet_2014, 10), "googlenet_2014", (2, 97, 131, 3), fields=TEN)


@pytest.mark.parity
@pytest.mark.parametrize("transform_input", [False, True])
def test_other_sizes_and_transformed_images_equal_torchvision(transform_input):
    fields = TEN | {"transform_input": transform_input}
    make = reference("torchvision/googlenet", init_weights=False, **fields)
    compare(make, "googlenet", (2, 97, 131, 3), fields=fields)
