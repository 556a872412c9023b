"""CIFAR: archives made as their makers describe them (cs.toronto.edu/~kriz/cifar.html), packed and unpacked."""

import io
import pickle
import tarfile

import numpy as np
import pytest

from zoo import data
from zoo.errors import UserError

COUNT = 20  # images of a batch
NAMES = {"cifar10": [f"kind {i}" for i in range(10)], "cifar100": [f"fine_{i}" for i in range(100)]}
NAMES["cifar10"] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ARCHIVES = {
    ("cifar10", "python"): ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
    ("cifar10", "binary"): ("cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
    ("cifar100", "python"): ("cifar-100-python.tar.gz", "cifar-100-python"),
    ("cifar100", "binary"): ("cifar-100-binary.tar.gz", "cifar-100-binary"),
}


def batch(name, seed):
    """`images [N, 32, 32, 3]`, labels, and the coarse labels that CIFAR-100 has besides."""
    count = len(NAMES[name]) if seed == 0 else COUNT
    images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
    return images, np.arange(count) % len(NAMES[name]), np.arange(count) % 20


def rows(images):
    """The first 1024 bytes are red, the next green, the last blue, each in rows."""
    return np.concatenate([images[..., channel].reshape(len(images), 1024) for channel in range(3)], 1)


def pickled_string(text):
    """Python 2 wrote bytes as its `str`, which protocol 2 has as SHORT_BINSTRING or, longer, BINSTRING."""
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + len(text).to_bytes(4, "little") + text


def pickled_list(items):
    return b"](" + b"".join(items) + b"e"


def pickled_by_python_2(values):
    """The bytes of `cPickle.dump(values, file, 2)`, opcode by opcode."""
    content = b"\x80\x02}("
    for key, value in values.items():
        content += pickled_string(key)
        if isinstance(value, np.ndarray):
            content += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + pickled_string(b"b")
            content += b"\x87R(K\x01J" + len(value).to_bytes(4, "little") + b"M\x00\x0c\x86cnumpy\ndtype\n"
            content += pickled_string(b"u1") + b"K\x00K\x01\x87R(K\x03" + pickled_string(b"|") + b"NNN"
            content += b"J\xff\xff\xff\xff" * 2 + b"K\x00tb\x89" + pickled_string(value.tobytes()) + b"tb"
        elif isinstance(value[0], bytes):
            content += pickled_list(map(pickled_string, value))
        else:
            content += pickled_list(b"K" + bytes([label]) for label in value)
    return content + b"u."


def write_files(name, kind):
    """`{file: content}` of an archive."""
    number = name.removeprefix("cifar")
    files, names = {}, [text.encode() for text in NAMES[name]]
    parts = ["train", "test"] if number == "100" else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for seed, part in enumerate(parts):
        images, labels, coarse = batch(name, seed)
        if kind == "binary":
            leading = [coarse, labels] if number == "100" else [labels]
            table = np.concatenate([np.stack(leading, 1), rows(images)], 1)
            files[f"{part}.bin"] = table.astype(np.uint8).tobytes()
        elif number == "100":
            values = {b"data": rows(images), b"fine_labels": labels.tolist(), b"coarse_labels": coarse.tolist()}
            files[part] = pickled_by_python_2(values)
        else:
            files[part] = pickled_by_python_2({b"data": rows(images), b"labels": labels.tolist()})
    if kind == "binary":
        text = "\n".join(NAMES[name]) + "\n\n"
        files["fine_label_names.txt" if number == "100" else "batches.meta.txt"] = text.encode()
    else:
        meta = {b"fine_label_names" if number == "100" else b"label_names": names}
        files["meta" if number == "100" else "batches.meta"] = pickled_by_python_2(meta)
    return files


def pack(path, folder, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def place(tmp_path, name, kind, how):
    """What `name:` is followed by, after the files were written there."""
    archive, folder = ARCHIVES[name, kind]
    files = write_files(name, kind)
    if how.startswith("packed"):
        pack(tmp_path / archive, folder, files)
        return tmp_path / archive if "named" in how else tmp_path
    (tmp_path / folder).mkdir()
    for file, content in files.items():
        (tmp_path / folder / file).write_bytes(content)
    return tmp_path / folder if "named" in how else tmp_path


@pytest.mark.parametrize("how", ["packed", "packed and named", "unpacked", "unpacked and named"])
@pytest.mark.parametrize(("name", "kind"), ARCHIVES)
def test_the_published_archives_are_read(tmp_path, name, kind, how):
    train, test = data.load(f"{name}:{place(tmp_path, name, kind, how)}")
    last = 5 if name == "cifar10" else 1
    images, labels, _ = (np.concatenate(arrays) for arrays in zip(*(batch(name, i) for i in range(last)), strict=True))
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(train.labels, labels)
    np.testing.assert_array_equal(test.images, batch(name, last)[0])
    np.testing.assert_array_equal(test.labels, batch(name, last)[1])
    assert train.class_names == test.class_names == tuple(NAMES[name])


def test_what_later_versions_of_python_and_numpy_have_pickled_is_read(tmp_path):
    pickles = tmp_path / "cifar-10-batches-py"
    place(tmp_path, "cifar10", "python", "unpacked")
    for protocol in range(6):
        images, labels, _ = batch("cifar10", 5)
        content = pickle.dumps({b"data": rows(images), b"labels": labels.tolist()}, protocol)
        (pickles / "test_batch").write_bytes(content)
        np.testing.assert_array_equal(data.load(f"cifar10:{tmp_path}").test.images, images)


@pytest.mark.parametrize("file", ["test_batch", "batches.meta"])
def test_a_pickle_that_calls_something_calls_nothing(tmp_path, file):
    place(tmp_path, "cifar10", "python", "unpacked")
    (tmp_path / "cifar-10-batches-py" / file).write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "x") + b"'\ntR.")
    with pytest.raises(UserError, match=rf"{file} of .*is not a file of CIFAR's \(it calls \w+\.system\)"):
        data.load(f"cifar10:{tmp_path}")
    assert not (tmp_path / "x").exists()


