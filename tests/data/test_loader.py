"""Batches: every example once, in an order that the seed and the epoch decide."""

import threading
import time
from dataclasses import dataclass, field

import chex
import jax
import numpy as np
import pytest

from zoo import data
from zoo.data.crops import RATIOS
from zoo.data.dataset import Split
from zoo.data.loader import read_ahead
from zoo.errors import UserError

SHIFTED = data.Augmentation(max_shift=1)


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
        made = list(data.batches(test, 100, **which, augmentation=SHIFTED))
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
    moved = next(data.batches(train, 200, seed=0, epoch=0, augmentation=SHIFTED))["image"]
    black = plain.min()
    found = set()
    for before, after in zip(plain[..., 0], moved[..., 0], strict=True):
        framed = np.pad(before, 1, constant_values=black)
        crops = {(y, x): framed[y : y + 8, x : x + 8] for y in range(3) for x in range(3)}
        matches = [offset for offset, crop in crops.items() if np.allclose(crop, after, atol=1e-6)]
        assert matches
        found.update(matches)
    assert len(found) == 9


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": -4}, {"batch_size": 8, "start": -1}])
def test_wrong_numbers_are_refused_before_the_first_batch(wrong):
    with pytest.raises(ValueError, match=r"-?[014]: it"):
        data.batches(data.load("digits").test, seed=0, epoch=0, **wrong)


@pytest.mark.parametrize("number", [np.uint8, np.int8, np.int64])
def test_numpy_s_small_integers_count_as_python_s_do(number):
    test = data.load("digits").test
    ours = list(data.batches(test, number(100), seed=0, epoch=0, augmentation=data.Augmentation(max_shift=number(1))))
    expected = list(data.batches(test, 100, seed=0, epoch=0, augmentation=SHIFTED))
    for one, other in zip(ours, expected, strict=True):
        for key, array in other.items():
            np.testing.assert_array_equal(one[key], array)
    with pytest.raises(TypeError, match="float"):
        data.batches(test, 64.0, seed=0, epoch=0)


@dataclass(frozen=True, kw_only=True)
class Stripes(Split):
    """Pictures of 20x30 pixels that are read slowly: all pixels of a row's picture are the row; notes what is read."""

    read: list = field(default_factory=list)

    def read_image(self, row, box=None):
        time.sleep(0.001 * (row % 3))  # the threads finish out of order
        self.read.append((row, box))
        return np.full(self.preprocessing.image_shape, row, np.uint8)

    def picture_size(self, row):
        return 20, 30


@pytest.fixture
def stripes():
    preprocessing = data.Preprocessing(4, mean=(0.5,), std=(0.5,))
    return Stripes(labels=np.arange(11, dtype=np.int32), num_classes=11, preprocessing=preprocessing)


def test_pictures_in_files_make_the_batches_of_the_same_images_in_memory(stripes):
    images = np.stack([stripes.read_image(row) for row in range(11)])
    in_memory = data.Dataset(
        images=images,
        labels=stripes.labels,
        num_classes=11,
        preprocessing=data.Preprocessing(4, 1.0, (0.5,), (0.5,)),
    )
    drawn = (list(data.batches(split, 4, seed=2, epoch=1)) for split in (stripes, in_memory))
    for ours, expected in zip(*drawn, strict=True):
        chex.assert_trees_all_equal(ours, expected)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_threads_change_neither_the_order_nor_the_crops(stripes, threads):
    cropped = data.Augmentation(crop_area=0.08)
    expected = list(data.batches(stripes, 4, seed=0, epoch=3, augmentation=cropped, threads=1))
    boxes = dict(stripes.read)
    stripes.read.clear()
    made = list(data.batches(stripes, 4, seed=0, epoch=3, augmentation=cropped, threads=threads))
    chex.assert_trees_all_equal(made, expected)
    assert dict(stripes.read) == boxes
    assert len(stripes.read) == 11
    assert len(set(boxes.values())) > 5
    for batch in made:
        assert batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])


