"""Colours of images `[N, H, W, C]`, floats from 0 to 1, changed by one number `[N]` per image.

Pillow's `ImageEnhance` and torchvision's `adjust_*` without their rounding to bytes. Grey images have a brightness, a
contrast and a sharpness only. dm-pix is another thing: it adds to the brightness, takes the contrast channel by
channel, and does not run under strict dtype promotion.
"""

import jax
import jax.numpy as jnp

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"


def colour_jitter(key: jax.Array, images: jax.Array, strength: float, hue: float = 0.0) -> jax.Array:
    """Brightness, contrast, saturation and hue, each changed at random (Howard 2013, arXiv:1312.5402).

    Torchvision's `ColorJitter(strength, strength, strength, hue)` and timm's `color_jitter`: factors from
    `max(0, 1 - strength)` to `1 + strength`, turns of the hue from `-hue` to `hue`; but always in this order, where
    theirs is drawn.
    """
    keys = jax.random.split(key, 4)
    for one, adjust in zip(keys[:3], (adjust_brightness, adjust_contrast, adjust_saturation), strict=True):
        factors = jax.random.uniform(one, images.shape[:1], images.dtype, max(0.0, 1 - strength), 1 + strength)
        images = adjust(images, factors)
    if hue == 0:  # through hue and back is not exact
        return images
    return adjust_hue(images, jax.random.uniform(keys[3], images.shape[:1], images.dtype, -hue, hue))


def adjust_brightness(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Black at factor 0, unchanged at 1, brighter above."""
    return blend(images, jnp.zeros_like(images), factors)


def adjust_contrast(images: jax.Array, factors: jax.Array) -> jax.Array:
    """The mean grey of the image at factor 0, unchanged at 1, stronger above."""
    return blend(images, jnp.mean(to_grey(images), (1, 2, 3), keepdims=True), factors)


def adjust_saturation(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Grey at factor 0, unchanged at 1, more colourful above."""
    return blend(images, to_grey(images), factors)


def adjust_sharpness(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Smoothed by a 3x3 filter at factor 0, unchanged at 1, sharper above; the outermost pixels stay."""
    height, width = images.shape[1:3]
    shifted = [images[:, y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3)]
    inner = (sum(shifted, jnp.zeros_like(shifted[4])) + 4 * shifted[4]) / 13
    return blend(images, images.at[:, 1:-1, 1:-1].set(inner), factors)


def adjust_hue(images: jax.Array, turns: jax.Array) -> jax.Array:
    """The hue of HSV turned, 1 being the whole circle; value and saturation stay."""
    if images.shape[3] != 3:
        return images
    red, green, blue = (images[..., i : i + 1] for i in range(3))
    value = jnp.max(images, -1, keepdims=True)
    chroma = value - jnp.min(images, -1, keepdims=True)
    safe = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    corner = jnp.array([5, 3, 1], images.dtype).reshape(1, 1, 1, 3)
    distance = (corner + sixths + 6 * turns[:, None, None, None]) % 6
    return value - chroma * jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)


def to_grey(images: jax.Array) -> jax.Array:
    """The luma of RGB, `[N, H, W, 1]`; of other images each channel as it is."""
    if images.shape[3] != 3:
        return images
    return sum((LUMA[i] * images[..., i : i + 1] for i in range(3)), jnp.zeros((), images.dtype))


def blend(images: jax.Array, others: jax.Array, factors: jax.Array) -> jax.Array:
    """`others` at factor 0, `images` at 1, beyond them above 1, cut off at 0 and 1."""
    share = factors[:, None, None, None]
    return jnp.clip(share * images + (1 - share) * others, 0, 1)
