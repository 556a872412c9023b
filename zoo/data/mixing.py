"""Pairs of labelled images made one: the label is shared as the pixels are.

Images are `[N, H, W, C]`, labels `[N, K]` probabilities, whose sum stays 1. The partner of an image is the next one of
the batch, as for torchvision's `MixUp` and `CutMix` (timm takes the batch backwards), so that few images move between
devices; every image draws its own share, where theirs is one for the batch. Rows that `where [N]` leaves out are no
partners.
"""

import jax
import jax.numpy as jnp

from zoo.data.crops import cover


def mixup(
    key: jax.Array, images: jax.Array, labels: jax.Array, alpha: float, where: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Weighted means of two images, the weight from Beta(alpha, alpha) (Zhang et al. 2017, arXiv:1710.09412)."""
    if alpha == 0:
        return images, labels
    weights = jax.random.beta(key, alpha, alpha, (len(images), 1, 1, 1), images.dtype)
    return _mix(images, labels, weights, where)


def cutmix(
    key: jax.Array, images: jax.Array, labels: jax.Array, alpha: float, where: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """A box of another image in each (Yun et al. 2019, arXiv:1905.04899).

    Its share of the area is from Beta(alpha, alpha), its centre any pixel; the label counts what is left of it inside.
    """
    if alpha == 0:
        return images, labels
    area, place = jax.random.split(key)
    n, height, width, _ = images.shape
    sides = jnp.array([[height, width]], jnp.float32)
    lengths = jnp.floor(sides * jnp.sqrt(jax.random.beta(area, alpha, alpha, (n, 1)))).astype(jnp.int32)
    centres = jnp.floor(sides * jax.random.uniform(place, (n, 2))).astype(jnp.int32)
    boxes = jnp.concatenate([centres - lengths // 2, lengths], axis=1)
    return _mix(images, labels, 1 - cover(boxes, height, width).astype(images.dtype), where)


def _mix(
    images: jax.Array, labels: jax.Array, weights: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Each image with its `weights [N, h, w, 1]`, the next one with what is left to 1."""
    if where is not None:
        alone = ~jnp.roll(where, -1)
        weights = jnp.where(alone[:, None, None, None], 1, weights)
    share = jnp.mean(weights, (1, 2, 3)).astype(labels.dtype)[:, None]
    mixed = weights * images + (1 - weights) * jnp.roll(images, -1, axis=0)
    return mixed, share * labels + (1 - share) * jnp.roll(labels, -1, axis=0)
