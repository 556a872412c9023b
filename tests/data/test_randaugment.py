"""RandAugment's operations against Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tests.data.augmented import jit, photographs
from zoo.data.randaugment import MOVES, OPERATIONS, apply_operations, randaugment

STRENGTHS = np.array([-1.0, -0.4, -0.1, 0.3, 0.5, 1.0], np.float32)
GREY = (128, 128, 128)
apply = jit(apply_operations)


def enhance(kind):
    return lambda picture, strength: kind(picture).enhance(1 + 0.9 * strength)


def move(*matrix):
    """`matrix(strength, width, height)` maps places about the middle to where their pixel comes from."""
    (make,) = matrix

    def moved(picture, strength):
        a, b, c, d, e, f = make(strength, *picture.size)
        x, y = picture.width / 2, picture.height / 2
        about = (a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y)
        return picture.transform(picture.size, Image.Transform.AFFINE, about, Image.Resampling.BILINEAR, fillcolor=GREY)

    return moved


PILLOW = {
    "identity": lambda picture, _: picture,
    "autocontrast": lambda picture, _: ImageOps.autocontrast(picture),
    "equalize": lambda picture, _: ImageOps.equalize(picture),
    "solarize": lambda picture, strength: ImageOps.solarize(picture, 256 * (1 - abs(strength))),
    "posterize": lambda picture, strength: ImageOps.posterize(picture, 8 - round(4 * abs(strength))),
    "contrast": enhance(ImageEnhance.Contrast),
    "brightness": enhance(ImageEnhance.Brightness),
    "saturation": enhance(ImageEnhance.Color),
    "sharpness": enhance(ImageEnhance.Sharpness),
    "rotate": lambda picture, s: picture.rotate(30 * s, Image.Resampling.BILINEAR, fillcolor=GREY),
    "shear_x": move(lambda s, *_: (1, 0.3 * s, 0, 0, 1, 0)),
    "shear_y": move(lambda s, *_: (1, 0, 0, 0.3 * s, 1, 0)),
    "translate_x": move(lambda s, width, _: (1, 0, 0.45 * width * s, 0, 1, 0)),
    "translate_y": move(lambda s, _, height: (1, 0, 0, 0, 1, 0.45 * height * s)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_pillow_s(name):
    bytes_ = photographs()
    chosen = jnp.full(6, OPERATIONS.index(name))
    found = 255 * np.asarray(apply(jnp.asarray(bytes_, jnp.float32) / 255, chosen, jnp.asarray(STRENGTHS)))
    expected = [
        np.asarray(PILLOW[name](Image.fromarray(image), strength), np.float32)
        for image, strength in zip(bytes_, STRENGTHS.tolist(), strict=True)
    ]
    exact = name in ("identity", "equalize", "solarize", "posterize")
    difference = np.abs(found - np.stack(expected))
    if name in MOVES:  # Pillow mixes no grey into the pixels at the edge
        assert (difference > 2).mean() < 0.08
        assert np.median(difference) < 1
    else:
        assert difference.max() <= (1e-3 if exact else 2)


def test_images_of_one_level_stay_as_they_are():
    images = jnp.full((6, 24, 28, 3), 77 / 255)
    for name in ("autocontrast", "equalize"):
        changed = apply(images, jnp.full(6, OPERATIONS.index(name)), jnp.ones(6))
        np.testing.assert_allclose(changed, images, atol=1e-6)


def test_each_image_gets_operations_of_its_own():
    images = jnp.broadcast_to(jnp.asarray(photographs(1), jnp.float32) / 255, (60, 24, 28, 3))
    changed = np.asarray(jit(lambda key: randaugment(key, images, 9))(jax.random.key(0)))
    assert len(np.unique(changed.reshape(60, -1), axis=0)) > 45  # one operation has 25 outcomes
