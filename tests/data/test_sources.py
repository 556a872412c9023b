"""Sources: the digits against scikit-learn, IDX files written by hand, one's own arrays."""

import gzip
import re
import struct

import jax
import numpy as np
import pytest
import sklearn.datasets

from zoo import data
from zoo.errors import UserError


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
        assert split.class_names == tuple(map(str, range(10)))


def test_training_images_are_standardised_and_test_images_use_the_same_numbers():
    train, test = data.load("digits")
    prepared = data.prepare_images(train.images, train.preprocessing)
    assert prepared.dtype == np.float32
    assert abs(prepared.mean()) < 1e-5
    assert abs(prepared.std() - 1) < 1e-5
    assert test.preprocessing == train.preprocessing


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
    assert (train.num_classes, train.preprocessing.image_shape) == (3, (5, 7, 1))
    assert abs(data.prepare_images(train.images, train.preprocessing).std() - 1) < 1e-5


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
    "label out of range": (TRAIN_LABELS, lambda old: old[:-1] + b"\xc8", "label is 200, but there is none of class 3"),
    "other size": ("t10k-images-idx3-ubyte", lambda old: idx(np.ones((12, 5, 8))), r"\(5, 7, 1\).*\(5, 8, 1\)"),
    "unknown test label": (
        "t10k-labels-idx1-ubyte",
        lambda old: idx(np.full(12, 3)),
        "test label is 3.* 0 to 2",
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
    assert re.search({"train": "train", "t10k": "t10k|test"}[name.split("-")[0]], str(caught.value))


def test_a_missing_folder_or_file_says_what_is_wanted(mnist):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere'.*idx:FOLDER"):
        data.load("idx:nowhere")
    (mnist[0] / TRAIN_LABELS).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no {TRAIN_LABELS} \(or .*\.gz\)"):
        data.load(f"idx:{mnist[0]}")


@pytest.mark.parametrize(
    ("source", "guess"),
    [
        ("digts", "mean 'digits'?"),
        ("idxx:/here", "mean 'idx:/here'?"),
        ("idx", "mean 'idx:FOLDER'?"),
        ("folders:/here", "mean 'folder:/here'?"),
        ("cifar-10:/here", "mean 'cifar10:/here'?"),
        ("cifar100", "mean 'cifar100:FOLDER'?"),
        ("folder:", "mean 'folder:FOLDER'?"),
        ("/here", "/here'"),
    ],
)
def test_an_unknown_source_suggests_the_nearest(source, guess):
    with pytest.raises(
        ValueError, match="Known: digits, folder:FOLDER, cifar10:FOLDER, cifar100:FOLDER, idx:FOLDER"
    ) as caught:
        data.load(source)
    assert guess in str(caught.value)


def write_idx(folder, names, labels=None):
    """16 + 4 images of 5x7 pixels under `names`, training and test: images then labels; returns the images."""
    written = []
    for (images_name, labels_name), n in zip(names, (16, 4), strict=True):
        images = np.random.default_rng(n).integers(0, 256, (n, 5, 7))
        written.append(images)
        found = np.arange(n) % 4 if labels is None else labels[len(written) - 1]
        for name, array in ((images_name, images), (labels_name, found)):
            content = idx(array)
            (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return written


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("test", ["t10k", "test"])
@pytest.mark.parametrize("name", ["", "emnist-digits-", "fashion-"])
def test_the_names_of_mnist_and_its_heirs_are_read(tmp_path, name, test, suffix, separator):
    names = [
        [f"{name}{split}-{what}{separator}idx{rank}-ubyte{suffix}" for what, rank in (("images", 3), ("labels", 1))]
        for split in ("train", test)
    ]
    images = write_idx(tmp_path, names)
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97")
    for split, stored in zip(data.load(f"idx:{tmp_path}"), images, strict=True):
        upright = stored.swapaxes(1, 2) if name.startswith("emnist") else stored  # EMNIST's readme, and TFDS'
        np.testing.assert_array_equal(split.images[..., 0], upright)


def emnist(which):
    return [[f"emnist-{which}-{s}-{w}-ubyte.gz" for w in ("images-idx3", "labels-idx1")] for s in ("train", "test")]


def test_of_several_sets_in_a_folder_one_is_named(tmp_path):
    """The archive that NIST offers holds six."""
    write_idx(tmp_path, emnist("digits"))
    images = write_idx(tmp_path, emnist("letters"), [np.arange(16) % 8 + 1, np.arange(4) + 5])
    with pytest.raises(UserError, match=r"holds emnist-digits, emnist-letters: name one .*idx:.*/emnist-digits"):
        data.load(f"idx:{tmp_path}")
    train, test = data.load(f"idx:{tmp_path}/emnist-letters")
    np.testing.assert_array_equal(train.images[..., 0], images[0].swapaxes(1, 2))
    np.testing.assert_array_equal(test.labels, [4, 5, 6, 7])
    with pytest.raises(FileNotFoundError, match=r"no folder .*emnist-balanced'"):
        data.load(f"idx:{tmp_path}/emnist-balanced")
    (tmp_path / "emnist-letters-test-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"no emnist-letters-test-labels-idx1-ubyte \(or"):
        data.load(f"idx:{tmp_path}/emnist-letters")


def test_labels_from_1_to_26_are_the_26_letters(tmp_path):
    write_idx(tmp_path, emnist("letters"), [np.arange(1, 17), np.array([1, 16, 2, 3])])
    train, test = data.load(f"idx:{tmp_path}")
    np.testing.assert_array_equal(train.labels, np.arange(16))
    np.testing.assert_array_equal(test.labels, [0, 15, 1, 2])
    assert (train.num_classes, train.labels.dtype) == (16, np.int32)


def test_labels_from_1_with_a_test_label_0_are_refused(tmp_path):
    write_idx(tmp_path, emnist("letters"), [np.arange(1, 17), np.arange(4)])
    with pytest.raises(UserError, match="there is none of class 0"):
        data.load(f"idx:{tmp_path}")


def test_256_classes_of_a_file_are_counted(tmp_path):
    images = np.arange(256 * 4).reshape(256, 2, 2)
    for split in ("train", "t10k"):
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(256)))
    train, test = data.load(f"idx:{tmp_path}")
    assert train.num_classes == test.num_classes == 256
    np.testing.assert_array_equal(test.labels, np.arange(256))


def arrays(**changes):
    """Six RGB images of three classes for both splits, with some arrays replaced."""
    images, labels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8), np.arange(6) % 3
    pairs = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    return pairs | changes


def test_one_s_own_arrays_become_splits_standardised_by_channel():
    train, test = data.make_splits(**arrays())
    prepared = data.prepare_images(train.images, train.preprocessing)
    np.testing.assert_allclose(prepared.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(prepared.std((0, 1, 2)), 1, rtol=1e-5)
    assert (test.num_classes, test.preprocessing) == (3, train.preprocessing)
    assert train.preprocessing.image_shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": np.ones((6, 4, 5, 3), np.float32)},
            r"train images must be \[N, h, w, C\] bytes, got float32",
        ),
        ({"test_images": np.ones((6, 4, 5), np.uint8)}, r"test images must be .* got uint8 \(6, 4, 5\)"),
        ({"test_labels": np.zeros(5, int)}, r"6 test images need as many integer labels, got int64 \(5,\)"),
        ({"train_labels": np.zeros(6)}, "6 train images need as many integer labels, got float64"),
        ({"train_labels": np.arange(6) % 3 - 1}, "the smallest is -1"),
        ({"test_labels": np.arange(6) % 3 - 1}, "a test label is -1"),
        ({"test_images": np.ones((6, 4, 4, 3), np.uint8)}, r"train images are \(4, 5, 3\), test images \(4, 4, 3\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        data.make_splits(**arrays(**changes))


def test_every_class_has_a_name_or_none_has():
    train, test = data.make_splits(**arrays(), class_names=["cat", "dog", "emu"])
    assert train.class_names == test.class_names == ("cat", "dog", "emu")
    assert data.make_splits(**arrays()).train.class_names is None
    with pytest.raises(UserError, match="2 class names for 3 classes"):
        data.make_splits(**arrays(), class_names=["cat", "dog"])


def test_256_classes_of_bytes_are_counted():
    labels = np.arange(256).astype(np.uint8)
    images = np.arange(256 * 4, dtype=np.int64).astype(np.uint8).reshape(256, 2, 2, 1)
    assert data.make_splits(images, labels, images, labels).train.num_classes == 256


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i4", "u4", "i8", "u8"])
def test_labels_of_every_integer_type_mean_the_same(dtype):
    labels = (np.arange(6) % 3).astype(dtype)
    train, test = data.make_splits(**arrays(train_labels=labels, test_labels=jax.numpy.asarray(np.arange(6) % 3)))
    for split in (train, test):
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.labels, np.arange(6) % 3)
    labels[-1] = np.iinfo(dtype).max
    with pytest.raises(UserError, match=rf"a train label is {labels[-1]}, but there is none of class 3"):
        data.make_splits(**arrays(train_labels=labels))
    with pytest.raises(UserError, match=rf"a test label is {labels[-1]}, but the train labels are 0 to 2"):
        data.make_splits(**arrays(test_labels=labels))


def test_a_channel_of_one_value_does_not_divide_by_zero():
    images = arrays()["train_images"].copy()
    images[..., 1] = 7
    train, _ = data.make_splits(**arrays(train_images=images))
    assert np.isfinite(data.prepare_images(images, train.preprocessing)).all()
