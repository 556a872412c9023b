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


@pytest.fixture
def damaged(tmp_path):
    """Gives a copy of a checkpoint with a byte of one of its files changed, one after the other, and where."""

    def damage(name, file, step=1):
        content = (FOLDER / file).read_bytes()
        for other in (NEW, OLD, DATA):
            shutil.copy(FOLDER / other, tmp_path)
        for position in range(0, len(content), step):
            changed = bytes([content[position] ^ 0x91])
            (tmp_path / file).write_bytes(content[:position] + changed + content[position + 1 :])
            yield tmp_path / name, position

    return damage


@pytest.mark.parametrize(("name", "file"), [(NEW, NEW), (OLD, OLD), (NEW, DATA)])
def test_a_damaged_byte_is_an_error_or_belongs_to_nothing_that_is_read(name, file, damaged):
    whole, unnoticed = read(FOLDER / name), []
    for path, position in damaged(name, file):
        try:
            found = read(path)
        except UserError:
            continue
        assert_equal_arrays(found, whole)
        unnoticed.append(position)
    size = (FOLDER / file).stat().st_size
    if file == DATA:  # its last eight bytes are the counter of steps
        assert unnoticed == list(range(size - 8, size))
    else:  # before the index a block about other things, which is empty; and what fills up the footer
        assert unnoticed == [*range(size - 81, size - 68), *range(size - 42, size - 8)]


@pytest.mark.parametrize("name", [NEW, OLD])
def test_of_a_hostile_file_the_checksums_may_be_right_and_it_is_an_error_or_other_numbers(name, damaged, monkeypatch):
    monkeypatch.setattr("zoo.weights.tensorflow_files.is_intact", lambda content, stored: True)
    messages = []
    for path, position in damaged(name, name, 3):
        if position < (FOLDER / name).stat().st_size - 8:  # the last eight bytes make it a table
            try:
                read(path)
            except UserError as error:
                messages.append(str(error))
    assert len(messages) > (FOLDER / name).stat().st_size / 12
    assert all(UNREAD in message for message in messages)


def test_a_changed_number_is_told_by_its_name(tmp_path):
    for file in (NEW, DATA):
        shutil.copy(FOLDER / file, tmp_path)
    content = bytearray((tmp_path / DATA).read_bytes())
    content[content.index(arrays()["Net/double"].tobytes()) + 3] ^= 1
    (tmp_path / DATA).write_bytes(content)
    with pytest.raises(UserError, match=rf"Net/double is damaged in {DATA} \(its checksum says so\)"):
        read(tmp_path / NEW)


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
