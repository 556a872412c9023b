"""Boxes in images, drawn at random: what is kept of a picture, and what is covered.

A box is `(top, left, height, width)` in pixels. Images are `[N, H, W, C]` floats from 0 to 1; every image has a box of
its own.
"""

import math
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from zoo.data.preprocessing import Box

Array = TypeVar("Array", np.ndarray, jax.Array)

TRIES = 10
RATIOS = (3 / 4, 4 / 3)  # width over height of a crop
ERASED_AREAS, ERASED_RATIOS = (0.02, 1 / 3), (0.3, 10 / 3)


def random_resized_crop(key: jax.Array, images: jax.Array, min_area: float) -> jax.Array:
    """A part of each image, of `min_area` to all of its area, resized to the image's size (Inception, arXiv:1409.4842).

    Torchvision's `RandomResizedCrop` by default, `min_area` 0.08: ten tries of a width 3/4 to 4/3 of the height, then
    the middle. Resized bilinearly with a low-pass filter, in which the pixels next to the box count as they do for
    Pillow's `resize(box=...)`; torchvision cuts first. `min_area` 1 changes nothing.
    """
    if min_area == 1:
        return images
    height, width = images.shape[1:3]
    boxes = choose_crops(jax.random.uniform(key, (len(images), TRIES, 4)), height, width, min_area)

    def resize(image: jax.Array, box: jax.Array) -> jax.Array:
        scale = jnp.array([height, width], jnp.float32) / box[2:]
        return jax.image.scale_and_translate(image, image.shape, (0, 1), scale, -box[:2] * scale, "linear")

    return jax.vmap(resize)(images, boxes.astype(jnp.float32))


def draw_crop(random: np.random.Generator, height: int, width: int, min_area: float) -> Box:
    """The box of `random_resized_crop` for one picture of `height` by `width`, on the host."""
    return Box(*choose_crops(random.random((TRIES, 4)), height, width, min_area).tolist())


def random_erasing(key: jax.Array, images: jax.Array, probability: float) -> jax.Array:
    """Noise over a box of some of the images (Zhong et al. 2017, arXiv:1708.04896, RE-R).

    The box has 2 to 33 percent of the area and a side ratio of 0.3 to 3.3, as in the paper, timm and torchvision. It is
    filled with uniform noise, pixel by pixel, as in the paper; torchvision fills it with 0 by default, timm's `pixel`
    with normal noise after standardising.
    """
    height, width = images.shape[1:3]
    chosen, draws, noise = jax.random.split(key, 3)
    uniforms = jax.random.uniform(draws, (len(images), TRIES, 4))
    boxes, found = _choose_boxes(uniforms, height, width, ERASED_AREAS, ERASED_RATIOS)
    erased = found & jax.random.bernoulli(chosen, probability, found.shape)
    covered = cover(boxes, height, width) & erased[:, None, None, None]
    return jnp.where(covered, jax.random.uniform(noise, images.shape, images.dtype), images)


def cutout(key: jax.Array, images: jax.Array, size: int, fill: jax.typing.ArrayLike = 0.0) -> jax.Array:
    """A square of side `size` covered in each image (DeVries and Taylor 2017, arXiv:1708.04552).

    Its centre is any pixel, so that it may lie partly outside, as in the paper. It is filled with `fill`, a number or
    `[C]`; the paper's is the mean colour. Neither timm nor torchvision has it.
    """
    height, width = images.shape[1:3]
    uniforms = jax.random.uniform(key, (len(images), 2))
    centres = jnp.floor(uniforms * jnp.array([[height, width]], jnp.float32)).astype(jnp.int32)
    boxes = jnp.concatenate([centres - size // 2, jnp.full_like(centres, size)], axis=1)
    filled = jnp.broadcast_to(jnp.reshape(jnp.asarray(fill, images.dtype), (1, 1, 1, -1)), images.shape)
    return jnp.where(cover(boxes, height, width), filled, images)


def cover(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """The pixels inside of `boxes [N, 4]`, as `[N, height, width, 1]` bool."""
    top, left, tall, wide = (boxes[:, i, None, None, None] for i in range(4))
    rows, columns = jnp.arange(height).reshape(1, -1, 1, 1), jnp.arange(width).reshape(1, 1, -1, 1)
    return (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)


def choose_crops(uniforms: Array, height: int, width: int, min_area: float) -> Array:
    """Boxes `[..., 4]` of crops, from uniform random numbers `[..., 10, 4]`: where no try fits, the middle."""
    xp = uniforms.__array_namespace__()
    boxes, found = _choose_boxes(uniforms, height, width, (min_area, 1.0), RATIOS)
    tall, wide = min(height, round(width / RATIOS[0])), min(width, round(height * RATIOS[1]))
    middle = xp.asarray([(height - tall) // 2, (width - wide) // 2, tall, wide], dtype=xp.int32)
    return xp.where(found[..., None], boxes, xp.broadcast_to(middle, boxes.shape))


def _choose_boxes(
    uniforms: Array, height: int, width: int, areas: tuple[float, float], ratios: tuple[float, float]
) -> tuple[Array, Array]:
    """The first box that fits of each row of tries, and whether one did; shares of the area, widths over heights."""
    xp = uniforms.__array_namespace__()
    area = height * width * (areas[0] + uniforms[..., 0] * (areas[1] - areas[0]))
    ratio = xp.exp(math.log(ratios[0]) + uniforms[..., 1] * math.log(ratios[1] / ratios[0]))
    tall, wide = xp.round(xp.sqrt(area / ratio)), xp.round(xp.sqrt(area * ratio))
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    top = xp.minimum(xp.floor(uniforms[..., 2] * (height - tall + 1)), height - tall)  # the product may round up
    left = xp.minimum(xp.floor(uniforms[..., 3] * (width - wide + 1)), width - wide)
    boxes = xp.stack([top, left, tall, wide], axis=-1).astype(xp.int32)
    first = xp.argmax(fits, axis=-1)[..., None, None]
    return xp.take_along_axis(boxes, first, axis=-2)[..., 0, :], xp.any(fits, axis=-1)
