"""ResNet (He et al. 2015, arXiv:1512.03385), ResNeXt (arXiv:1611.05431) and wide ResNet (arXiv:1605.07146).

With weighted channels they are SE-ResNet and SE-ResNeXt (arXiv:1709.01507); ResNet-D (arXiv:1812.01187) has another
stem and another shortcut. ImageNet's are v1.5 as in torchvision: the stride of a bottleneck is in its 3x3;
`resnet50_v1` has it in the first 1x1, as published. CIFAR's ResNets (section 4.2) have shortcuts without parameters,
option A of the paper; CIFAR's ResNeXts rectify after the sum, as the released code, where the paper's text says
pre-activation.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax

from zoo.data.preprocessing import PRESETS
from zoo.layers import Conv, Linear, add_relu, avg_pool, global_avg_pool
from zoo.models.net import Ends, Net
from zoo.models.residual import pad_shortcut, pool_stem, stage_endpoints
from zoo.models.squeeze_excite import SqueezeExcite
from zoo.models.variants import PublishedWeights, Variant
from zoo.models.variants import torchvision_weights as tv
from zoo.norm import BatchNorm

Brick = Callable[..., nn.Module]  # makes a convolution or a normalisation


def project_shortcut(
    x: jax.Array,
    features: int,
    stride: int,
    *,
    train: bool,
    average: bool = False,
    conv: Brick = Conv,
    norm: Brick = BatchNorm,
) -> jax.Array:
    """x itself, or its 1x1 projection where the block changes the shape (option B of the paper).

    With `average` the projection sees every pixel: means of 2x2 of them, in place of one in four (ResNet-D).
    """
    if x.shape[-1] == features and stride == 1:
        return x
    if average:
        x = x if stride == 1 else avg_pool(x, 2, stride, ceil=True, count_include_pad=False)
        x = conv(features, 1, name="downsample_1")(x)
        return norm(name="downsample_2")(x, train=train)
    x = conv(features, 1, stride, name="downsample_0")(x)
    return norm(name="downsample_1")(x, train=train)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 5, left)."""

    width: int
    stride: int = 1
    projection: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = Conv(self.width, 3, self.stride, padding=1, name="conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = Conv(self.width, 3, padding=1, name="conv2")(y)
        y = BatchNorm(name="bn2")(y, train=train)
        if self.projection:
            x = project_shortcut(x, self.width, self.stride, train=train)
        else:
            x = pad_shortcut(x, self.width, self.stride)
        return add_relu(y, x)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 (figure 5, right); grouped, it is ResNeXt's block (arXiv:1611.05431, figure 3c).

    Weighting channels before the sum makes it SE-ResNet's (arXiv:1709.01507, figure 3), averaging before the projection
    ResNet-D's (arXiv:1812.01187, figure 2c).
    """

    width: int
    stride: int = 1
    groups: int = 1
    base_width: int = 64
    stride_in_1x1: bool = False
    squeeze_excite: bool = False
    average_shortcut: bool = False
    use_bias: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv, norm = partial(Conv, use_bias=self.use_bias), partial(BatchNorm, epsilon=self.epsilon)
        inner = self.width * self.base_width // 64 * self.groups
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = conv(inner, 1, first, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, train=train))
        y = conv(inner, 3, second, padding=1, feature_group_count=self.groups, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y, train=train))
        y = conv(4 * self.width, 1, name="conv3")(y)
        y = norm(name="bn3")(y, train=train)
        if self.squeeze_excite:
            y = SqueezeExcite(name="se")(y)
        project = partial(project_shortcut, train=train, average=self.average_shortcut, conv=conv, norm=norm)
        return add_relu(y, project(x, 4 * self.width, self.stride))


class ResNet(Net):
    """Stem, stages of residual blocks that double the width, global average, one dense layer (table 1).

    Attributes:
      block: of `width` and `stride`.
      depths: blocks of each stage.
      width: of the first stage.
      small: 3x3 stem without pool, for images of 32x32.
      deep_stem: three 3x3 in place of the 7x7 (ResNet-C and ResNet-D; arXiv:1812.01187, figure 2b).
      pool: the stem's; Caffe's hangs over the right edge instead of being padded.
      use_bias, epsilon: of the stem's convolution and normalisation; a block has its own.
    """

    block: Callable[..., nn.Module]
    depths: tuple[int, ...]
    width: int = 64
    small: bool = False
    deep_stem: bool = False
    pool: Callable[[jax.Array], jax.Array] = pool_stem
    use_bias: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        stem = partial(Conv, self.width, use_bias=self.use_bias, name="conv1")
        if self.deep_stem:
            x = self.convolve_thrice(x, train=train)
        else:
            x = stem(3, padding=1)(x) if self.small else stem(7, 2, padding=3)(x)
        x = nn.relu(BatchNorm(epsilon=self.epsilon, name="bn1")(x, train=train))
        x = ends["stem"] = x if self.small else self.pool(x)
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                x = self.block(self.width * 2**stage, stride, name=f"layer{stage + 1}_{i}")(x, train=train)
            ends[f"layer{stage + 1}"] = x
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends

    def convolve_thrice(self, x: jax.Array, *, train: bool) -> jax.Array:
        """The deep stem up to its last convolution, of which the first two make half the channels."""
        x = Conv(self.width // 2, 3, 2, padding=1, name="conv1_0")(x)
        x = nn.relu(BatchNorm(name="conv1_1")(x, train=train))
        x = Conv(self.width // 2, 3, padding=1, name="conv1_3")(x)
        x = nn.relu(BatchNorm(name="conv1_4")(x, train=train))
        return Conv(self.width, 3, padding=1, name="conv1_6")(x)


def net(block: Callable[..., nn.Module], *depths: int) -> Callable[..., ResNet]:
    return partial(ResNet, block=block, depths=depths)


def cifar(block: Callable[..., nn.Module], n: int, width: int = 16) -> Callable[..., ResNet]:
    return partial(net(block, n, n, n), width=width, small=True, num_classes=10)


def grouped(groups: int, base_width: int) -> Callable[..., nn.Module]:
    return partial(Bottleneck, groups=groups, base_width=base_width)


def timm(name: str, recipe: str, top1: float, top5: float) -> PublishedWeights:
    """timm's own weights, measured at 288 pixels out of 303."""
    preprocessing = replace(PRESETS["torchvision"], size=288, crop=0.95, interpolation="bicubic")
    return PublishedWeights(f"hf:timm/{name}.{recipe}_in1k", preprocessing, top1, top5)


PADDED = partial(BasicBlock, projection=False)
STRIDED_1X1 = partial(Bottleneck, stride_in_1x1=True)
EXCITED = partial(Bottleneck, squeeze_excite=True)
AVERAGED = partial(Bottleneck, average_shortcut=True)

HE, XIE = "He et al. 2015, arXiv:1512.03385", "Xie et al. 2016, arXiv:1611.05431"
ROW = partial(Variant, paper=HE, reference="torchvision", endpoints=stage_endpoints((4, 64), 256))
BASIC = partial(ROW, endpoints=stage_endpoints((4, 64), 64))
V15 = partial(ROW, departures="stride in the 3x3, not in the first 1x1")
RESNEXT = partial(ROW, paper=XIE)
WIDE = partial(ROW, paper="Zagoruyko & Komodakis 2016, arXiv:1605.07146")
SE = partial(ROW, paper="Hu et al. 2017, arXiv:1709.01507", reference="timm")
CIFAR = partial(Variant, image_size=32, paper=HE, endpoints=stage_endpoints((1, 16), 16, 3))
CIFAR_RESNEXT = partial(CIFAR, paper=XIE, reference="pytorchcv", endpoints=stage_endpoints((1, 64), 256, 3))

VARIANTS = {
    "resnet18": BASIC(net(BasicBlock, 2, 2, 2, 2), 11_689_512, 1_814_073_344, weights=tv("resnet18", 69.76, 89.08)),
    "resnet34": BASIC(net(BasicBlock, 3, 4, 6, 3), 21_797_672, 3_663_761_408, weights=tv("resnet34", 73.31, 91.42)),
    "resnet50": V15(net(Bottleneck, 3, 4, 6, 3), 25_557_032, 4_089_184_256, weights=tv("resnet50", 76.13, 92.86)),
    "resnet101": V15(net(Bottleneck, 3, 4, 23, 3), 44_549_160, 7_801_405_440, weights=tv("resnet101", 77.37, 93.55)),
    "resnet152": V15(net(Bottleneck, 3, 8, 36, 3), 60_192_808, 11_513_626_624, weights=tv("resnet152", 78.31, 94.05)),
    "resnet50_v1": ROW(net(STRIDED_1X1, 3, 4, 6, 3), 25_557_032, 3_857_973_248, reference="pytorchcv"),
    "wide_resnet50_2": WIDE(
        net(grouped(1, 128), 3, 4, 6, 3), 68_883_240, 11_398_021_120, weights=tv("wide_resnet50_2", 78.47, 94.09)
    ),
    "wide_resnet101_2": WIDE(
        net(grouped(1, 128), 3, 4, 23, 3), 126_886_696, 22_753_050_624, weights=tv("wide_resnet101_2", 78.85, 94.28)
    ),
    "resnext50_32x4d": RESNEXT(
        net(grouped(32, 4), 3, 4, 6, 3), 25_028_904, 4_230_479_872, weights=tv("resnext50_32x4d", 77.62, 93.70)
    ),
    "resnext101_32x4d": RESNEXT(net(grouped(32, 4), 3, 4, 23, 3), 44_177_704, 7_969_996_800, reference="timm"),
    "resnext101_32x8d": RESNEXT(
        net(grouped(32, 8), 3, 4, 23, 3), 88_791_336, 16_414_015_488, weights=tv("resnext101_32x8d", 79.31, 94.53)
    ),
    "resnext101_64x4d": RESNEXT(
        net(grouped(64, 4), 3, 4, 23, 3),
        83_455_272,
        15_460_270_080,
        weights=tv("resnext101_64x4d", 83.25, 96.45, resize=232),
    ),
    "seresnet50": SE(
        net(EXCITED, 3, 4, 6, 3),
        28_088_024,
        4_091_699_200,
        departures="stride in the 3x3, not in the first 1x1",
        weights=timm("seresnet50", "ra2", 81.28, 95.65),
    ),
    "seresnext50_32x4d": SE(
        net(partial(EXCITED, groups=32, base_width=4), 3, 4, 6, 3),
        27_559_896,
        4_232_994_816,
        weights=timm("seresnext50_32x4d", "racm", 82.20, 96.15),
    ),
    "resnet50d": ROW(
        partial(net(AVERAGED, 3, 4, 6, 3), deep_stem=True),
        25_576_264,
        4_328_824_832,
        paper="He et al. 2018, arXiv:1812.01187",
        reference="timm",
        weights=timm("resnet50d", "ra2", 81.36, 95.74),
    ),
    "resnet20": CIFAR(cifar(PADDED, 3), 269_722, 40_551_040),
    "resnet32": CIFAR(cifar(PADDED, 5), 464_154, 68_862_592),
    "resnet44": CIFAR(cifar(PADDED, 7), 658_586, 97_174_144),
    "resnet56": CIFAR(cifar(PADDED, 9), 853_018, 125_485_696),
    "resnet110": CIFAR(cifar(PADDED, 18), 1_727_962, 252_887_680),
    "resnext29_8x64d": CIFAR_RESNEXT(cifar(grouped(8, 64), 3, 64), 34_426_698, 5_387_266_048),
    "resnext29_16x64d": CIFAR_RESNEXT(cifar(grouped(16, 64), 3, 64), 68_155_210, 10_688_866_304),
}