DAMAGE = {
    "cut binary": ("binary", "data_batch_2.bin", lambda old: old[:-1], "61459 bytes, not a multiple of 3073"),
    "empty binary": ("binary", "test_batch.bin", lambda old: b"", "0 bytes, not a multiple"),
    "unknown class": ("binary", "data_batch_2.bin", lambda old: b"\x0c" + old[1:], "label is 12"),
    "names of another": ("binary", "batches.meta.txt", lambda old: b"cat\ndog\n", "2 class names for 10 classes"),
    "cut pickle": ("python", "data_batch_2", lambda old: old[:-9], "is not a file of CIFAR's"),
    "text": ("python", "data_batch_2", lambda old: b"<html>", "is not a file of CIFAR's"),
    "another pickle": ("python", "data_batch_2", lambda old: pickle.dumps([1]), "is not a file of CIFAR's"),
    "no arrays": ("python", "data_batch_2", lambda old: pickle.dumps({b"data": 1}), "does not hold images of 3072"),
    "no names": ("python", "batches.meta", lambda old: pickle.dumps({b"label_names": [1]}), "the names of the classes"),
}


@pytest.mark.parametrize(("kind", "file", "change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named(tmp_path, kind, file, change, message):
    place(tmp_path, "cifar10", kind, "unpacked")
    path = tmp_path / ARCHIVES["cifar10", kind][1] / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        data.load(f"cifar10:{tmp_path}")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [lambda old: old[: len(old) // 2], lambda old: b"<html>", lambda old: b""])
def test_a_damaged_archive_is_named(tmp_path, change):
    place(tmp_path, "cifar10", "binary", "packed")
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz cannot be unpacked .*: fetch it again"):
        data.load(f"cifar10:{tmp_path}")


def test_absent_files_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no cifar100 at .* holds cifar-100-python\.tar\.gz or cifar-100-binary"
    ):
        data.load(f"cifar100:{tmp_path}")
    place(tmp_path, "cifar10", "python", "unpacked")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match=r"no data_batch_3 in .*: cifar10 has the files data_batch_1, "):
        data.load(f"cifar10:{tmp_path}")
    (tmp_path / "cifar-10-batches-py" / "batches.meta").unlink()
    place(tmp_path, "cifar10", "binary", "packed")
    (tmp_path / "cifar-10-batches-py").rename(tmp_path / "other")
    assert data.load(f"cifar10:{tmp_path}").test.class_names == tuple(NAMES["cifar10"])


def test_without_the_file_of_names_classes_have_none(tmp_path):
    """As the archives that others made of the batches alone."""
    place(tmp_path, "cifar10", "binary", "unpacked")
    (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").unlink()
    assert data.load(f"cifar10:{tmp_path}").train.class_names is None


def test_too_little_memory_is_not_the_file_s_fault(tmp_path, monkeypatch):
    def run_out(*_):
        raise MemoryError

    place(tmp_path, "cifar10", "python", "unpacked")
    monkeypatch.setattr("zoo.data.cifar._Unpickler.find_class", run_out)
    with pytest.raises(MemoryError):
        data.load(f"cifar10:{tmp_path}")
