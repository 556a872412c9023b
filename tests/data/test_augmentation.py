"""Every augmentation: shape, range, the same bits for a key, nothing at strength 0, each image in its own way."""

from dataclasses import fields
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import zoo
from tests.data.augmented import FUNCTIONS, jit, photographs
from zoo import data
from zoo.data.augmentation import flip, shift, shift_images, show_augmentations
from zoo.errors import UserError
from zoo.losses import softmax_cross_entropy
from zoo.training.step import AUGMENT

EVERYTHING = data.Augmentation(
    max_shift=1, crop_area=0.5, flip=0.5, randaugment=5, colour=0.4, hue=0.1, erase=0.5, cutout=3, mixup=0.4, cutmix=1
)
each = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(photographs(), jnp.float32) / 255


@cache
def compiled(name):
    """`(keys [k], images [N, ...]) -> [k, N, ...]` at the usual strength, mapped over the keys."""
    function, strength, _ = FUNCTIONS[name]
    return jit(jax.vmap(lambda key, images: function(key, images, strength), (0, None)))


@each
def test_images_stay_images_for_every_key_and_the_same_for_the_same(name, images):
    keys = jax.random.split(jax.random.key(0), 12).at[1].set(jax.random.split(jax.random.key(0), 12)[0])
    found = np.asarray(compiled(name)(keys, images))
    assert found.shape == (12, *images.shape)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert found[0].tobytes() == found[1].tobytes()
    assert (found[2:] != found[0]).any((1, 2, 3, 4)).all()


@each
def test_strength_zero_changes_no_bit(name, images):
    function, _, nothing = FUNCTIONS[name]
    changed = jit(lambda key: function(key, images, nothing))(jax.random.key(4))
    np.testing.assert_array_equal(changed, images)


@each
def test_equal_images_are_changed_in_different_ways(name, images):
    alike = jnp.broadcast_to(images[:1], images.shape)
    changed = np.asarray(compiled(name)(jax.random.split(jax.random.key(0), 12), alike))[0].reshape(6, -1)
    assert len(np.unique(changed, axis=0)) >= (2 if name in ("flip", "random_erasing") else 5)


@each
@pytest.mark.parametrize("shape", [(3, 5, 6, 1), (2, 8, 8, 4), (1, 1, 1, 3)])
def test_images_need_not_be_rgb_nor_large(name, shape):
    function, strength, _ = FUNCTIONS[name]
    changed = jax.eval_shape(lambda images: function(jax.random.key(0), images, strength), jnp.zeros(shape))
    assert changed.shape == shape


