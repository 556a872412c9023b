"""Batches: every example once, in an order that the seed and the epoch decide."""

import numpy as np
import pytest

from zoo import data


def every_image_once(dataset, found):
    """The rows of `found`, sorted, are the rows of the dataset, sorted."""
    rows = np.sort(data.prepare_images(dataset.images, dataset.preprocessing).reshape(len(dataset), -1), axis=0)
    np.testing.assert_allclose(np.sort(found.reshape(len(found), -1), axis=0), rows, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 64, 355, 400])
def test_an_epoch_visits_every_example_once_in_batches_of_one_shape(batch_size):
    test = data.load("digits").test
    made = list(data.batches(test, batch_size, seed=3, epoch=2))
    assert len(made) == -(-355 // batch_size)
    assert {batch["image"].shape for batch in made} == {(batch_size, 8, 8, 1)}
    assert all(batch["mask"].all() for batch in made[:-1])
    mask, images, labels = (np.concatenate([batch[key] for batch in made]) for key in ("mask", "image", "label"))
    assert mask.sum() == 355
    every_image_once(test, images[mask])
    np.testing.assert_array_equal(np.sort(labels[mask]), np.sort(test.labels))
    assert not images[~mask].any()


def test_batches_are_a_function_of_seed_and_epoch():
    test = data.load("digits").test

    def epoch(**which):
        made = list(data.batches(test, 100, **which, max_shift=1))
        return np.concatenate([batch["label"] for batch in made]), np.stack([b["image"] for b in made])

    for one, other in zip(epoch(seed=1, epoch=0), epoch(seed=1, epoch=0), strict=True):
        np.testing.assert_array_equal(one, other)
    different = [epoch(seed=1, epoch=0)[0], epoch(seed=1, epoch=1)[0], epoch(seed=0, epoch=1)[0]]
    assert not any((different[i] == different[i - 1]).all() for i in range(3))


def test_unshuffled_batches_keep_the_order():
    test = data.load("digits").test
    labels = np.concatenate([b["label"] for b in data.batches(test, 71, seed=0, epoch=5, shuffle=False)])
    np.testing.assert_array_equal(labels, test.labels)


def test_shifted_images_are_images_moved_by_whole_pixels_over_black():
    train = data.load("digits").train
    plain = next(data.batches(train, 200, seed=0, epoch=0))["image"]
    moved = next(data.batches(train, 200, seed=0, epoch=0, max_shift=1))["image"]
    black = plain.min()
    found = set()
    for before, after in zip(plain[..., 0], moved[..., 0], strict=True):
        framed = np.pad(before, 1, constant_values=black)
        crops = {(y, x): framed[y : y + 8, x : x + 8] for y in range(3) for x in range(3)}
        matches = [offset for offset, crop in crops.items() if np.allclose(crop, after, atol=1e-6)]
        assert matches
        found.update(matches)
    assert len(found) == 9


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": -4}, {"batch_size": 8, "max_shift": -1}])
def test_wrong_numbers_are_refused_before_the_first_batch(wrong):
    with pytest.raises(ValueError, match=r"-?[014]: it"):
        data.batches(data.load("digits").test, seed=0, epoch=0, **wrong)


@pytest.mark.parametrize("number", [np.uint8, np.int8, np.int64])
def test_numpy_s_small_integers_count_as_python_s_do(number):
    test = data.load("digits").test
    ours = list(data.batches(test, number(100), seed=0, epoch=0, max_shift=number(1)))
    expected = list(data.batches(test, 100, seed=0, epoch=0, max_shift=1))
    for one, other in zip(ours, expected, strict=True):
        for key, array in other.items():
            np.testing.assert_array_equal(one[key], array)
    with pytest.raises(TypeError, match="float"):
        data.batches(test, 64.0, seed=0, epoch=0)
