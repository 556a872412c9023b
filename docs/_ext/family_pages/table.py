"""Which families have a page, what each one added, and which of its blocks are drawn."""

from dataclasses import dataclass
from types import ModuleType

import zoo
from zoo.models import (
    alexnet,
    convnet,
    densenet,
    googlenet,
    inception_resnet,
    inception_v2,
    inception_v3,
    inception_v4,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    resnet_v2,
    squeezenet,
    vgg,
    xception,
)

from .tracing import Node, trace


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
      variant: name of the model.
      modules: their paths, in the order in which they are computed; or
      stages: endpoints, of which each stands for all that it needs beyond the one before it.
      caption: what one sees.
    """

    variant: str
    caption: str
    modules: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """What is drawn, in words."""
        names = self.modules or self.stages
        return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"

    @property
    def nodes(self) -> dict[str, Node]:
        """The boxes of the figure."""
        graph = trace(self.variant)
        return graph.block(*self.modules) if self.modules else graph.stage(*self.stages)


@dataclass(frozen=True)
class Family:
    """A page.

    Attributes:
      slug: name of its file.
      title: its heading.
      module: where the nets are.
      added: what the papers brought, in a sentence or two.
      example: the variant that is drawn whole and loaded.
      drawings: its blocks.
      papers: words of the papers whose variants belong here, where a module has two pages.
    """

    slug: str
    title: str
    module: ModuleType
    added: str
    example: str
    drawings: tuple[Drawing, ...]
    papers: tuple[str, ...] = ("",)

    @property
    def names(self) -> list[str]:
        """The family's variants, in the order of its table."""
        rows = self.module.VARIANTS.items()
        return [name for name, row in rows if any(paper in row.paper for paper in self.papers)]

    @property
    def years(self) -> str:
        """The papers, each once."""
        return "; ".join(dict.fromkeys(zoo.variant(name).paper for name in self.names))


def block(variant: str, *modules: str, caption: str) -> Drawing:
    """A block of a net, or several in a row."""
    return Drawing(variant, caption, modules=modules)


def stage(variant: str, *stages: str, caption: str) -> Drawing:
    """What lies between endpoints."""
    return Drawing(variant, caption, stages=stages)