def test_each_epoch_draws_other_crops(stripes):
    for epoch in (0, 1):
        list(data.batches(stripes, 11, seed=0, epoch=epoch, augmentation=data.Augmentation(crop_area=0.08)))
    first, second = (dict(stripes.read[i : i + 11]) for i in (0, 11))
    assert all(first[row] != second[row] for row in range(11))
    for top, left, height, width in (*first.values(), *second.values()):
        assert 0 <= top <= 20 - height
        assert 0 <= left <= 30 - width
        assert RATIOS[0] * 0.8 < width / height < RATIOS[1] * 1.2


@pytest.mark.parametrize("start", [0, 1, 2, 3, 9])
def test_an_epoch_goes_on_in_its_middle_without_reading_what_is_left_out(stripes, start):
    augmentation = data.Augmentation(crop_area=0.08, max_shift=1)
    whole = list(data.batches(stripes, 4, seed=0, epoch=0, augmentation=augmentation))
    stripes.read.clear()
    rest = list(data.batches(stripes, 4, seed=0, epoch=0, augmentation=augmentation, start=start))
    chex.assert_trees_all_equal(rest, whole[start:])
    assert len(stripes.read) == max(0, 11 - 4 * start)
    digits = data.load("digits").test
    whole = list(data.batches(digits, 100, seed=0, epoch=0, augmentation=SHIFTED))
    rest = list(data.batches(digits, 100, seed=0, epoch=0, augmentation=SHIFTED, start=start))
    chex.assert_trees_all_equal(rest, whole[start:])


def test_each_process_reads_its_share_of_every_batch(stripes, monkeypatch):
    whole = list(data.batches(stripes, 6, seed=0, epoch=0, augmentation=SHIFTED))
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    shares = []
    for index in range(3):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        stripes.read.clear()
        shares.append(list(data.batches(stripes, 6, seed=0, epoch=0, augmentation=SHIFTED)))
        assert len(stripes.read) == (4, 4, 3)[index]
    for parts, batch in zip(zip(*shares, strict=True), whole, strict=True):
        chex.assert_trees_all_equal(jax.tree.map(lambda *rows: np.concatenate(rows), *parts), batch)
    with pytest.raises(ValueError, match="batch_size is 8: it must be a multiple of the 3 processes"):
        data.batches(stripes, 8, seed=0, epoch=0)


def test_a_process_without_rows_in_the_last_batch_gets_padding(stripes, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    for split in (stripes, data.load("digits").test):
        last = list(data.batches(split, len(split) - 1, seed=0, epoch=0))[-1]
        assert not last["mask"].any()
        assert not last["image"].any()


def test_reading_ahead_ends_with_who_asks():
    read, gate, before = [], threading.Event(), threading.active_count()

    def wait(item):
        read.append(item)
        return item if item == 0 or gate.wait(10) else None

    drawn = read_ahead(wait, iter(range(1000)), ahead=5, threads=1)
    assert next(drawn) == 0
    threading.Timer(0.05, gate.set).start()
    drawn.close()
    assert read in ([0], [0, 1])  # what had begun
    gate.wait(10)
    assert threading.active_count() <= before + 1  # the timer's


def test_pictures_are_read_while_a_batch_is_used(stripes):
    drawn = data.batches(stripes, 2, seed=0, epoch=0)
    next(drawn)
    for _ in range(1000):
        if len(stripes.read) >= 6:
            break
        time.sleep(0.01)
    assert len(stripes.read) == 6


def test_a_picture_that_cannot_be_read_is_an_error_of_its_batch(stripes):
    def fail(row, box=None):
        raise UserError(f"{row}.jpg cannot be read", "mend it")

    object.__setattr__(stripes, "read_image", fail)
    with pytest.raises(UserError, match="jpg cannot be read: mend it"):
        next(data.batches(stripes, 4, seed=0, epoch=0))
