"""Data: the digits against scikit-learn, IDX files written by hand, the promises of the batches."""

import gzip
import struct

import numpy as np
import PIL.Image
import pytest
import sklearn.datasets

from zoo import data


def test_digits_are_the_1797_of_scikit_learn_split_by_every_fifth_of_a_class():
    source = sklearn.datasets.load_digits()
    seen = dict.fromkeys(range(10), 0)
    expected = {"train": [], "test": []}
    for image, label in zip(source.images, source.target, strict=True):
        seen[label] += 1
        expected["test" if seen[label] % 5 == 0 else "train"].append((image, label))
    for name, split in data.load("digits")._asdict().items():
        images, labels = (np.stack(column) for column in zip(*expected[name], strict=True))
        np.testing.assert_array_equal(np.round(split.images[..., 0] * 16.0 / 255), images)
        np.testing.assert_array_equal(split.labels, labels)
        assert (split.images.dtype, split.labels.dtype, split.num_classes) == (np.uint8, np.int32, 10)
        assert split.images.max() == 255


def test_training_images_are_standardised_and_test_images_use_the_same_numbers():
    train, test = data.load("digits")
    prepared = train.prepare(train.images)
    assert prepared.dtype == np.float32
    assert abs(prepared.mean()) < 1e-5
    assert abs(prepared.std() - 1) < 1e-5
    assert test.prepare == train.prepare


def every_image_once(dataset, found):
    """The rows of `found`, sorted, are the rows of the dataset, sorted."""
    rows = np.sort(dataset.prepare(dataset.images).reshape(len(dataset), -1), axis=0)
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


@pytest.mark.parametrize(("old", "new"), [((8, 8), (32, 32)), ((9, 7), (5, 12)), ((28, 28), (8, 8))])
def test_resize_is_pillows_bilinear(old, new):
    image = np.random.default_rng(0).uniform(size=old).astype(np.float32)
    expected = PIL.Image.fromarray(image).resize(new[::-1], PIL.Image.Resampling.BILINEAR)
    ours = data.resize(image[None, ..., None], new)
    np.testing.assert_allclose(ours[0, ..., 0], np.asarray(expected), atol=2e-6)


def test_a_resized_dataset_gives_batches_of_that_size():
    test = data.load("digits").test.resized(32)
    assert test.prepare.image_shape == (32, 32, 1)
    assert next(data.batches(test, 4, seed=0, epoch=0))["image"].shape == (4, 32, 32, 1)


def idx(array):
    """The bytes of an IDX file, from its definition: two zeros, type, rank, lengths, bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path):
    """A folder in MNIST's format, half of it packed: 30 + 12 images of 5x7 pixels, 3 classes."""
    random = np.random.default_rng(0)
    arrays = {}
    for prefix, n in (("train", 30), ("t10k", 12)):
        arrays[f"{prefix}-images-idx3-ubyte"] = random.integers(0, 256, (n, 5, 7))
        arrays[f"{prefix}-labels-idx1-ubyte"] = np.arange(n) % 3
    for name, array in arrays.items():
        if name.startswith("t10k"):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (tmp_path / name).write_bytes(idx(array))
    return tmp_path, arrays


def test_idx_reads_raw_and_packed_files(mnist):
    folder, arrays = mnist
    train, test = data.load(f"idx:{folder}")
    np.testing.assert_array_equal(train.images[..., 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.images[..., 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert (train.num_classes, train.prepare.image_shape) == (3, (5, 7, 1))
    assert abs(train.prepare(train.images).std() - 1) < 1e-5


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
DAMAGE = {
    "truncated": (TRAIN_IMAGES, lambda old: old[:-1], "1065 bytes, its header promises 1066"),
    "too long": (TRAIN_LABELS, lambda old: old + b"\0", "39 bytes, its header promises 38"),
    "empty": (TRAIN_IMAGES, lambda old: b"", "not an IDX file"),
    "only a magic number": (TRAIN_IMAGES, lambda old: old[:4], "4 bytes, its header promises 16"),
    "labels for images": (TRAIN_IMAGES, lambda old: idx(np.zeros(30)), "00 00 08 01, not 00 00 08 03"),
    "no images": (TRAIN_IMAGES, lambda old: idx(np.zeros((0, 5, 7))), "hold no pixels"),
    "one grey": (TRAIN_IMAGES, lambda old: idx(np.full((30, 5, 7), 9)), "train images are of one grey, 9"),
    "other count": (TRAIN_LABELS, lambda old: idx(np.arange(29) % 3), "30 train images but 29 train labels"),
    "label out of range": (TRAIN_LABELS, lambda old: old[:-1] + b"\xc8", "label is 200, but none is 3"),
    "other size": ("t10k-images-idx3-ubyte", lambda old: idx(np.ones((12, 5, 8))), r"\(5, 7\).*\(5, 8\)"),
    "unknown test label": (
        "t10k-labels-idx1-ubyte",
        lambda old: idx(np.full(12, 3)),
        "t10k label is 3.* end at 2",
    ),
    "packed and truncated": ("t10k-labels-idx1-ubyte.gz", lambda old: old[:-9], "cannot be unpacked"),
    "packed and altered": (
        "t10k-labels-idx1-ubyte.gz",
        lambda old: old[:-6] + b"abcdef",
        "cannot be unpacked",
    ),
    "not packed": ("t10k-labels-idx1-ubyte.gz", lambda old: idx(np.arange(12) % 3), "cannot be unpacked"),
}


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_idx_file_is_refused_by_name(mnist, name, damage, message):
    path = mnist[0] / name
    path.write_bytes(damage(path.read_bytes() if path.exists() else b""))
    with pytest.raises(ValueError, match=message) as caught:
        data.load(f"idx:{mnist[0]}")
    assert str(mnist[0]) in str(caught.value)
    assert name.split("-")[0] in str(caught.value)


def test_a_missing_folder_or_file_says_what_is_wanted(mnist):
    with pytest.raises(FileNotFoundError, match=r"No folder .*nowhere'.*idx:FOLDER"):
        data.load("idx:nowhere")
    (mnist[0] / TRAIN_LABELS).unlink()
    with pytest.raises(FileNotFoundError, match=rf"No {TRAIN_LABELS} \(or .*\.gz\)"):
        data.load(f"idx:{mnist[0]}")


@pytest.mark.parametrize(
    ("source", "guess"),
    [("digts", "mean 'digits'?"), ("idxx:/here", "mean 'idx:/here'?"), ("idx", "mean 'idx:FOLDER'?")],
)
def test_an_unknown_source_suggests_the_nearest(source, guess):
    with pytest.raises(ValueError, match=r"Known: digits, idx:FOLDER") as caught:
        data.load(source)
    assert guess in str(caught.value)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": -4}, {"batch_size": 8, "max_shift": -1}])
def test_wrong_numbers_are_refused_before_the_first_batch(wrong):
    with pytest.raises(ValueError, match=r"-?[014]: it"):
        data.batches(data.load("digits").test, seed=0, epoch=0, **wrong)
