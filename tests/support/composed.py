"""Nets that no library has as they were published, put together from the libraries' blocks and from torch's layers.

Needs the [parity] extra. Nothing here knows ours: what is not in a library is written from the paper.
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from tests.support.live import reference, torchvision_of_cpu

torchvision_of_cpu()  # declares what its import needs


def sequential(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def mlp():
    """Two hidden layers on the flattened image."""
    first, second = nn.Linear(3 * 32 * 32, 512), nn.Linear(512, 256)
    return sequential(
        flatten=nn.Flatten(), fc1=first, relu1=nn.ReLU(), fc2=second, relu2=nn.ReLU(), fc=nn.Linear(256, 10)
    )


def convnet(*, norm: bool):
    """CS231n's INPUT + {[CONV + RELU]*2 + POOL}*2 + FC*2, the norm where arXiv:1502.03167 has it, before the ReLU."""
    layers: dict[str, nn.Module] = {}
    for stage, (inputs, width) in enumerate(((3, 32), (32, 64)), 1):
        for group in range(2):
            name = f"{stage}_{group}"
            layers[f"conv{name}"] = nn.Conv2d(width if group else inputs, width, 3, padding=1, bias=not norm)
            if norm:
                layers[f"bn{name}"] = nn.BatchNorm2d(width)
            layers[f"relu{name}"] = nn.ReLU()
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    head = {"flatten": nn.Flatten(), "fc1": nn.Linear(64 * 8 * 8, 128), "relu": nn.ReLU(), "fc": nn.Linear(128, 10)}
    return sequential(**layers, **head)


class LeNet5(nn.Module):
    """LeCun et al. 1998, section II.B, up to F6; the output is a dense layer."""

    def __init__(self):
        super().__init__()
        self.c1, self.s2 = nn.Conv2d(1, 6, 5), Subsampling(6)
        self.c3, self.s4 = Connected(), Subsampling(16)
        self.c5, self.f6, self.fc = nn.Conv2d(16, 120, 5), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        for layer in (self.c1, self.s2, self.c3, self.s4, self.c5):
            x = self.squash(layer(x))
        return self.fc(self.squash(self.f6(x.flatten(1))))

    def squash(self, x):
        """Appendix A."""
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """Of four neighbours the sum, here the mean, times a coefficient plus a bias of the map's."""

    def __init__(self, maps):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.zeros(maps)) for _ in range(2))

    def forward(self, x):
        return functional.avg_pool2d(x, 2) * self.weight[:, None, None] + self.bias[:, None, None]


class Connected(nn.Module):
    """C3, map by map; the 60 kernels lie one after another, each as `[width, height]`."""

    TABLE_I = "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345"

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(60, 5, 5)), nn.Parameter(torch.zeros(16))

    def forward(self, x):
        seen = [[int(digit) for digit in column] for column in self.TABLE_I.split()]
        kernels = self.weight.transpose(1, 2).split([len(maps) for maps in seen])
        maps = [functional.conv2d(x[:, maps], kernel[None]) for maps, kernel in zip(seen, kernels, strict=True)]
        return torch.cat(maps, 1) + self.bias[:, None, None]


def lenet5_relu():
    """Today's courses' LeNet."""
    convolutions = {"c1": nn.Conv2d(1, 6, 5), "c3": nn.Conv2d(6, 16, 5)}
    layers: dict[str, nn.Module] = {}
    for name, convolution in convolutions.items():
        layers |= {name: convolution, f"relu_{name}": nn.ReLU(), f"pool_{name}": nn.MaxPool2d(2)}
    dense = {"c5": nn.Conv2d(16, 120, 5), "relu_c5": nn.ReLU(), "flatten": nn.Flatten(), "f6": nn.Linear(120, 84)}
    return sequential(**layers, **dense, relu_f6=nn.ReLU(), fc=nn.Linear(84, 10))


def alexnet_2012(classes: int = 1000):
    """Krizhevsky et al. 2012, section 3; torch's LocalResponseNorm divides its alpha by the size."""
    respond = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    return sequential(
        conv1=nn.Conv2d(3, 96, 11, 4),
        relu1=nn.ReLU(),
        norm1=respond,
        pool1=nn.MaxPool2d(3, 2),
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
        relu2=nn.ReLU(),
        norm2=respond,
        pool2=nn.MaxPool2d(3, 2),
        conv3=nn.Conv2d(256, 384, 3, padding=1),
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
        relu5=nn.ReLU(),
        pool5=nn.MaxPool2d(3, 2),
        average=nn.AdaptiveAvgPool2d(6),
        flatten=nn.Flatten(),
        fc6=nn.Linear(9216, 4096),
        relu6=nn.ReLU(),
        fc7=nn.Linear(4096, 4096),
        relu7=nn.ReLU(),
        fc8=nn.Linear(4096, classes),
    )


