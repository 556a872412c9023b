"""Checkpoints that TensorFlow wrote, read without it; and what is cut off, damaged or made up."""

import shutil

import numpy as np
import pytest

from tests.support.tensorflow_files import FOLDER, arrays
from zoo.errors import UserError
from zoo.weights import files, read
from zoo.weights.loading import find_weights

NEW, OLD, DATA = "new.ckpt.index", "old.ckpt", "new.ckpt.data-00000-of-00001"
UNREAD = "cannot be read, nothing was loaded: "


def assert_equal_arrays(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        np.testing.assert_array_equal(ours[key], array, err_msg=key, strict=True)


def test_the_floating_variables_of_both_formats_are_read():
    written = arrays()
    assert_equal_arrays(read(FOLDER / NEW), written)
    assert_equal_arrays(read(FOLDER / OLD), {k: v for k, v in written.items() if v.dtype.itemsize > 2})


def test_a_checkpoint_goes_by_what_its_files_names_begin_with():
    assert find_weights("inception_v3", FOLDER / "new.ckpt") == FOLDER / NEW
    assert files.list_parts(FOLDER / OLD) == []


@pytest.mark.parametrize("name", [NEW, OLD])
def test_a_file_cut_off_anywhere_is_one_line(name, tmp_path):
    content = (FOLDER / name).read_bytes()
    shutil.copy(FOLDER / DATA, tmp_path)
    path = tmp_path / name
    for size in (0, 1, 8, 48, *range(64, len(content), 7), len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=UNREAD):
            read(path)
        path.write_bytes(content[-size:] if size else b"")  # and at its beginning
        with pytest.raises(UserError, match=UNREAD):
            read(path)


@pytest.mark.parametrize("name", [NEW, OLD])
def test_a_damaged_byte_gives_an_error_of_the_reader_or_other_numbers_and_nothing_else(name, tmp_path):
    content = (FOLDER / name).read_bytes()
    shutil.copy(FOLDER / DATA, tmp_path)
    path = tmp_path / name
    messages = []
    for position in range(len(content) - 8):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x91]) + content[position + 1 :])
        try:
            read(path)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > len(content) / 4
    assert all(UNREAD in message for message in messages)


def test_data_that_are_missing_or_too_short_are_said(tmp_path):
    shutil.copy(FOLDER / NEW, tmp_path)
    with pytest.raises(UserError, match=rf"{DATA} is not beside it"):
        read(tmp_path / NEW)
    (tmp_path / DATA).write_bytes((FOLDER / DATA).read_bytes()[:-9])  # the last eight are the counter
    with pytest.raises(UserError, match=rf"is not in {DATA} as it says"):
        read(tmp_path / NEW)


def test_a_table_whose_blocks_hold_one_another_or_reach_beyond_it_is_refused(tmp_path):
    content = bytearray((FOLDER / OLD).read_bytes())
    content[-48:-8] = b"\xff" * 9 + b"\x01" + bytes(30)
    (tmp_path / OLD).write_bytes(content)
    with pytest.raises(UserError, match=UNREAD):
        read(tmp_path / OLD)
