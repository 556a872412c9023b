"""One training per folder: a file that the operating system locks for as long as its owner lives."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import UserError


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds the lock at `path`, in a folder that it makes. Death in whatever form releases it; a file alone is none.

    Raises:
      UserError: another process, or another thread, holds it; the message says which, where and for how long. Or the
        folder cannot be made or written.
    """
    descriptor = _take(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def check_free(path: Path) -> None:
    """Raises `UserError` if somebody holds the lock at `path`."""
    if path.exists():
        os.close(_open(path))


def _take(path: Path) -> int:
    descriptor = _open(path)
    while not (path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())):
        os.close(descriptor)  # its owner finished, and removed it between our opening and our locking
        descriptor = _open(path)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    except OSError as error:  # the disk is full
        path.unlink()
        os.close(descriptor)
        raise _refuse(path, error) from error
    return descriptor


def _open(path: Path) -> int:
    """The file, opened and locked."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _refuse(path, error) from error
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ModuleNotFoundError:  # a system without such locks
        return descriptor
    except BlockingIOError:
        owner = _describe_owner(os.pread(descriptor, 1000, 0))
        os.close(descriptor)
        remedy = "wait until it is finished, stop it, or pass another folder"
        raise UserError(f"{path.parent} is being trained by {owner}", remedy, code="run-in-use") from None
    return descriptor


def _refuse(path: Path, error: OSError) -> UserError:
    remedy = "pass a folder in which you may write, on a disk that has room"
    return UserError(f"{path.parent}: {error.strerror or error}", remedy, code="not-writable")


def _describe_owner(content: bytes) -> str:
    try:
        owner = json.loads(content)
        minutes = max(time.time() - owner["since"], 0) / 60
        age = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
        return f"process {owner['pid']} on {owner['host']}, for {age} now"
    except (ValueError, TypeError, KeyError):  # taken, but not signed yet
        return "another process"
