"""One training per folder: what holds it, what it says, and that death releases it."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zoo.errors import UserError
from zoo.training import lock

HOLD = """
import pathlib, sys, time
from zoo.training import lock
with lock.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_held_lock_says_who_holds_it_and_kill_9_releases_it(tmp_path, holder):
    path, host = tmp_path / "lock", os.uname().nodename
    message = rf"{tmp_path} is being trained by process {holder.pid} on {host}, for 0 minutes now: wait"
    for attempt in (lambda: lock.hold(path).__enter__(), lambda: lock.check_free(path)):
        with pytest.raises(UserError, match=message):
            attempt()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert path.exists()
    lock.check_free(path)
    with lock.hold(path):
        pass
    assert not path.exists()


def test_a_lock_excludes_another_thread_of_the_process_as_well(tmp_path):
    path, found = tmp_path / "not" / "made" / "yet" / "lock", []

    def attempt():
        try:
            with lock.hold(path):
                found.append("held twice")
        except UserError as error:
            found.append(str(error))

    with lock.hold(path):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} on" in found[0]


def test_a_lock_that_its_owner_removes_while_another_opens_it_is_taken_anew(tmp_path, monkeypatch):
    path, opened = tmp_path / "lock", []
    open_ = lock._open

    def open_late(path):
        descriptor = open_(path)
        if not opened:
            path.unlink()  # its owner finished in between
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(lock, "_open", open_late)
    with lock.hold(path):
        assert len(opened) == 2
        monkeypatch.undo()
        with pytest.raises(UserError, match="is being trained by"):
            lock.check_free(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid": 1, "host": "a", "since": "b"}'])
def test_a_lock_not_yet_signed_is_held_all_the_same(tmp_path, content):
    with lock.hold(tmp_path / "lock"):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(UserError, match="is being trained by another process"):
            lock.check_free(tmp_path / "lock")


def test_a_folder_that_cannot_be_made_or_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "letter").write_text("dear")
    with (
        pytest.raises(UserError, match=r"letter/run: Not a directory: pass a folder in which you may write"),
        lock.hold(tmp_path / "letter" / "run" / "lock"),
    ):
        pass

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="run: Permission denied: pass"), lock.hold(tmp_path / "run" / "lock"):
        pass


def test_a_disk_without_room_for_the_lock_is_one_line_and_nothing_is_held(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(UserError, match="No space left on device: pass"), lock.hold(tmp_path / "lock"):
            pass
    assert not list(tmp_path.iterdir())
    with lock.hold(tmp_path / "lock"):
        pass
