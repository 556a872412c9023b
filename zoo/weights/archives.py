"""Zip archives of strangers, opened after a look at what they would unpack to."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

EXPANSION = 100  # trained weights hardly compress: an archive that grows more than this is a bomb


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, if all its members together are of a believable size.

    Raises:
      ValueError: it is a bomb.
      zipfile.BadZipFile: it is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > EXPANSION * path.stat().st_size:
            raise ValueError(f"it unpacks to {unpacked} bytes, more than {EXPANSION} times its size")
        yield archive


def list_arrays(path: Path) -> list[str]:
    """The names of the arrays in an .npz file, none of which is read; nothing of a damaged one."""
    try:
        with open_archive(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (ValueError, OSError, zipfile.BadZipFile):  # who reads the file says what is wrong
        return []
