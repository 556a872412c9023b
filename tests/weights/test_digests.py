"""What is written here is the same bytes each time, and no bit of it changes unnoticed; files of others are welcome."""

import json
import random

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import zoo
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo.errors import UserError
from zoo.weights import read, read_metadata, write_arrays

METADATA = {"model": "mlp", "preprocessing": '{"size": 32}', "author": "Ünal"}
ARRAYS = {
    "params/fc/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "params/fc/bias": np.array([0.5, -0.25], ml_dtypes.bfloat16),
    "step": np.array(3, np.int32),
    "nothing": np.zeros((0, 3), np.float64),
    "mask": np.array([True, False, True]),
    "transposed": np.arange(6, dtype=np.int8).reshape(2, 3).T,
    "foreign order": np.arange(3, dtype=">f4"),
}


@pytest.fixture
def path(tmp_path):
    write_arrays(tmp_path / "w.safetensors", ARRAYS, METADATA)
    return tmp_path / "w.safetensors"


def test_what_was_written_is_read_by_us_and_by_safetensors(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        theirs = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
        assert METADATA.items() <= file.metadata().items()
    for arrays in (read(path), theirs):
        assert arrays.keys() == ARRAYS.keys()
        for key, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[key], array.astype(array.dtype.newbyteorder("=")), strict=True)
    assert read_metadata(path) == METADATA


def test_twelve_saves_in_whatever_order_are_the_same_bytes(path):
    content = path.read_bytes()
    for seed in range(12):
        shuffle = random.Random(seed).sample
        arrays, metadata = (dict(shuffle(list(m.items()), len(m))) for m in (ARRAYS, METADATA))
        write_arrays(path, arrays, metadata)
        assert path.read_bytes() == content


def test_every_flipped_bit_is_one_line(path):
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read, nothing was loaded") as error:
            read(path)
        assert "\n" not in str(error.value)
        if bit < 8 * header:  # the metadata are believed without the arrays
            with pytest.raises(UserError):
                read_metadata(path)
        content[bit // 8] ^= 1 << bit % 8


def test_a_second_half_of_zeros_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    zoo.save(path, zoo.from_torch(NAME, state_dict_of()), name=NAME)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(UserError, match=r"nothing was loaded: it is damaged, or was changed since .*write it again\.$"):
        zoo.load(NAME, path)


def test_the_digests_are_over_the_content_and_not_over_where_it_lies(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    arrays = read(path)
    safetensors.numpy.save_file(dict(reversed(arrays.items())), path, metadata)
    assert read(path).keys() == ARRAYS.keys()
    for changed in (
        arrays | {"step": np.array(4, np.int32)},
        arrays | {"mask": np.ones(3, np.uint8)},
        arrays | {"more": np.zeros(1)},
        {key: array for key, array in arrays.items() if key != "nothing"},
    ):
        safetensors.numpy.save_file(changed, path, metadata)
        with pytest.raises(UserError, match="changed since it was written"):
            read(path)
    safetensors.numpy.save_file(arrays, path, metadata | {"author": "nobody"})
    with pytest.raises(UserError, match="changed since it was written"):
        read_metadata(path)


@pytest.mark.parametrize("model", ["my run 3", "resnet50", ""])
def test_what_others_write_under_our_words_means_nothing(tmp_path, model):
    path, state = tmp_path / "w.safetensors", state_dict_of()
    safetensors.numpy.save_file(state, path, {"model": model, "preprocessing": "none", "layout": "keras"})
    assert read_metadata(path) == {}
    assert_equal_trees(zoo.load(NAME, path), zoo.from_torch(NAME, state))
    zoo.weights.convert(NAME, path, tmp_path / "ours.safetensors")
    assert read_metadata(tmp_path / "ours.safetensors") == {"model": NAME, "layout": "zoo"}


def test_a_header_with_the_words_of_ours_and_no_arrays_is_refused(tmp_path):
    text = json.dumps({"__metadata__": {"zoo_arrays_sha256": "0"}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    for reader in (read, read_metadata):
        with pytest.raises(UserError, match="changed since it was written"):
            reader(tmp_path / "w.safetensors")
