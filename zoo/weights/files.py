"""Files of weights: `save` writes .safetensors, `read` reads .safetensors, .npz and .pth.

A file appears whole or not at all, and is believed only after every check: a damaged or hostile one is a `UserError`
with one line, and no code in it is ever run (`.pth` goes through torch's own restricted unpickler, or not at all).

Two digests are noted in what is written here, and checked where they are found: one over the names and bytes of the
arrays, one over the header (names, types, shapes, metadata and the first digest), so that the metadata can be believed
without reading the arrays. Files of others have neither and are welcome.
"""

import contextlib
import errno
import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo.models.net import Net
from zoo.weights.inspection import check_variables
from zoo.weights.key_maps import ZOO, Variables
from zoo.weights.state_dict import to_torch
from zoo.weights.wording import escape

ARRAYS_DIGEST, HEADER_DIGEST = "zoo_arrays_sha256", "zoo_header_sha256"  # keys of the metadata
PREPROCESSING = "preprocessing"  # where the metadata say how pictures are prepared
CHANGED = "it is damaged, or was changed since it was written (its digest says so); fetch or write it again"
EXPANSION = 100  # trained weights hardly compress: an .npz that grows more than this is a bomb


def save(
    path: str | Path,
    variables: Variables,
    *,
    name: str,
    model: Net | None = None,
    layout: str = ZOO,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the variables of the model `name` as a .safetensors file, in our layout or in torch's.

    Args:
      path: where; a file that is there is replaced in one step.
      variables: `params` and `batch_stats`.
      name: the model; the file remembers it, and `load` refuses it for another.
      model: what the variables belong to, where it is not `zoo.create(name)` with some number of classes.
      layout: `"zoo"`, or one of `zoo.weights.layouts(name)`.
      metadata: more to remember, e.g. `{"preprocessing": ...}`.

    Raises:
      UserError: another suffix, an unknown layout, or variables of another model.
      OSError: it cannot be written; the message says why and what to do.
    """
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: weights are written as .safetensors")
    check_variables(name, variables, model)
    arrays = to_torch(name, variables, layout=layout)
    write_arrays(path, arrays, {"model": name, "layout": layout, **(metadata or {})})


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a .safetensors file with its digests: whole or not at all, equal content as equal bytes.

    Raises:
      OSError: it cannot be written; the message says why and what to do.
    """
    import safetensors.numpy

    # As they lie in the file: safetensors copies memory, whatever its strides.
    arrays = {k: np.asarray(v, v.dtype.newbyteorder("<"), order="C") for k, v in arrays.items()}
    noted = {**metadata, ARRAYS_DIGEST: _digest_arrays(arrays), HEADER_DIGEST: ""}
    content = memoryview(safetensors.numpy.save(arrays, noted))
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8:start]))
    header["__metadata__"][HEADER_DIGEST] = _digest_header(header)
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            for piece in (len(text).to_bytes(8, "little"), text, content[start:]):
                file.write(piece)

    write_whole(Path(path).expanduser(), write)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name.

    Raises:
      UserError: damaged, hostile, or of an unknown suffix.
    """
    path = Path(path).expanduser()
    readers: dict[str, Callable[[Path], Mapping[str, Any]]]
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz, ".pth": _read_pth, ".pt": _read_pth}
    if path.suffix not in readers:
        raise UserError(f"{path}: weights are read from {', '.join(readers)}")
    return dict(_read_guarded(path, readers[path.suffix]))


def read_metadata(path: str | Path) -> dict[str, str]:
    """What `save` or `write_arrays` noted beside the arrays.

    Files of others have nothing: what they write under our words, `{"model": "my run 3"}`, may mean anything.

    Raises:
      UserError: damaged, or changed since it was written here.
    """
    path = Path(path).expanduser()
    metadata = _read_guarded(path, _read_header) if path.suffix == ".safetensors" else {}
    return {k: v for k, v in metadata.items() if k not in (ARRAYS_DIGEST, HEADER_DIGEST)}


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
        raise _explain(error, path) from error


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, path: Path) -> OSError:
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


def _digest_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key, array in sorted(arrays.items()):
        digest.update(json.dumps([key, array.nbytes]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _digest_header(header: Mapping[str, Any]) -> str:
    """Of a safetensors header, but for where the arrays lie in the file and for this digest itself."""
    metadata = {k: v for k, v in header["__metadata__"].items() if k != HEADER_DIGEST}
    arrays = {k: (v["dtype"], v["shape"]) for k, v in header.items() if k != "__metadata__"}
    return hashlib.sha256(json.dumps([metadata, arrays], sort_keys=True).encode()).hexdigest()


def _read_guarded(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except (ModuleNotFoundError, FileNotFoundError):
        raise
    except Exception as error:  # a hostile file can make its parser raise anything
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} cannot be read, nothing was loaded: {escape(reason).rstrip('.')}") from error


def _read_header(path: Path) -> dict[str, str]:
    """The metadata of a file that was written here, its digest being right; of others nothing."""
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:  # refuses what is no header
        metadata: dict[str, str] = file.metadata() or {}
    if HEADER_DIGEST not in metadata and ARRAYS_DIGEST not in metadata:  # one of the two words may be damaged
        return {}
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    if metadata.get(HEADER_DIGEST) != _digest_header(header):
        raise ValueError(CHANGED)
    return metadata


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    import safetensors

    digest = _read_header(path).get(ARRAYS_DIGEST)
    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    if digest and digest != _digest_arrays(arrays):
        raise ValueError(CHANGED)
    return arrays


def _read_npz(path: Path) -> Mapping[str, Any]:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > EXPANSION * path.stat().st_size:
        raise ValueError(f"it unpacks to {unpacked} bytes, more than {EXPANSION} times its size")
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if strange := [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]:  # numpy gives bytes
        raise ValueError(f"{strange[0]} is not an array")
    return arrays


def _read_pth(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path} is read by torch alone: `pip install torch`, or where torch is installed write"
            " safetensors.torch.save_file(state_dict, 'weights.safetensors')."
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text is advice to run the code
        raise ValueError("it is not a state dict of tensors, and no code in it is run") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state  # a training script's checkpoint
    if not isinstance(state, dict) or not all(isinstance(k, str) for k in state):
        raise ValueError("it must hold a state dict {name: tensor}")
    if not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError("it must hold a state dict {name: tensor}")
    return state
