"""ResNet v2, full pre-activation (He et al. 2016, arXiv:1603.05027): normalise and rectify before each convolution.

Three forms of one net. He's ImageNet nets (`preresnet50`, ...) activate after the stem, and the first block does
not do it again; his CIFAR nets (`preresnet164`, ...) and timm's (`resnetv2_50`, ...) leave it to the first block.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax

from zoo.data.preprocessing import PRESETS
from zoo.layers import Conv, Linear, global_avg_pool, take_every
from zoo.models.layout import Layout
from zoo.models.net import Ends, Net
from zoo.models.preactivation import norm_relu
from zoo.models.residual import pad_shortcut, pool_stem, stage_endpoints
from zoo.models.variants import PublishedWeights, Variant


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 1b); where the shape changes, the shortcut starts after the activation."""

    width: int
    stride: int = 1
    preactivation: bool = True
    projection: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = norm_relu(x, "norm1", train=train) if self.preactivation else x
        if x.shape[-1] != self.width or self.stride != 1:
            if self.projection:
                x = Conv(self.width, 1, self.stride, name="downsample")(y)
            else:
                x = pad_shortcut(y, self.width, self.stride)
        y = Conv(self.width, 3, self.stride, padding=1, name="conv1")(y)
        y = norm_relu(y, "norm2", train=train)
        return x + Conv(self.width, 3, padding=1, name="conv2")(y)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; where the channels change, the shortcut is a projection of the activated input.

    Where only the size does, in the nets that halve in a stage's last block, it is every other pixel of the input.
    """

    width: int
    stride: int = 1
    preactivation: bool = True
    stride_in_1x1: bool = False
    use_bias: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        activate = partial(norm_relu, train=train, epsilon=self.epsilon)
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = activate(x, "norm1") if self.preactivation else x
        if x.shape[-1] != 4 * self.width:
            x = Conv(4 * self.width, 1, self.stride, use_bias=self.use_bias, name="downsample")(y)
        elif self.stride > 1:
            x = take_every(x, self.stride)
        y = Conv(self.width, 1, first, name="conv1")(y)
        y = activate(y, "norm2")
        y = Conv(self.width, 3, second, padding=1, name="conv2")(y)
        y = activate(y, "norm3")
        return x + Conv(4 * self.width, 1, use_bias=self.use_bias, name="conv3")(y)


class ResNetV2(Net, kw_only=True):
    """Stem, stages of pre-activation blocks that double the width, a last activation, global average, dense layer.

    Attributes:
      block: of `width`, `stride` and `preactivation`.
      depths: blocks of each stage.
      width: of the first stage.
      small: 3x3 stem without pool, for images of 32x32.
      stem_activation: normalise and rectify between the stem's convolution and its pool.
      first_preactivation: the first block activates its input as all others do.
      stride_in_last: a stage but the last halves its map in its last block, as TF-slim's and Keras's, and not in the
        first one of the next.
      pool: the stem's; Keras's and TF-slim's pad otherwise.
      use_bias, epsilon: of the stem's convolution, and of the last normalisation; a block has its own.
    """

    block: Callable[..., nn.Module]
    depths: tuple[int, ...]
    width: int = 64
    small: bool = False
    stem_activation: bool = False
    first_preactivation: bool = True
    stride_in_last: bool = False
    pool: Callable[[jax.Array], jax.Array] = pool_stem
    use_bias: bool = False
    epsilon: float = 1e-5

    @nn.compact
    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        ends: Ends = {}
        stem = partial(Conv, self.width, use_bias=self.use_bias, name="stem")
        x = stem(3, padding=1)(x) if self.small else stem(7, 2, padding=3)(x)
        if self.stem_activation:
            x = norm_relu(x, "stem_norm", train=train, epsilon=self.epsilon)
        x = ends["stem"] = x if self.small else self.pool(x)
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                halves = i == depth - 1 and stage < len(self.depths) - 1 if self.stride_in_last else stage and not i
                stride = 2 if halves else 1
                preactivation = self.first_preactivation or stage + i > 0
                block = self.block(self.width * 2**stage, stride, preactivation, name=f"layer{stage + 1}_{i}")
                x = block(x, train=train)
            ends[f"layer{stage + 1}"] = x
        x = ends["features"] = global_avg_pool(norm_relu(x, "norm", train=train, epsilon=self.epsilon))
        if self.num_classes:
            x = Linear(self.num_classes, name="fc")(x[:, None, None])  # timm's is a 1x1 convolution
        return x, ends


STAGES = tuple((rf"^layer{i + 1}\.", f"stages.{i}.blocks.") for i in range(4))
HEAD_AND_STEM = ((r"^fc$", "head.fc"), (r"^stem$", "stem.conv"), (r"^stem_norm$", "stem.norm"))
LAYOUTS = {"timm": Layout((*STAGES, *HEAD_AND_STEM, (r"downsample$", "downsample.conv")))}


def a1h(depth: int, top1: float, top5: float) -> PublishedWeights:
    """timm's weights, measured at 288."""
    preprocessing = replace(PRESETS["inception"], size=288, crop=1.0)
    return PublishedWeights(f"hf:timm/resnetv2_{depth}.a1h_in1k", preprocessing, top1, top5)


