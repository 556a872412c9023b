"""What TF-slim calls the layers of the Inceptions and of ResNet v2.

A block of an Inception is a line: branches from left to right, and in each its convolutions, whose names begin with
`Conv2d_`; pools have names there too, and so a letter can be missing.
"""

import re
from collections.abc import Mapping

STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")
V3_STEM = (*STEM, "Conv2d_3b_1x1", "Conv2d_4a_3x3")

A, B = "0a_1x1 | 0a_1x1 0b_3x3 0c_3x3", "0a_1x1 0b_1x7 0c_7x1 | 0a_1x1 0b_7x1 0c_1x7 0d_7x1 0e_1x7"
C = "0a_1x1 0b_3x3 0c_1x3 0d_3x1 | 0b_1x1"
INCEPTION_V3 = {
    "Mixed_5b": "0a_1x1 | 0a_1x1 0b_5x5 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1",
    "Mixed_5c": "0a_1x1 | 0b_1x1 Conv_1_0c_5x5 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1",  # so it is
    "Mixed_5d": "0a_1x1 | 0a_1x1 0b_5x5 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1",
    "Mixed_6a": "1a_1x1 | 0a_1x1 0b_3x3 1a_1x1",
    **{f"Mixed_6{letter}": f"0a_1x1 | {B} | 0b_1x1" for letter in "bcde"},
    "Mixed_7a": "0a_1x1 1a_3x3 | 0a_1x1 0b_1x7 0c_7x1 1a_3x3",
    "Mixed_7b": f"0a_1x1 | 0a_1x1 0b_1x3 0b_3x1 | {C}",
    "Mixed_7c": f"0a_1x1 | 0a_1x1 0b_1x3 0c_3x1 | {C}",
}
INCEPTION_V4 = {
    "Mixed_3a": "| 0a_3x3",
    "Mixed_4a": "0a_1x1 1a_3x3 | 0a_1x1 0b_1x7 0c_7x1 1a_3x3",
    "Mixed_5a": "1a_3x3 |",
    **{f"Mixed_5{letter}": "0a_1x1 | 0a_1x1 0b_3x3 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1" for letter in "bcde"},
    "Mixed_6a": "1a_3x3 | 0a_1x1 0b_3x3 1a_3x3",
    **{f"Mixed_6{letter}": f"0a_1x1 | {B} | 0b_1x1" for letter in "bcdefgh"},
    "Mixed_7a": "0a_1x1 1a_3x3 | 0a_1x1 0b_1x7 0c_7x1 1a_3x3",
    **{
        f"Mixed_7{letter}": "0a_1x1 | 0a_1x1 0b_1x3 0c_3x1 | 0a_1x1 0b_3x1 0c_1x3 0d_1x3 0e_3x1 | 0b_1x1"
        for letter in "bcd"
    },
}
BLOCK_35, BLOCK_17, BLOCK_8 = (
    "1x1 | 0a_1x1 0b_3x3 | 0a_1x1 0b_3x3 0c_3x3",
    "1x1 | 0a_1x1 0b_1x7 0c_7x1",
    "1x1 | 0a_1x1 0b_1x3 0c_3x1",
)
INCEPTION_RESNET_V2 = {
    "Mixed_5b": "1x1 | 0a_1x1 0b_5x5 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1",
    **{f"Repeat/block35_{number}": BLOCK_35 for number in range(1, 11)},
    "Mixed_6a": "1a_3x3 | 0a_1x1 0b_3x3 1a_3x3",
    **{f"Repeat_1/block17_{number}": BLOCK_17 for number in range(1, 21)},
    "Mixed_7a": "0a_1x1 1a_3x3 | 0a_1x1 1a_3x3 | 0a_1x1 0b_3x3 1a_3x3",
    **{f"Repeat_2/block8_{number}": BLOCK_8 for number in range(1, 10)},
    "Block8": BLOCK_8,
}


def list_convolutions(blocks: Mapping[str, str]) -> list[str]:
    """The scopes of all convolutions of the blocks, in the order in which both nets have them."""
    scopes: list[str] = []
    for block, line in blocks.items():
        for number, branch in enumerate(line.split("|")):
            scopes += [f"{block}/Branch_{number}/{_complete(name)}" for name in branch.split()]
        if "block" in block.lower():  # a convolution joins the branches
            scopes.append(f"{block}/Conv2d_1x1")
    return scopes


def name_inception_v3(paths: list[str]) -> list[str]:
    """The classifier is a 1x1 convolution."""
    return _name_in_order(paths, [*V3_STEM, *list_convolutions(INCEPTION_V3), "Logits/Conv2d_1c_1x1"])


def name_inception_v4(paths: list[str]) -> list[str]:
    """The classifier is dense."""
    return _name_in_order(paths, [*STEM, *list_convolutions(INCEPTION_V4), "Logits/Logits"])


def name_inception_resnet_v2(paths: list[str]) -> list[str]:
    """As v4."""
    scopes = [*V3_STEM, *list_convolutions(INCEPTION_RESNET_V2), "Conv2d_7b_1x1", "Logits/Logits"]
    return _name_in_order(paths, scopes)


def name_resnet_v2(paths: list[str]) -> list[str]:
    """A normalisation is called after the convolution before it, or is the block's."""
    rules = (
        (r"^layer(\d)_(\d+)/", lambda m: f"block{m[1]}/unit_{int(m[2]) + 1}/bottleneck_v2/"),
        ("norm1$", "preact"),
        (r"norm(\d)$", lambda m: f"conv{int(m[1]) - 1}/BatchNorm"),
        ("downsample$", "shortcut"),
        ("^stem$", "conv1"),
        ("^norm$", "postnorm"),
        ("^fc$", "logits"),
    )
    named = []
    for path in paths:
        for pattern, replacement in rules:
            path = re.sub(pattern, replacement, path)
        named.append(path)
    return named


def _complete(name: str) -> str:
    return name if name.startswith("Conv") else f"Conv2d_{name}"


def _name_in_order(paths: list[str], scopes: list[str]) -> list[str]:
    """Our bricks, each a convolution mostly with its normalisation, have the scopes in turn."""
    bricks = dict.fromkeys(re.sub("/(conv|bn)$", "", path) for path in paths)
    names = dict(zip(bricks, scopes, strict=True))
    return [
        f"{names[path.removesuffix('/bn')]}/BatchNorm" if path.endswith("/bn") else names[path.removesuffix("/conv")]
        for path in paths
    ]
