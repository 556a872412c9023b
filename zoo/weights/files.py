"""Files of weights: `save` writes .safetensors, `read` reads .safetensors, .npz and .pth.

A file appears whole or not at all, and is believed only after every check: a damaged or hostile one is a `ValueError`
with one line, and no code in it is ever run (`.pth` goes through torch's own restricted unpickler, or not at all).
"""

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo.weights.key_maps import ZOO, Variables
from zoo.weights.state_dict import to_torch

EXPANSION = 100  # trained weights hardly compress: an .npz that grows more than this is a bomb


def save(
    path: str | Path,
    variables: Variables,
    *,
    name: str,
    layout: str = ZOO,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the variables of the model `name` as a .safetensors file, in our layout or in torch's.

    Args:
      path: where; a file that is there is replaced in one step.
      variables: `params` and `batch_stats`.
      name: the model; the file remembers it, and `load` refuses it for another.
      layout: `"zoo"`, or one of `zoo.weights.layouts(name)`.
      metadata: more to remember, e.g. `{"preprocessing": ...}`.

    Raises:
      UserError: another suffix, or an unknown layout.
    """
    import safetensors.numpy

    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: weights are written as .safetensors")
    arrays = to_torch(name, variables, layout=layout)
    content = safetensors.numpy.save(arrays, {"model": name, "layout": layout, **(metadata or {})})
    write_whole(path, lambda part: part.write_bytes(content))


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name.

    Raises:
      UserError: damaged, hostile, or of an unknown suffix.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Mapping[str, Any]]]
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz, ".pth": _read_pth, ".pt": _read_pth}
    if path.suffix not in readers:
        raise UserError(f"{path}: weights are read from {', '.join(readers)}")
    return dict(_read_guarded(path, readers[path.suffix]))


def read_metadata(path: str | Path) -> dict[str, str]:
    """What `save` noted beside the arrays; other files have nothing."""
    import safetensors

    def read_header(path: Path) -> dict[str, str]:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}

    return _read_guarded(Path(path), read_header) if Path(path).suffix == ".safetensors" else {}


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls `write` with a name beside `path`, then moves the result into its place in one step."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _read_guarded(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except (ModuleNotFoundError, FileNotFoundError):
        raise
    except Exception as error:  # a hostile file can make its parser raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} cannot be read, nothing was loaded: {reason.rstrip('.')}") from error


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict


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
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state) if isinstance(state, dict) else state  # a training script's checkpoint
    if not (isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values())):
        raise ValueError("it must hold a state dict {name: tensor}")
    return {key.removeprefix("module."): value for key, value in state.items()}  # DataParallel's prefix
