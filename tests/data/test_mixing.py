"""Mixup and cutmix: images and labels are shared alike, and nothing is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.augmented import jit
from zoo.data.mixing import cutmix, mixup

both = pytest.mark.parametrize("mix", [mixup, cutmix])
N = 8


def mixed(mix, alpha=1.0, seed=0, where=None):
    """Images that are all 0 but for a 1 in the image's own channel, so that a pixel says of whom it is."""
    owners = jnp.eye(N, dtype=jnp.float32)
    images = jnp.broadcast_to(owners[:, None, None], (N, 10, 12, N))
    made = jit(lambda key: mix(key, images, owners, alpha, where))(jax.random.key(seed))
    return [np.asarray(array) for array in made]


@both
def test_labels_are_shared_as_the_pixels_are(mix):
    images, labels = mixed(mix)
    np.testing.assert_allclose(labels, images.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-5)
    assert labels.min() >= 0
    np.testing.assert_allclose(images.sum(3), 1, rtol=1e-5)


@both
def test_every_image_has_its_own_share_of_the_next_one(mix):
    _, labels = mixed(mix)
    own, following = np.diag(labels), labels[np.arange(N), (np.arange(N) + 1) % N]
    np.testing.assert_allclose(own + following, 1, rtol=1e-5)
    assert len(np.unique(own.round(4))) >= N - 2


@both
def test_rows_that_are_left_out_are_nobody_s_partner(mix):
    where = jnp.arange(N) < 5
    images, labels = mixed(mix, where=where)
    assert not labels[:5, 5:].any()
    np.testing.assert_array_equal(labels[4], np.eye(N)[4])
    np.testing.assert_array_equal(images[4], np.broadcast_to(np.eye(N)[4], (10, 12, N)))


@both
def test_alpha_zero_changes_nothing(mix):
    images, labels = mixed(mix, alpha=0)
    np.testing.assert_array_equal(labels, np.eye(N))
    np.testing.assert_array_equal(images[:, 3, 4], np.eye(N))


def test_mixup_weighs_all_pixels_alike_and_cutmix_takes_a_box():
    images, _ = mixed(mixup)
    np.testing.assert_array_equal(images, np.broadcast_to(images[:, :1, :1], images.shape))
    images, _ = mixed(cutmix)
    pasted = images[np.arange(N), :, :, (np.arange(N) + 1) % N]
    assert set(np.unique(pasted)) == {0, 1}
    for mask in pasted:
        assert mask.sum() == mask.any(1).sum() * mask.any(0).sum()


def test_the_shares_are_those_of_a_beta_distribution():
    """Of Beta(0.2, 0.2) most shares are near 0 or 1."""
    owners = jnp.eye(2, dtype=jnp.float32)[jnp.arange(400) % 2]
    images = jnp.zeros((400, 16, 16, 1))
    _, labels = jit(lambda key: mixup(key, images, owners, 0.2))(jax.random.key(3))
    larger = np.asarray(labels).max(1)
    assert 0.4 < (larger > 0.97).mean() < 0.85
    assert 0.1 < (larger < 0.85).mean() < 0.5
