"""Splits in memory have the face of those in files. Oracle: Pillow."""

import numpy as np
import pytest
from PIL import Image

from zoo import data


def make(channels):
    images = np.random.default_rng(0).integers(0, 256, (4, 20, 30, channels), np.uint8)
    return images, data.make_splits(images, np.arange(4) % 2, images, np.arange(4) % 2).train


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_image_in_memory_is_read_whole_resized_or_in_part(channels):
    images, split = make(channels)
    assert (len(split), split.picture_size(1)) == (4, (20, 30))
    np.testing.assert_array_equal(split.read_image(1), images[1])
    small = split.resize(8)
    assert (type(small), small.preprocessing.image_shape) == (data.Dataset, (8, 8, channels))
    box = data.Box(top=2, left=7, height=10, width=16)
    for channel in range(channels):
        picture = Image.fromarray(images[1, ..., channel])
        whole = picture.resize((8, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(small.read_image(1)[..., channel], np.asarray(whole))
        part = picture.crop((7, 2, 23, 12)).resize((8, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(small.read_image(1, box)[..., channel], np.asarray(part))
    assert small.read_image(0).dtype == np.uint8


def test_what_is_read_is_what_batches_standardise():
    """Up to Pillow's rounding to bytes, once for each direction of a resize."""
    _, split = make(3)
    small = split.resize(8)
    prepared = data.prepare_images(small.images, small.preprocessing)
    mean, std = (np.array(numbers) for numbers in (small.preprocessing.mean, small.preprocessing.std))
    read = (np.stack([small.read_image(row) for row in range(4)]) / 255 - mean) / std
    np.testing.assert_allclose(read, prepared, atol=1.6 / 255 / std.min())
