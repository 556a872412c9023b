"""The digits that ship with the package: 1,797 of 8x8 pixels (`LICENSE.digits`)."""

from importlib import resources

import numpy as np

from zoo.data.dataset import Splits, make_splits


def read_digits() -> Splits:
    """1,442 training and 355 test images `[8, 8, 1]` of ten classes."""
    with (resources.files("zoo.data") / "digits.npz").open("rb") as file, np.load(file) as stored:
        arrays = dict(stored)
    for name in ("train_images", "test_images"):  # stored as 0..16, the scale of the source
        arrays[name] = (arrays[name] * 255.0 / 16).round().astype(np.uint8)
    return make_splits(**arrays, class_names="0123456789")
