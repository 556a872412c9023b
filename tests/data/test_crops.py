"""Boxes against torchvision's rule written out, and resized crops against Pillow's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.data.augmented import jit, photographs
from zoo.data.crops import choose_crops, cover, cutout, draw_crop, random_erasing, random_resized_crop


def torchvision_crop(uniforms, height, width, scale, ratio=(3 / 4, 4 / 3)):
    """`RandomResizedCrop.get_params`, fed with uniform numbers for its random ones."""
    area = height * width
    log_ratio = math.log(ratio[0]), math.log(ratio[1])
    for for_area, for_ratio, for_top, for_left in uniforms:
        target_area = area * (scale[0] + for_area * (scale[1] - scale[0]))
        aspect_ratio = math.exp(log_ratio[0] + for_ratio * (log_ratio[1] - log_ratio[0]))
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(for_top * (height - h + 1)), int(for_left * (width - w + 1)), h, w
    in_ratio = width / height
    if in_ratio < min(ratio):
        w, h = width, round(width / min(ratio))
    elif in_ratio > max(ratio):
        w, h = round(height * max(ratio)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("shape", [(375, 500), (32, 32), (40, 400), (400, 40), (1, 7), (2, 1)])
@pytest.mark.parametrize("min_area", [0.08, 0.9, 1.0, 0.0])
def test_crops_are_torchvision_s(shape, min_area):
    uniforms = np.random.default_rng(0).random((200, 10, 4))
    expected = [torchvision_crop(tries, *shape, (min_area, 1.0)) for tries in uniforms]
    np.testing.assert_array_equal(choose_crops(uniforms, *shape, min_area), expected)


def test_crops_on_the_device_are_those_of_the_host():
    uniforms = np.random.default_rng(1).random((200, 10, 4), np.float32)
    uniforms[0, 0, 2:] = np.nextafter(np.float32(1), np.float32(0))  # times the places rounds up to their number
    device = np.asarray(choose_crops(jnp.asarray(uniforms), 375, 500, 0.08))
    host = choose_crops(uniforms.astype(np.float64), 375, 500, 0.08)
    assert (device == host).all(1).mean() > 0.95  # a last bit may round a side to the next pixel
    np.testing.assert_allclose(device, host, atol=2)
    assert (device[:, :2] + device[:, 2:] <= (375, 500)).all()


def test_a_drawn_crop_is_a_box_of_integers():
    box = draw_crop(np.random.default_rng(0), 375, 500, 0.08)
    assert [type(side) for side in box] == [int] * 4


def test_crops_are_resized_as_pillow_resizes_a_box():
    images = photographs(6, 30, 40)
    key = jax.random.key(5)
    boxes = np.asarray(choose_crops(jax.random.uniform(key, (6, 10, 4)), 30, 40, 0.08))
    found = np.asarray(jit(lambda images: random_resized_crop(key, images, 0.08))(jnp.asarray(images, jnp.float32)))
    for image, (top, left, height, width), ours in zip(images, boxes.tolist(), found, strict=True):
        for channel in range(3):
            picture = Image.fromarray(image[..., channel].astype(np.float32))
            edges = (left, top, left + width, top + height)
            expected = picture.resize((40, 30), Image.Resampling.BILINEAR, edges)
            np.testing.assert_allclose(ours[..., channel], np.asarray(expected), atol=0.01)


def test_a_box_covers_its_pixels_and_what_lies_outside_of_the_image_is_nothing():
    boxes = np.array([[2, 3, 4, 5], [-2, -1, 4, 3], [0, 0, 0, 9], [7, 9, 5, 5]])
    for (top, left, height, width), found in zip(boxes, cover(jnp.asarray(boxes), 8, 10)[..., 0], strict=True):
        expected = np.zeros((8, 10), bool)
        for row in range(8):
            for column in range(10):
                expected[row, column] = top <= row < top + height and left <= column < left + width
        np.testing.assert_array_equal(found, expected)


def test_erased_boxes_have_the_paper_s_sizes_and_noise_inside():
    images = jnp.full((300, 32, 40, 1), 0.5)
    erased = np.asarray(jit(lambda key: random_erasing(key, images, 0.6))(jax.random.key(0)))[..., 0] != 0.5
    assert 0.5 < erased.any((1, 2)).mean() < 0.7
    for mask in erased[erased.any((1, 2))]:
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert mask.sum() == rows * columns
        assert 0.02 * 0.8 < mask.mean() < 1 / 3 * 1.1
        assert 0.3 * 0.75 < columns / rows < 10 / 3 * 1.3


def test_cutout_covers_a_square_about_any_pixel():
    images = jnp.ones((400, 9, 11, 3))
    found = np.asarray(jit(lambda key: cutout(key, images, 4, (0.25, 0.5, 0.75)))(jax.random.key(0)))
    covered = found[..., 0] != 1
    np.testing.assert_allclose(found[covered], np.broadcast_to([0.25, 0.5, 0.75], (covered.sum(), 3)))
    assert set(np.unique(covered.sum((1, 2)))) <= {height * width for height in (2, 3, 4) for width in (2, 3, 4)}
    assert (covered.sum((1, 2)) == 16).any()
    assert covered.any(0).all()