def googlenet_2014(classes: int = 1000):
    """torchvision's class with the paper's parts in place of its own."""
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

    net = GoogLeNet(num_classes=classes, init_weights=False, blocks=[ConvReLU, Inception, Aux])
    respond = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    net.maxpool1 = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), respond)
    net.maxpool2 = nn.Sequential(respond, nn.MaxPool2d(3, 2, ceil_mode=True))
    net.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return net


class Padded(nn.Module):
    """Option A of He et al. 2015: every other pixel, and zeros after the old channels."""

    def forward(self, x):
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))


def cifar_resnet(n: int):
    """He et al. 2015, section 4.2: torchvision's class and its basic blocks, 6n + 2 layers deep."""
    from torchvision.models.resnet import BasicBlock, ResNet

    net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
    net.conv1, net.bn1, net.maxpool = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Identity()
    for stage in range(3):
        width, stride = 16 * 2**stage, 2 if stage else 1
        first = BasicBlock(width // 2 if stage else 16, width, stride, Padded() if stage else None)
        setattr(net, f"layer{stage + 1}", nn.Sequential(first, *(BasicBlock(width, width) for _ in range(n - 1))))
    net.layer4, net.fc = nn.Identity(), nn.Linear(64, 10)
    return net


def cifar_resnext29(groups: int):
    """pytorchcv's, which averages whatever map is left and not one of 8x8."""
    from pytorchcv.models.resnext_cifar import get_resnext_cifar

    net = get_resnext_cifar(10, 29, groups, 64)
    net.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return net


def preresnet(source: str, classes: int = 1000):
    """pytorchcv's net without what it adds to He's: a second activation before the first block, a fixed last pool."""
    net = reference(source, num_classes=classes)()
    net.features.final_pool = nn.AdaptiveAvgPool2d(1)
    net.features.stage1.unit1.body.conv1.bn = nn.Identity()
    return net


def cifar_preresnet(depth: int, *, bottleneck: bool):
    """pytorchcv's CIFAR net with He's shortcut (basic blocks) or He's stride (bottlenecks)."""
    from pytorchcv.models.preresnet_cifar import get_preresnet_cifar

    net = get_preresnet_cifar(10, depth, bottleneck)
    net.features.final_pool = nn.AdaptiveAvgPool2d(1)
    for stage in (net.features.stage2, net.features.stage3):
        if bottleneck:
            stage.unit1.body.conv1.conv.stride, stage.unit1.body.conv2.conv.stride = (2, 2), (1, 1)
        else:
            stage.unit1.identity_conv = Padded()
    return net


def densenet264(classes: int = 1000):
    """torchvision's class with the paper's table 1."""
    from torchvision.models import DenseNet

    return DenseNet(32, (6, 12, 64, 48), 64, num_classes=classes)


def plain_densenet(growth: int, depths: tuple[int, ...], stem: int):
    """The first net of Huang et al. 2016: no bottlenecks, no compression; names are torchvision's."""

    class Layer(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, growth, 3, padding=1, bias=False)

        def forward(self, x):
            return torch.cat([x, self.conv1(self.norm1(x).relu())], 1)

    layers: dict[str, nn.Module] = {"conv0": nn.Conv2d(3, stem, 3, padding=1, bias=False)}
    channels = stem
    for block, depth in enumerate(depths, 1):
        inputs = [channels + growth * i for i in range(depth)]
        layers[f"denseblock{block}"] = sequential(**{f"denselayer{i}": Layer(n) for i, n in enumerate(inputs, 1)})
        channels += growth * depth
        if block < len(depths):
            conv, norm = nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
            layers[f"transition{block}"] = sequential(norm=norm, relu=nn.ReLU(), conv=conv, pool=nn.AvgPool2d(2))
    pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    features = sequential(**layers, norm5=nn.BatchNorm2d(channels))
    return sequential(features=features, pool=pool, classifier=nn.Linear(channels, 10))


NETS = {
    "mlp": mlp,
    "convnet": partial(convnet, norm=False),
    "convnet_bn": partial(convnet, norm=True),
    "lenet5": LeNet5,
    "lenet5_relu": lenet5_relu,
    "alexnet_2012": alexnet_2012,
    "googlenet_2014": googlenet_2014,
    "densenet264": densenet264,
    "densenet40_k12": partial(plain_densenet, 12, (12, 12, 12), 16),
    **{f"resnet{6 * n + 2}": partial(cifar_resnet, n) for n in (3, 5, 7, 9, 18)},
    **{f"resnext29_{groups}x64d": partial(cifar_resnext29, groups) for groups in (8, 16)},
    "preresnet34": partial(preresnet, "pytorchcv/preresnet34"),
    **{f"preresnet{depth}": partial(preresnet, f"pytorchcv/preresnet{depth}b") for depth in (101, 152, 200)},
    **{f"preresnet{depth}": partial(cifar_preresnet, depth, bottleneck=False) for depth in (56, 110)},
    "preresnet1001": partial(cifar_preresnet, 1001, bottleneck=True),
}
