"""What Keras's applications call our layers: from our path to theirs; None where they have no name and are numbered."""

import re


def name_vgg(path: str, depths: tuple[int, ...]) -> str:
    """torch's flat list counts convolutions, ReLUs and pools, Keras convolutions within a stage."""
    kind, _, number = path.partition("_")
    if kind == "classifier":
        return {"0": "fc1", "3": "fc2", "6": "predictions"}[number]
    index, stage = int(number), 0
    while index >= 2 * depths[stage]:
        index, stage = index - 2 * depths[stage] - 1, stage + 1
    return f"block{stage + 1}_conv{index // 2 + 1}"


def name_resnet(path: str) -> str:
    """A block's shortcut is its number 0."""
    return _rewrite(
        _count_from_one(path, r"layer(\d)_(\d+)"),
        (r"(conv|bn)(\d)$", r"\2_\1"),
        (r"^1_(conv|bn)$", r"conv1_\1"),
        ("downsample_0", "0_conv"),
        ("downsample_1", "0_bn"),
        ("^fc$", "predictions"),
    )


def name_resnet_v2(path: str) -> str:
    """A normalisation is called after the convolution before it."""
    return _rewrite(
        _count_from_one(path, r"layer(\d)_(\d+)"),
        ("norm1$", "preact_bn"),
        ("norm2$", "1_bn"),
        ("norm3$", "2_bn"),
        (r"conv(\d)$", r"\1_conv"),
        ("downsample$", "0_conv"),
        ("^stem$", "conv1_conv"),
        ("^norm$", "post_bn"),
        ("^fc$", "predictions"),
    )


def name_densenet(path: str) -> str:
    """As in ResNet v2, from 0."""
    return _rewrite(
        path,
        (r"^denseblock(\d)_denselayer(\d+)/", lambda m: f"conv{int(m[1]) + 1}_block{m[2]}_"),
        (r"^transition(\d)/", lambda m: f"pool{int(m[1]) + 1}_"),
        (r"^(conv|norm)0$", r"conv1_\1"),
        ("_norm1$", "_0_bn"),
        ("_norm2$", "_1_bn"),
        (r"_conv(\d)$", r"_\1_conv"),
        ("_norm$", "_bn"),
        ("^norm5$", "bn"),
        ("^classifier$", "predictions"),
    )


def name_inception_v3(path: str) -> str | None:
    """The classifier alone has a name."""
    return "predictions" if path == "fc" else None


def name_inception_resnet_v2(path: str) -> str | None:
    """What joins the branches has a name, and the end of the net."""
    last = {"conv2d_7b/conv": "conv_7b", "conv2d_7b/bn": "conv_7b_bn", "block8/conv2d": "block8_10_conv"}
    stages = {"": "block35", "1_": "block17", "2_": "block8"}
    if found := re.fullmatch(r"repeat_([12]_)?(\d+)/conv2d", path):
        return f"{stages[found[1] or '']}_{int(found[2]) + 1}_conv"
    return {**last, "classif": "predictions"}.get(path)


def name_mobilenet_v1(path: str) -> str:
    """Blocks are counted through all stages, from 1."""

    def count(found: re.Match[str]) -> str:
        number = sum((1, 2, 2, 6, 2)[: int(found[1])]) + int(found[2]) + 1
        return {"conv_dw": "conv_dw_{}", "bn1": "conv_dw_{}_bn", "conv_pw": "conv_pw_{}", "bn2": "conv_pw_{}_bn"}[
            found[3]
        ].format(number)

    ends = {"conv_stem": "conv1", "bn1": "conv1_bn", "classifier": "conv_preds"}
    return ends.get(path) or re.sub(r"^blocks_(\d)_(\d)/(\w+)$", count, path)


def name_xception(path: str) -> str | None:
    """The stem is Keras's first block; a separable convolution is one layer, and projections are numbered."""
    if path.endswith(("skip", "skipbn")):
        return None
    names = {"fc": "predictions"}
    for number in (1, 2):
        names |= {f"conv{number}": f"block1_conv{number}", f"bn{number}": f"block1_conv{number}_bn"}
        names |= {f"bn{number + 2}": f"block14_sepconv{number}_bn"}
    if path in names:
        return names[path]
    layer, _, part = path.rpartition("/")
    if found := re.fullmatch(r"block(\d+)/rep_(\d+)(/\w+)?", path):
        number, first = int(found[1]), found[1] == "1"
        convolution = (int(found[2]) - (not first)) // 3 + 1
        layer = f"block{number + 1}_sepconv{convolution}"
        if not found[3]:
            return f"{layer}_bn"
    else:
        layer = f"block14_sepconv{int(layer.removeprefix('conv')) - 2}"
    return f"{layer}/{'depthwise' if part == 'conv1' else 'pointwise'}_kernel"


def name_mobilenet_v2(path: str) -> str:
    """A block's number is one less; the first has no expansion, and the word for it in its name."""
    ends = {
        "features_0_0": "Conv1",
        "features_0_1": "bn_Conv1",
        "features_18_0": "Conv_1",
        "features_18_1": "Conv_1_bn",
    }
    found = re.fullmatch(r"features_(\d+)/conv_(\w+)", path)
    if not found:
        return (ends | {"classifier_1": "predictions"})[path]
    number, layer = int(found[1]), found[2]
    expanded = {"0_0": "expand", "0_1": "expand_BN", "1_0": "depthwise", "1_1": "depthwise_BN"}
    names = expanded | {"2": "project", "3": "project_BN"}
    if number == 1:
        names = {"0_0": "depthwise", "0_1": "depthwise_BN", "1": "project", "2": "project_BN"}
    return f"{'expanded_conv' if number == 1 else f'block_{number - 1}'}_{names[layer]}"


def _count_from_one(path: str, block: str) -> str:
    """Keras's second stack is our first stage, and its blocks count from 1."""
    return re.sub(rf"^{block}/", lambda m: f"conv{int(m[1]) + 1}_block{int(m[2]) + 1}_", path)


def _rewrite(path: str, *rules: tuple[str, object]) -> str:
    for pattern, replacement in rules:
        path = re.sub(pattern, replacement, path)  # type: ignore[call-overload]
    return path
