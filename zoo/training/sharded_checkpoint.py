"""A checkpoint whose arrays lie in parts with several processes: a folder of Orbax's beside a signed list of its files.

Orbax has each process write the parts that it has, and read those that it needs; no host holds the whole. That bytes
have changed it does not notice: the list has the digest of every file. It is written last, and a folder without one is
a checkpoint that was not finished.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from zoo.errors import UserError
from zoo.training.signed_json import sign, verify
from zoo.weights.files import UNREADABLE
from zoo.weights.whole_files import write_whole

LIST = ".json"

if TYPE_CHECKING:
    from orbax.checkpoint import AsyncCheckpointer


class ShardWriter:
    """Writes parts of arrays, one tree after another. All processes call it together."""

    def __init__(self) -> None:
        self._orbax = _make_checkpointer()

    def begin(self, path: Path, arrays: Mapping[str, jax.Array]) -> Callable[[], None]:
        """Copies the parts of this process and starts to write them; the call of what it returns waits for all parts.

        Args:
          path: of the list, which `write_list` writes afterwards.
          arrays: the same names in all processes.
        """
        import orbax.checkpoint as ocp

        path.unlink(missing_ok=True)  # a damaged one, in whose place this one comes
        self._orbax.save(folder_of(path).absolute(), args=ocp.args.PyTreeSave(dict(arrays)), force=True)
        return self._orbax.wait_until_finished

    def close(self) -> None:
        self._orbax.close()


def write_list(path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes the list of a folder that is complete, with what is to be remembered of it."""
    folder = folder_of(path)
    files = {str(one.relative_to(folder)): _digest(one) for one in sorted(folder.rglob("*")) if one.is_file()}
    text = json.dumps(sign({**metadata, "files": files}), allow_nan=False)
    write_whole(path, lambda part: part.write_text(text))


def read_list(path: Path) -> dict[str, Any]:
    """What is remembered of a checkpoint.

    Raises:
      UserError: the list is damaged (its code is "unreadable").
    """
    try:
        values = verify(path.read_text(encoding="utf-8"))
        if not isinstance(values.get("files"), dict):
            raise TypeError("it names no files")
    except (UserError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read: {error}", code=UNREADABLE) from error
    return values


def check_files(path: Path) -> None:
    """Raises `UserError` ("unreadable") where a file of the folder is not as its list says, in all processes alike."""
    wrong = _find_wrong(path) if jax.process_index() == 0 else 0
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        wrong = int(multihost_utils.broadcast_one_to_all(np.int32(wrong)))
    if wrong:
        raise UserError(f"{path} cannot be read: {wrong} files beside it are damaged or lost", code=UNREADABLE)


def read_arrays(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those arrays that are wanted: on the devices where these lie, or on the host where they are mere shapes.

    All processes call this together.
    """
    import orbax.checkpoint as ocp

    orbax = _make_checkpointer()
    try:
        places = ocp.checkpoint_utils.construct_restore_args(dict(wanted))
        request = ocp.args.PyTreeRestore(dict(wanted), restore_args=places, partial_restore=True)
        return dict(orbax.restore(folder_of(path).absolute(), args=request))
    finally:
        orbax.close()


def folder_of(path: Path) -> Path:
    """Where Orbax's files of a checkpoint lie."""
    return path.with_suffix("")


def _make_checkpointer() -> "AsyncCheckpointer":
    import orbax.checkpoint as ocp

    return ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())


def _find_wrong(path: Path) -> int:
    """How many files of the list are not there as they were written."""
    files = {folder_of(path) / name: digest for name, digest in read_list(path)["files"].items()}
    return sum(not one.is_file() or _digest(one) != digest for one, digest in files.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