# pytorchcv's nets are these with its own stride, first_preactivation and projection (tests/support/proof.py).
V2 = partial(Variant, paper="He et al. 2016, arXiv:1603.05027")
TIMM = partial(V2, reference="timm", endpoints=stage_endpoints((4, 64), 256))
TIMM_BASIC = partial(TIMM, endpoints=stage_endpoints((4, 64), 64))
HE = partial(
    V2,
    reference="pytorchcv",
    endpoints=stage_endpoints((4, 64), 256),
    departures="stride in the 3x3, not in the first 1x1",
)
HE_BASIC = partial(HE, endpoints=stage_endpoints((4, 64), 64), departures="")
CIFAR = partial(V2, reference="pytorchcv", image_size=32, endpoints=stage_endpoints((1, 16), 64, 3))
CIFAR_BASIC = partial(CIFAR, endpoints=stage_endpoints((1, 16), 16, 3))


def net(block: Callable[..., nn.Module], *depths: int) -> Callable[..., ResNetV2]:
    return partial(ResNetV2, block=block, depths=depths)


def he(block: Callable[..., nn.Module], *depths: int) -> Callable[..., ResNetV2]:
    return partial(net(block, *depths), stem_activation=True, first_preactivation=False)


def cifar(block: Callable[..., nn.Module], n: int) -> Callable[..., ResNetV2]:
    return partial(net(block, n, n, n), width=16, small=True, num_classes=10)


PADDED = partial(BasicBlock, projection=False)
STRIDED = partial(Bottleneck, stride_in_1x1=True)

VARIANTS = {
    "resnetv2_18": TIMM_BASIC(net(BasicBlock, 2, 2, 2, 2), 11_687_720, 1_814_073_344),
    "resnetv2_34": TIMM_BASIC(net(BasicBlock, 3, 4, 6, 3), 21_795_880, 3_663_761_408),
    "resnetv2_50": TIMM(net(Bottleneck, 3, 4, 6, 3), 25_549_352, 4_089_184_256, weights=a1h(50, 81.40, 95.73)),
    "resnetv2_101": TIMM(net(Bottleneck, 3, 4, 23, 3), 44_541_480, 7_801_405_440, weights=a1h(101, 83.00, 96.45)),
    "resnetv2_152": TIMM(net(Bottleneck, 3, 8, 36, 3), 60_185_128, 11_513_626_624),
    "preresnet18": HE_BASIC(he(BasicBlock, 2, 2, 2, 2), 11_687_720, 1_814_073_344),
    "preresnet34": HE_BASIC(he(BasicBlock, 3, 4, 6, 3), 21_795_880, 3_663_761_408),
    "preresnet50": HE(he(Bottleneck, 3, 4, 6, 3), 25_549_352, 4_089_184_256),
    "preresnet101": HE(he(Bottleneck, 3, 4, 23, 3), 44_541_480, 7_801_405_440),
    "preresnet152": HE(he(Bottleneck, 3, 8, 36, 3), 60_185_128, 11_513_626_624),
    "preresnet200": HE(he(Bottleneck, 3, 24, 36, 3), 64_666_152, 15_007_481_856),
    "preresnet20": CIFAR_BASIC(cifar(PADDED, 3), 269_722, 40_551_040),
    "preresnet56": CIFAR_BASIC(cifar(PADDED, 9), 853_018, 125_485_696),
    "preresnet110": CIFAR_BASIC(cifar(PADDED, 18), 1_727_962, 252_887_680),
    "preresnet164": CIFAR(cifar(STRIDED, 18), 1_703_258, 244_500_992),
    "preresnet1001": CIFAR(cifar(STRIDED, 111), 10_327_706, 1_487_849_984),
}  # fmt: skip
