"""torch's contestants do the same work: the same parameters, heads and losses (`parity`: needs torch)."""

import pytest

import zoo
from tests.support import live

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]  # the libraries' own deprecations

NAMES = ["resnet50", "densenet121", "vgg16_bn", "googlenet", "inception_v3", "inception_v4", "alexnet"]
NAMES += ["resnext50_32x4d", "resnetv2_50", "inception_resnet_v2", "resnet20", "resnet110"]


@pytest.mark.parametrize("name", NAMES)
def test_nets_have_our_number_of_parameters(name):
    import torch

    from zoo.bench.torch_nets import make_net

    live.torchvision_of_cpu()  # torch's meta device imports it
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make_net(name).parameters()) == zoo.variant(name).params


def test_the_resnet_of_cifar_is_ours():
    from zoo.bench.torch_nets import make_net

    live.compare(lambda: make_net("resnet20"), "resnet20", (4, 16, 16, 3))


def test_weights_of_auxiliary_heads_are_ours():
    from zoo.bench.torch_nets import AUX_WEIGHTS

    nets = {name: tuple(zoo.variant(name).aux_weights.values()) for name in AUX_WEIGHTS}
    assert nets == AUX_WEIGHTS


@pytest.mark.parametrize("name", ["resnet18", "resnetv2_50", "inception_v4", "densenet121"])
def test_a_folded_net_answers_as_before_and_says_what_it_could_not_fold(name):
    import torch
    from torch import nn

    from zoo.bench.torch_nets import fold, make_net

    torch.manual_seed(0)
    net, images = make_net(name), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        net.train()(images)  # so that the running statistics are not 0 and 1
        expected = net.eval()(images)
        folded, note = fold(net)
        torch.testing.assert_close(folded(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    left = sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    expected_left = {"resnet18": 0, "inception_v4": 0, "resnetv2_50": 17, "densenet121": 62}[name]
    assert (left, note.split(" ")[:3:2]) == (expected_left, ["torch.fx", str(left)] if left else [""])
