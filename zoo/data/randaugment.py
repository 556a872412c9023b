"""RandAugment (Cubuk et al. 2019, arXiv:1909.13719): a few operations on each image, drawn from fourteen.

Images are `[N, H, W, C]` floats from 0 to 1, rounded to bytes as Pillow's operations take them. Under `vmap` a branch
is a branch that is always taken; so the seven operations that are tables of 256 levels become one look-up, the five
that move pixels one resampling, and an image chooses its table and its matrix.
"""

import jax
import jax.numpy as jnp

from zoo.data.colour import adjust_saturation, adjust_sharpness, to_grey

LEVELS = ("identity", "autocontrast", "equalize", "solarize", "posterize", "contrast", "brightness")
BLENDS = {"saturation": adjust_saturation, "sharpness": adjust_sharpness}
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*LEVELS, *BLENDS, *MOVES)
GREY = 128 / 255  # what comes in from outside, as in AutoAugment's code; torchvision's is black


def randaugment(key: jax.Array, images: jax.Array, magnitude: float, *, operations: int = 2) -> jax.Array:
    """Each image through `operations` of the fourteen, one after the other.

    Args:
      key: draws, for each image and time, the operation and its direction.
      images: `[N, H, W, C]` floats from 0 to 1.
      magnitude: from 0 to 10, timm's scale, where its 9 is usual; torchvision's goes to 30, and its 9 is 3 here.
        The ranges are torchvision's: turns to 30 degrees, shears to 0.3, moves to 0.45 of the side, factors of
        contrast, brightness, saturation and sharpness from 0.1 to 1.9, thresholds from white to black, 8 to 4 bits.
        0 changes nothing.
      operations: how many.

    Resampling is bilinear, where torchvision's takes the nearest pixel; timm draws one of two.
    """
    if magnitude == 0:
        return images

    def once(images: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        which, direction = jax.random.split(key)
        chosen = jax.random.randint(which, images.shape[:1], 0, len(OPERATIONS))
        signs = jax.random.rademacher(direction, images.shape[:1], images.dtype)
        return apply_operations(images, chosen, signs * magnitude / 10), None

    return jax.lax.scan(once, images, jax.random.split(key, operations))[0]


def apply_operations(images: jax.Array, chosen: jax.Array, strengths: jax.Array) -> jax.Array:
    """Each of `images` through the one of `OPERATIONS` that `chosen [N]` numbers, with `strengths [N]` in [-1, 1]."""
    levels = jnp.round(255 * images).astype(jnp.int32)
    factors = 1 + 0.9 * strengths
    tables = _make_tables(images, levels, factors, jnp.abs(strengths))
    own = jnp.where(chosen < len(LEVELS), chosen, LEVELS.index("identity"))
    table = jnp.take_along_axis(jnp.stack(tables), own[None, :, None, None], axis=0)[0]
    changed = jax.vmap(jax.vmap(jnp.take, (0, -1), -1))(table, levels) / 255
    for number, adjust in enumerate(BLENDS.values(), len(LEVELS)):
        changed = adjust(changed, jnp.where(chosen == number, factors, 1))
    return _move(changed, chosen - len(LEVELS) - len(BLENDS), strengths)


def _make_tables(images: jax.Array, levels: jax.Array, factors: jax.Array, strengths: jax.Array) -> list[jax.Array]:
    """What each of `LEVELS` makes of 0 to 255, `[N, C, 256]` each; Pillow's up to one level of rounding."""
    n, _, _, channels = levels.shape
    count = jax.vmap(jax.vmap(lambda values: jnp.bincount(values.ravel(), length=256), -1))
    histogram = count(levels)
    every = jnp.broadcast_to(jnp.arange(256), histogram.shape)
    identity = every.astype(jnp.float32)
    factors, strengths = factors[:, None, None], strengths[:, None, None]
    low, high = (extreme(levels, (1, 2))[..., None] for extreme in (jnp.min, jnp.max))
    stretched = (255 * (every - low) // jnp.maximum(high - low, 1)).astype(jnp.float32)
    last = jnp.take_along_axis(histogram, jnp.max(levels, (1, 2))[..., None], axis=-1)
    step = (jnp.sum(histogram, -1, keepdims=True) - last) // 255
    before = jnp.cumsum(histogram, -1) - histogram
    equal = (step // 2 + before) // jnp.maximum(step, 1)
    unit = 2.0 ** jnp.round(4 * strengths)  # the bits that posterize drops
    mean = jnp.round(255 * jnp.mean(to_grey(images), (1, 2, 3)))[:, None, None]
    tables = [
        identity,
        jnp.where(high > low, stretched, identity),
        jnp.where(step > 0, equal.astype(jnp.float32), identity),
        jnp.where(identity >= 256 * (1 - strengths), 255 - identity, identity),
        jnp.floor(identity / unit) * unit,
        mean + factors * (identity - mean),
        factors * identity,
    ]
    return [jnp.broadcast_to(jnp.clip(table, 0, 255), (n, channels, 256)) for table in tables]


def _move(images: jax.Array, move: jax.Array, strengths: jax.Array) -> jax.Array:
    """Each image turned, sheared or shifted about its middle by the one of `MOVES` that `move [N]` numbers, if any."""
    height, width = images.shape[1:3]

    def only(name: str, values: jax.Array) -> jax.Array:
        return jnp.where(move == MOVES.index(name), values, 0)[:, None, None]

    angle = only("rotate", strengths * jnp.pi / 6)
    y = jnp.arange(height, dtype=jnp.float32).reshape(1, -1, 1) - (height - 1) / 2
    x = jnp.arange(width, dtype=jnp.float32).reshape(1, 1, -1) - (width - 1) / 2
    from_x = jnp.cos(angle) * x + (only("shear_x", 0.3 * strengths) - jnp.sin(angle)) * y
    from_y = jnp.cos(angle) * y + (only("shear_y", 0.3 * strengths) + jnp.sin(angle)) * x
    from_x += only("translate_x", 0.45 * width * strengths) + (width - 1) / 2
    from_y += only("translate_y", 0.45 * height * strengths) + (height - 1) / 2

    def sample(channel: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(channel, [rows, columns], order=1, mode="constant", cval=GREY)

    sampled = jax.vmap(jax.vmap(sample, (-1, None, None), -1))(images, from_y, from_x)
    return jnp.where((move >= 0)[:, None, None, None], jnp.clip(sampled, 0, 1), images)
