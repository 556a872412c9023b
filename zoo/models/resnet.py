"""ResNet (He et al. 2015, arXiv:1512.03385), ResNeXt (arXiv:1611.05431) and wide ResNet (arXiv:1605.07146).

v1.5 as in torchvision: the stride of a bottleneck is in its 3x3; `resnet50_v1` has it in the first 1x1, as published.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax

from zoo.layers import Conv, Linear, global_avg_pool, max_pool
from zoo.models.net import Ends, Net
from zoo.models.variant import Variant, Weights
from zoo.norm import BatchNorm


def shortcut(x: jax.Array, features: int, stride: int, *, train: bool) -> jax.Array:
    """x itself, or its 1x1 projection where the block changes the shape (option B of the paper)."""
    if x.shape[-1] == features and stride == 1:
        return x
    x = Conv(features, 1, stride, name="downsample_0")(x)
    return BatchNorm(name="downsample_1")(x, train=train)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 5, left)."""

    width: int
    stride: int = 1
    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x, *, train: bool):
        y = Conv(self.width, 3, self.stride, padding=1, name="conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = Conv(self.width, 3, padding=1, name="conv2")(y)
        y = BatchNorm(name="bn2")(y, train=train)
        return nn.relu(y + shortcut(x, self.width, self.stride, train=train))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 (figure 5, right); grouped, it is ResNeXt's block (arXiv:1611.05431, figure 3c)."""

    width: int
    stride: int = 1
    groups: int = 1
    base_width: int = 64
    stride_in_1x1: bool = False
    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x, *, train: bool):
        inner = self.width * self.base_width // 64 * self.groups
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = Conv(inner, 1, first, name="conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train=train))
        y = Conv(inner, 3, second, padding=1, feature_group_count=self.groups, name="conv2")(y)
        y = nn.relu(BatchNorm(name="bn2")(y, train=train))
        y = Conv(4 * self.width, 1, name="conv3")(y)
        y = BatchNorm(name="bn3")(y, train=train)
        return nn.relu(y + shortcut(x, 4 * self.width, self.stride, train=train))


class ResNet(Net):
    """7x7 stem, four stages of residual blocks, global average, one dense layer (table 1)."""

    block: Callable[..., nn.Module]
    depths: tuple[int, ...]

    @nn.compact
    def forward(self, x, *, train: bool):
        ends: Ends = {}
        x = Conv(64, 7, 2, padding=3, name="conv1")(x)
        x = nn.relu(BatchNorm(name="bn1")(x, train=train))
        x = ends["stem"] = max_pool(x, 3, 2, padding=1)
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                x = self.block(64 * 2**stage, stride, name=f"layer{stage + 1}_{i}")(x, train=train)
            ends[f"layer{stage + 1}"] = x
        x = ends["features"] = global_avg_pool(x)
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x)
        return x, ends


def endpoints(expansion: int) -> dict[str, tuple[int, int]]:
    stages = {f"layer{i + 1}": (4 * 2**i, 64 * 2**i * expansion) for i in range(4)}
    return {"stem": (4, 64), **stages, "features": (0, 512 * expansion)}


def grouped(groups: int, base_width: int) -> Callable[..., nn.Module]:
    return partial(Bottleneck, groups=groups, base_width=base_width)


ROW = partial(Variant, paper="He et al. 2015, arXiv:1512.03385", reference="torchvision", endpoints=endpoints(4))
BASIC = partial(ROW, endpoints=endpoints(1))
V15 = partial(ROW, departures="stride in the 3x3, not in the first 1x1")
RESNEXT = partial(ROW, paper="Xie et al. 2016, arXiv:1611.05431")
WIDE = partial(ROW, paper="Zagoruyko & Komodakis 2016, arXiv:1605.07146")


def net(block: Callable[..., nn.Module], *depths: int) -> Callable[..., ResNet]:
    return partial(ResNet, block, depths)


def tv(name: str, top1: float, top5: float) -> Weights:
    """torchvision's first weights, as republished in safetensors."""
    return Weights(f"hf:timm/{name}.tv_in1k", top1=top1, top5=top5)


V1_BOTTLENECK = partial(Bottleneck, stride_in_1x1=True)

VARIANTS = {
    "resnet18": BASIC(net(BasicBlock, 2, 2, 2, 2), 11_689_512, 1_814_073_344, weights=tv("resnet18", 69.76, 89.08)),
    "resnet34": BASIC(net(BasicBlock, 3, 4, 6, 3), 21_797_672, 3_663_761_408, weights=tv("resnet34", 73.31, 91.42)),
    "resnet50": V15(net(Bottleneck, 3, 4, 6, 3), 25_557_032, 4_089_184_256, weights=tv("resnet50", 76.13, 92.86)),
    "resnet101": V15(net(Bottleneck, 3, 4, 23, 3), 44_549_160, 7_801_405_440, weights=tv("resnet101", 77.37, 93.55)),
    "resnet152": V15(net(Bottleneck, 3, 8, 36, 3), 60_192_808, 11_513_626_624, weights=tv("resnet152", 78.31, 94.05)),
    "resnet50_v1": ROW(net(V1_BOTTLENECK, 3, 4, 6, 3), 25_557_032, 3_857_973_248, reference="pytorchcv"),
    "wide_resnet50_2": WIDE(net(grouped(1, 128), 3, 4, 6, 3), 68_883_240, 11_398_021_120),
    "wide_resnet101_2": WIDE(net(grouped(1, 128), 3, 4, 23, 3), 126_886_696, 22_753_050_624),
    "resnext50_32x4d": RESNEXT(net(grouped(32, 4), 3, 4, 6, 3), 25_028_904, 4_230_479_872),
    "resnext101_32x4d": RESNEXT(net(grouped(32, 4), 3, 4, 23, 3), 44_177_704, 7_969_996_800, reference="timm"),
    "resnext101_32x8d": RESNEXT(net(grouped(32, 8), 3, 4, 23, 3), 88_791_336, 16_414_015_488),
    "resnext101_64x4d": RESNEXT(net(grouped(64, 4), 3, 4, 23, 3), 83_455_272, 15_460_270_080),
}
