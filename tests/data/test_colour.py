"""Colours against Pillow's ImageEnhance and Python's colorsys."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.data.augmented import jit, photographs
from zoo.data import colour

PILLOW = {
    colour.adjust_brightness: ImageEnhance.Brightness,
    colour.adjust_contrast: ImageEnhance.Contrast,
    colour.adjust_saturation: ImageEnhance.Color,
    colour.adjust_sharpness: ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("adjust", PILLOW, ids=lambda function: function.__name__)
def test_colours_are_pillow_s_up_to_its_rounding(adjust):
    bytes_ = photographs()
    factors = np.array([0.0, 0.3, 0.9, 1.0, 1.4, 1.9], np.float32)
    found = np.asarray(jit(adjust)(jnp.asarray(bytes_, jnp.float32) / 255, jnp.asarray(factors)))
    for image, factor, ours in zip(bytes_, factors.tolist(), found, strict=True):
        expected = np.asarray(PILLOW[adjust](Image.fromarray(image)).enhance(factor), np.float32)
        np.testing.assert_allclose(255 * ours, expected, atol=2)  # its grey is rounded, then taken 0.9 times too much


@pytest.mark.parametrize("adjust", PILLOW, ids=lambda function: function.__name__)
def test_grey_images_are_changed_as_their_three_equal_channels_are(adjust):
    grey = jnp.asarray(photographs()[..., :1], jnp.float32) / 255
    factors = jnp.linspace(0.1, 1.9, 6)
    rgb = jit(adjust)(jnp.tile(grey, (1, 1, 1, 3)), factors)
    np.testing.assert_allclose(jit(adjust)(grey, factors), rgb[..., :1], atol=1e-6)


def test_hues_are_turned_in_hsv():
    images = np.concatenate([photographs(2, 4, 5), np.zeros((1, 4, 5, 3)), np.full((1, 4, 5, 3), 99)]) / 255
    turns = np.array([0.3, -0.5, 0.2, 0.1])
    found = jit(colour.adjust_hue)(jnp.asarray(images, jnp.float32), jnp.asarray(turns, jnp.float32))
    for image, turn, ours in zip(images, turns, np.asarray(found), strict=True):
        for pixel, our in zip(image.reshape(-1, 3), ours.reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            np.testing.assert_allclose(our, colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), atol=1e-5)


def test_jitter_draws_factors_around_one():
    images = jnp.full((500, 1, 1, 1), 0.4)
    found = np.asarray(jit(lambda key: colour.colour_jitter(key, images, 0.5))(jax.random.key(0))).ravel() / 0.4
    assert 0.5 <= found.min() < 0.52
    assert 1.48 < found.max() <= 1.5
    assert found.mean() == pytest.approx(1, abs=0.05)
