"""Other collections' names of our modules, which only the tests need: their files are not in circulation."""

from zoo.models.layout import Layout, Rules


def counted(ours: str, theirs: str, first: int, count: int) -> Rules:
    """Our `0`, `1`, ... as their `first`, `first + 1`, ...; from the top, so that no new name is renamed again."""
    return tuple((rf"{ours}{i}\b", f"{theirs}{i + first}") for i in reversed(range(count)))


STEM = ("1a", "2a", "2b", "3b", "4a", "4b")
PYTORCHCV_INCEPTION_RESNET_V1 = Layout(
    renames=(
        (r"^mixed_6a\.branch0\b", "mixed_6a.branch0.0"),  # written as a list of one
        (r"(branch\d)\.(conv|bn)\b", r"\1.conv.\2"),
        *counted(r"(branch\d)\.", r"\1.conv_list.conv", 1, 3),
        *counted("branch", "branches.branch", 1, 3),
        (r"\.conv2d\b", ".conv"),
        *counted(r"^repeat\.", "features.stage1.unit", 1, 5),
        *counted(r"^repeat_1\.", "features.stage2.unit", 2, 10),
        *counted(r"^repeat_2\.", "features.stage3.unit", 2, 5),
        (r"^mixed_6a\b", "features.stage2.unit1"),
        (r"^mixed_7a\b", "features.stage3.unit1"),
        (r"^block8\b", "features.stage3.unit7"),
        *((rf"^conv2d_{name}\b", f"features.init_block.conv{i}") for i, name in enumerate(STEM, 1)),
        (r"^bottleneck\b", "output.fc1"),
        (r"^bottleneck_bn\b", "output.bn"),
        (r"^classif\b", "output.fc2"),
    )
)

UNITS = counted(r"^layer(\d)\.", r"features.stage\1.unit", 1, 111)
RESNET = (
    (r"\.conv(\d)$", r".body.conv\1.conv"),
    (r"\.bn(\d)$", r".body.conv\1.bn"),
    (r"\.downsample\.0$", ".identity_conv.conv"),
    (r"\.downsample\.1$", ".identity_conv.bn"),
    *UNITS,
    (r"^fc$", "output"),
)
PYTORCHCV_RESNET = Layout(
    (*RESNET, (r"^conv1$", "features.init_block.conv.conv"), (r"^bn1$", "features.init_block.conv.bn"))
)
PYTORCHCV_RESNEXT_CIFAR = Layout(
    (*RESNET, (r"^conv1$", "features.init_block.conv"), (r"^bn1$", "features.init_block.bn"))
)
PRERESNET = (
    (r"\.conv(\d)$", r".body.conv\1.conv"),
    (r"\.norm(\d)$", r".body.conv\1.bn"),
    (r"\.downsample$", ".identity_conv"),
    *UNITS,
    (r"^stem_norm$", "features.init_block.bn"),
    (r"^norm$", "features.post_activ.bn"),
    (r"^fc$", "output"),
)
PYTORCHCV_PRERESNET = Layout((*PRERESNET, (r"^stem$", "features.init_block.conv")), flattened=("fc",))
PYTORCHCV_PRERESNET_CIFAR = Layout((*PRERESNET, (r"^stem$", "features.init_block")), flattened=("fc",))
PYTORCHCV_DENSENET_CIFAR = Layout(
    (
        (r"^conv0$", "features.init_block"),
        (r"\.(conv|norm)(\d)$", r".conv\2.\1"),
        (r"^denseblock(\d)_denselayer(\d+)\.", r"features.stage\1.unit\2."),
        *((rf"^transition{i}\.", f"features.stage{i + 1}.trans{i + 1}.conv.") for i in (1, 2)),
        (r"\.norm$", ".bn"),
        (r"^norm5$", "features.post_activ.bn"),
        (r"^classifier$", "output"),
    )
)

BNINCEPTION_UNITS = (
    *(("3a", "stage1.unit1"), ("3b", "stage1.unit2"), ("3c", "stage2.unit1"), ("4e", "stage3.unit1")),
    *((f"4{letter}", f"stage2.unit{i}") for i, letter in enumerate("abcd", 2)),
    *((f"5{letter}", f"stage3.unit{i}") for i, letter in enumerate("ab", 2)),
)
HALVING = r"(stage[23]\.unit1\.branches)\."  # these have no 1x1 branch and count the others from 1
PYTORCHCV_BNINCEPTION = Layout(
    (
        (r"^conv1_7x7_s2\b", "features.init_block.conv1"),
        (r"^conv2_3x3_reduce\b", "features.init_block.conv2.conv1"),
        (r"^conv2_3x3\b", "features.init_block.conv2.conv2"),
        *((rf"^inception_{ours}\b", f"features.{theirs}.branches") for ours, theirs in BNINCEPTION_UNITS),
        *counted(r"3x3\.", "3x3.conv", 1, 3),
        (HALVING + "3x3", r"\1.branch1"),
        (HALVING + "double_3x3", r"\1.branch2"),
        (r"\.1x1\b", ".branch1"),
        (r"\.3x3\b", ".branch2"),
        (r"\.double_3x3\b", ".branch3"),
        (r"\.pool_proj\b", ".branch4.conv"),
        (r"^fc$", "output"),
    )
)
