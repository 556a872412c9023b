"""Files appear whole or not at all, and what to do is said where they cannot be written."""

import errno
import os
from pathlib import Path

import pytest

from tests.weights.test_state_dict import NAME, state_dict_of
from zoo import weights
from zoo.weights import files
from zoo.weights.whole_files import write_whole


@pytest.fixture(scope="module")
def variables():
    return weights.from_torch(NAME, state_dict_of())


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, variables):
    path = tmp_path / "w.safetensors"
    files.save(path, variables, name=NAME)
    before = path.read_bytes()

    def full(part):
        part.write_bytes(b"half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_whole(path, full)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full, make room or choose another place"),
        (errno.EDQUOT, "your share of the disk is used up"),
        (errno.EROFS, "the disk is read-only, choose another place"),
        (errno.EACCES, "you may not write there, choose another place"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("fails", ["open", "fsync"])
def test_a_failure_to_write_says_what_to_do_and_leaves_what_was(tmp_path, variables, monkeypatch, number, words, fails):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "open") if fails == "open" else (os, "fsync")), fail)
        with pytest.raises(OSError, match=rf"^\S+w\.safetensors was not written: {words}") as error:
            files.save(path, variables, name=NAME)
    assert type(error.value) is type(OSError(number, ""))
    assert error.value.errno == number
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("absent/w.safetensors", r"there is no folder \S+absent, make it first"),
        ("file/w.safetensors", r"\S+file is not a folder, choose another place"),
        ("folder.safetensors", "it is a folder, choose another name"),
        (f"{'n' * 300}.safetensors", "its name is too long, choose a shorter one"),
    ],
)
def test_an_impossible_place_says_what_to_do(tmp_path, variables, place, words):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.safetensors").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match=rf"was not written: {words}\.$"):
        files.save(tmp_path / place, variables, name=NAME)
    assert sorted(tmp_path.rglob("*")) == before
