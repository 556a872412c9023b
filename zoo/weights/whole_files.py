"""Files that appear whole or not at all, and what to do where they cannot be written."""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls `write` with a name beside `path`, then moves the result into its place in one step.

    It is on the disk before the step, and the step before the return: a loss of power leaves the old file or the new.

    Raises:
      OSError: it cannot be written; the message says why and what to do. What was there is there.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            write(part)
            _flush_to_disk(part)
            part.replace(path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        with contextlib.suppress(OSError):  # not every system can
            _flush_to_disk(path.parent)
    except OSError as error:
        raise explain_failure(error, path) from error


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain_failure(error: OSError, path: Path) -> OSError:
    """An error of the same type and number that says in words what to do."""
    remedies = {
        errno.ENOSPC: "the disk is full, make room or choose another place",
        errno.EDQUOT: "your share of the disk is used up, make room or choose another place",
        errno.EROFS: "the disk is read-only, choose another place",
        errno.EACCES: "you may not write there, choose another place",
        errno.EPERM: "you may not write there, choose another place",
        errno.ENOENT: f"there is no folder {path.parent}, make it first",
        errno.ENOTDIR: f"{path.parent} is not a folder, choose another place",
        errno.EISDIR: "it is a folder, choose another name",
        errno.ENAMETOOLONG: "its name is too long, choose a shorter one",
    }
    reason = remedies.get(error.errno or 0) or error.strerror or str(error)
    explained = type(error)(f"{path} was not written: {reason}.")
    explained.errno = error.errno
    return explained