FAMILIES = (
    Family(
        "lenet",
        "LeNet",
        lenet,
        "Convolutional nets as they are still built: kernels that see a neighbourhood and are shared by all positions, "
        "subsampling between them, and everything learnt by gradients, from the pixels to the classes.",
        "lenet5",
        (
            stage("lenet5", "s2", "s4", "features", "logits", caption="The whole net, as published"),
            stage("lenet5_relu", "s2", "s4", "features", "logits", caption="The net of today's courses"),
        ),
    ),
    Family(
        "convnet",
        "The layer pattern, and a net without convolutions",
        convnet,
        "Not a paper's net: the pattern that LeNet, AlexNet and VGG share, with its counts as fields, "
        "and a fully connected net to measure it against.",
        "convnet_bn",
        (
            stage("convnet_bn", "stage1", caption="A stage: `[CONV + NORM + RELU] * 2 + POOL`"),
            stage("mlp", "fc1", "fc2", "logits", caption="The net without convolutions"),
        ),
    ),
    Family(
        "alexnet",
        "AlexNet",
        alexnet,
        "A convolutional net of 60 million parameters, made trainable by ReLUs, dropout and two GPUs. An ensemble "
        "of such nets won ImageNet's competition of 2012 with 15.3 % top-5 error; the second had 26.2 %.",
        "alexnet",
        (
            stage("alexnet_2012", "pool2", caption="Two groups for two GPUs, then response normalisation"),
            stage("alexnet_2012", "pool5", caption="The last three convolutions"),
            stage("alexnet", "pool2", caption="The same stage of the single column"),
        ),
    ),
    Family(
        "vgg",
        "VGG",
        vgg,
        "Depth out of one small brick: up to 19 layers with weights, all convolutions 3×3. Three in a row see as "
        "much as a 7×7 and have 27/49 of its weights, with two more nonlinearities.",
        "vgg16_bn",
        (
            stage("vgg16", "pool3", caption="The third stage, as published"),
            stage("vgg16_bn", "pool3", caption="The same stage with batch normalisation"),
        ),
    ),
    Family(
        "googlenet",
        "GoogLeNet (Inception v1)",
        googlenet,
        "The Inception module: several kernel sizes and a pool side by side, with 1×1 convolutions that keep it cheap. "
        "A global average in place of large dense layers, and auxiliary heads that feed gradients in half-way.",
        "googlenet",
        (
            block("googlenet_2014", "inception3a", caption="The module as published, with a 5×5"),
            block("googlenet", "inception3a", caption="The same module as torchvision has it"),
            stage("googlenet", "aux1", caption="An auxiliary head"),
        ),
    ),
    Family(
        "inception_v2",
        "BN-Inception (Inception v2)",
        inception_v2,
        "Batch normalisation, of which this net was the first example; and two 3×3 convolutions in place of each 5×5.",
        "inception_v2",
        (
            block("inception_v2", "inception_3a", caption="A module that keeps the size of the map"),
            block("inception_v2", "inception_3c", caption="A module that halves it, without the 1×1 branch"),
        ),
    ),
    Family(
        "inception_v3",
        "Inception v3",
        inception_v3,
        "Factorised convolutions: a 1×7 and a 7×1 for a 7×7, a 1×3 beside a 3×1 where maps are small. "
        "Branches with stride 2 beside a pool in place of a pool alone, and label smoothing.",
        "inception_v3",
        (
            block("inception_v3", "Mixed_5b", caption="35×35 maps"),
            block("inception_v3", "Mixed_6a", caption="From 35×35 to 17×17"),
            block("inception_v3", "Mixed_6b", caption="17×17 maps: 7×7 as 1×7 and 7×1"),
            block("inception_v3", "Mixed_7a", caption="From 17×17 to 8×8"),
            block("inception_v3", "Mixed_7b", caption="8×8 maps: branches that fork"),
            stage("inception_v3", "aux", caption="The auxiliary head"),
        ),
    ),
    Family(
        "inception_v4",
        "Inception v4",
        inception_v4,
        "Inception v3 made uniform and deeper: one kind of module for each size of map, reductions of their own, and a "
        "stem that branches as well. The paper's counterpart to its residual nets.",
        "inception_v4",
        (
            block(
                "inception_v4", "features_3", "features_4", "features_5", caption="The stem, after three convolutions"
            ),
            block("inception_v4", "features_6", caption="Inception-A"),
            block("inception_v4", "features_10", caption="Reduction-A"),
            block("inception_v4", "features_11", caption="Inception-B"),
            block("inception_v4", "features_18", caption="Reduction-B"),
            block("inception_v4", "features_19", caption="Inception-C"),
        ),
    ),
    Family(
        "inception_resnet",
        "Inception-ResNet",
        inception_resnet,
        "An Inception module as the branch of a residual block: a 1×1 convolution brings it to the width of the "
        "shortcut, a factor below one keeps the sums stable. By the paper it trains faster than Inception v4 and ends "
        "about as good.",
        "inception_resnet_v2",
        (
            block("inception_resnet_v2", "repeat_0", caption="35×35 maps"),
            block("inception_resnet_v2", "mixed_6a", caption="From 35×35 to 17×17"),
            block("inception_resnet_v2", "repeat_1_0", caption="17×17 maps"),
            block("inception_resnet_v2", "repeat_2_0", caption="8×8 maps"),
        ),
    ),
    Family(
        "resnet",
        "ResNet and wide ResNet",
        resnet,
        "The shortcut: a block computes what is added to its input. Plain nets became worse with depth, even on the "
        "training images; these became better up to 152 layers. Wide ResNets trade depth for width.",
        "resnet50",
        (
            block("resnet50", "layer2_0", caption="A bottleneck that changes the shape: projection"),
            block("resnet50", "layer2_1", caption="A bottleneck that keeps it: identity"),
            block("resnet18", "layer2_1", caption="A basic block"),
            block("resnet20", "layer2_0", caption="CIFAR's: a shortcut without parameters"),
            block("resnet50d", "layer2_0", caption="ResNet-D's: the shortcut averages before it projects"),
            stage("resnet50d", "stem", caption="ResNet-D's stem: three 3×3 in place of a 7×7"),
        ),
        ("He et al.", "Zagoruyko"),
    ),
    Family(
        "resnext",
        "ResNeXt",
        resnet,
        "Cardinality: the 3×3 of a bottleneck is split into groups of channels, 32 for instance, which can be wider "
        "for the same cost. More groups help more than more depth or width, the paper finds.",
        "resnext50_32x4d",
        (
            block("resnext50_32x4d", "layer2_0", caption="A block that changes the shape"),
            block("resnext50_32x4d", "layer2_1", caption="A block that keeps it"),
        ),
        ("Xie et al.",),
    ),
    Family(
        "senet",
        "SE-ResNet and SE-ResNeXt",
        resnet,
        "Squeeze and excitation: before the sum every channel is multiplied by a weight that is read off the means of "
        "all channels. It costs a tenth of the parameters and hardly any multiply-adds, and fits into any block.",
        "seresnet50",
        (
            block("seresnet50", "layer2_0", caption="A block that changes the shape"),
            block("seresnext50_32x4d", "layer2_1", caption="A block of ResNeXt's that keeps it"),
        ),
        ("Hu et al.",),
    ),
    Family(
        "resnet_v2",
        "ResNet v2",
        resnet_v2,
        "Pre-activation: normalisation and ReLU move before the convolutions, so that nothing stands on the way from "
        "the first block to the last. The paper trains 1001 layers so.",
        "resnetv2_50",
        (
            block("resnetv2_50", "layer2_0", caption="A bottleneck that changes the shape"),
            block("resnetv2_50", "layer2_1", caption="A bottleneck that keeps it: nothing on the way"),
            block("preresnet18", "layer2_1", caption="A basic block"),
        ),
    ),
    Family(
        "densenet",
        "DenseNet",
        densenet,
        "Every layer reads the maps of all layers before it, by concatenation in place of a sum, and adds a few of its "
        "own. What was found once is used again: few parameters for the accuracy.",
        "densenet121",
        (
            block(
                "densenet121",
                *(f"denseblock1_denselayer{number}" for number in (1, 2, 3)),
                caption="Three layers of a dense block",
            ),
            block("densenet121", "transition1", caption="Between two blocks"),
            block("densenet40_k12", "denseblock1_denselayer1", caption="A layer without a bottleneck"),
        ),
    ),
    Family(
        "squeezenet",
        "SqueezeNet",
        squeezenet,
        "As right as AlexNet with a fiftieth of its parameters: most 3×3 kernels become 1×1, what is left of them "
        "reads few maps, which a 1×1 has squeezed, and there is no dense layer.",
        "squeezenet1_1",
        (block("squeezenet1_1", "features_6", caption="A fire module: squeeze, then expand"),),
    ),
    Family(
        "mobilenet_v1",
        "MobileNet",
        mobilenet_v1,
        "For telephones: a 3×3 for each channel alone, then a 1×1 between channels, in place of a 3×3 of all channels: "
        "an eighth to a ninth of the computation for a little less accuracy.",
        "mobilenet_v1",
        (block("mobilenet_v1", "blocks_1_0", caption="A separable convolution that halves the map"),),
    ),
    Family(
        "mobilenet_v2",
        "MobileNet v2",
        mobilenet_v2,
        "For telephones: a 3×3 for each channel alone, and 1×1 between channels. The shortcuts join narrow maps, which "
        "a block expands sixfold and projects back without a ReLU, since in few channels that would lose too much.",
        "mobilenet_v2",
        (
            block("mobilenet_v2", "features_2", caption="A block that halves the map"),
            block("mobilenet_v2", "features_3", caption="A block that keeps the shape: its shortcut joins narrow maps"),
        ),
    ),
    Family(
        "xception",
        "Xception",
        xception,
        "An Inception with as many branches as channels: a 3×3 in each channel alone and a 1×1 between channels, in "
        "blocks with shortcuts. More accurate than Inception v3 with as many parameters, the paper finds.",
        "xception",
        (
            block("xception", "block2", caption="A block of the entry flow, which halves the map"),
            block("xception", "block4", caption="A block of the middle flow"),
        ),
    ),
)