def test_flipped_images_are_mirrored_or_as_they_were(images):
    many = jnp.tile(images, (50, 1, 1, 1))
    flipped = np.asarray(flip(jax.random.key(0), many, 0.3))
    mirrored = (flipped == np.asarray(many)[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (flipped == np.asarray(many)).all((1, 2, 3))).all()
    assert 0.2 < mirrored.mean() < 0.4


def test_shifted_images_are_crops_of_padded_ones(images):
    shifts = np.array([[0, 0], [2, -1], [-3, 3], [1, 0], [0, 3], [-24, 28]])
    moved = shift_images(np.asarray(images), shifts)
    for image, (down, right), found in zip(np.asarray(images), shifts, moved, strict=True):
        padded = np.pad(image, ((30, 30), (30, 30), (0, 0)))
        np.testing.assert_array_equal(found, padded[30 + down : 54 + down, 30 + right : 58 + right])
    drawn = np.asarray(shift(jax.random.key(0), images, 2))
    every = [shift_images(np.asarray(images), np.full((6, 2), (y, x))) for y in range(-2, 3) for x in range(-2, 3)]
    assert (drawn[None] == np.stack(every)).all((2, 3, 4)).any(0).all()


def test_an_augmented_batch_is_what_a_net_takes():
    train = data.load("digits").train
    batch = list(data.batches(train, 64, seed=0, epoch=0, augmentation=EVERYTHING))[-1]
    assert batch["image"].dtype == np.uint8
    made = jit(data.make_augment(EVERYTHING, train))(jax.random.key(0), batch)
    assert made["image"].dtype == jnp.float32
    assert made["image"].shape == batch["image"].shape
    mean, std = train.preprocessing.mean[0], train.preprocessing.std[0]
    assert made["image"].min() >= -mean / std - 1e-4
    assert made["image"].max() <= (1 - mean) / std + 1e-4
    valid = np.flatnonzero(batch["mask"])
    assert len(valid) == 1442 % 64
    np.testing.assert_allclose(made["label"].sum(1), 1, rtol=1e-5)
    own, following = (jax.nn.one_hot(batch["label"], 10)[rows] for rows in (valid, np.append(valid[1:], valid[-1])))
    outside = np.where((own + following) > 0, 0, made["label"][valid])
    assert not outside.any()  # and the label of no padding


def test_without_augmentation_bytes_become_what_they_are_without_a_step():
    train = data.load("digits").train
    plain = next(data.batches(train, 32, seed=0, epoch=0))
    nothing = data.Augmentation(flip=1e-9)
    batch = next(data.batches(train, 32, seed=0, epoch=0, augmentation=nothing))
    made = jit(data.make_augment(nothing, train))(jax.random.key(0), batch)
    chex.assert_trees_all_close(made, plain, atol=1e-5)
    assert data.make_augment(data.Augmentation(max_shift=3), train) is None


def test_mixup_and_cutmix_share_the_images_between_them():
    """A pasted image has pixels of two images only, a mixed one has new ones where the two differ, as every other."""
    levels = np.array([0, 240], np.uint8).repeat(100)[np.random.default_rng(0).permutation(200)]
    images = np.broadcast_to(levels[:, None, None, None], (200, 8, 8, 1))
    train = data.make_splits(images, np.arange(200) % 2, images, np.arange(200) % 2).train
    both = data.Augmentation(mixup=1, cutmix=1)
    batch = next(data.batches(train, 200, seed=0, epoch=0, augmentation=both))
    made = jit(data.make_augment(both, train))(jax.random.key(0), batch)
    pixels = 255 * (np.asarray(made["image"]) * train.preprocessing.std[0] + train.preprocessing.mean[0])
    new = ((np.abs(pixels) > 1) & (np.abs(pixels - 240) > 1)).any((1, 2, 3))
    assert new.mean() == pytest.approx(0.25, abs=0.12)


def test_floating_point_images_are_refused():
    train = data.load("digits").train
    augment = data.make_augment(data.Augmentation(flip=0.5), train)
    with pytest.raises(TypeError, match="float32, not bytes: draw the batches with the augmentation"):
        augment(jax.random.key(0), next(data.batches(train, 4, seed=0, epoch=0)))


@pytest.mark.parametrize("name", [field.name for field in fields(data.Augmentation)])
def test_an_impossible_strength_is_refused(name):
    for wrong in (-1, float("nan"), float("inf"), *((11,) if name in ("flip", "hue", "crop_area") else ())):
        with pytest.raises(UserError, match=f"{name} is {wrong}: it must be"):
            data.Augmentation(**{name: wrong})


def test_there_are_examples_of_every_augmentation():
    images = photographs(2, 16, 16)
    made = jax.eval_shape(lambda: show_augmentations(images, 4))
    assert len(made) == len(FUNCTIONS) + 2
    assert {example.shape for example in made.values()} == {(4, 16, 16, 3)}


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(10)(images.reshape(len(images), -1))


def test_a_step_augments_by_a_key_of_its_own_at_every_step():
    train = data.load("digits").train
    mirrored = data.Augmentation(flip=0.5)
    augment = data.make_augment(mirrored, train)
    drawn = list(data.batches(train, 16, seed=0, epoch=0, augmentation=mirrored))[:2]
    state = zoo.create_train_state(Linear(), jax.random.key(3), optax.sgd(0.01), (8, 8, 1))
    expected = jax.tree.map(jnp.copy, state)
    step, plain = (
        zoo.make_train_step(softmax_cross_entropy, augment=augment),
        zoo.make_train_step(softmax_cross_entropy),
    )
    for number, batch in enumerate(drawn):
        own = jax.random.fold_in(jax.random.fold_in(state.key, number), AUGMENT)
        expected, wanted = plain(expected, jit(augment)(own, batch))
        state, metrics = step(state, batch)
        chex.assert_trees_all_close(metrics, wanted, rtol=1e-4)
    chex.assert_trees_all_close(state.params, expected.params, rtol=1e-3, atol=1e-6)
