"""Files of weights: `save` writes .safetensors, `load` reads .safetensors, .npz, .pth and the Hugging Face hub.

A file appears whole or not at all, and is believed only after every check: a damaged or hostile one is a `ValueError`
with one line, and no code in it is ever run (`.pth` goes through torch's own restricted unpickler, or not at all).
"""

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.models import registry
from zoo.weights.key_maps import ZOO, from_torch, to_torch

HUB = "hf:"
EXPANSION = 100  # trained weights hardly compress: an .npz that grows more than this is a bomb


def save(
    path: str | Path,
    variables: Mapping[str, Any],
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
      metadata: more to remember, e.g. `{"preprocessing": ...}` from `zoo.preprocess.described`.

    Raises:
      ValueError: another suffix, or an unknown layout.
    """
    import safetensors.numpy

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are written as .safetensors.")
    arrays = to_torch(name, variables, layout=layout)
    content = safetensors.numpy.save(arrays, {"model": name, "layout": layout, **(metadata or {})})
    write_whole(path, lambda part: part.write_bytes(content))


def load(name: str, source: str | Path | None = None, **options: Any) -> dict[str, Any]:
    """Variables of `zoo.create(name)` from a file of weights, in our layout or in torch's.

    Args:
      name: the model.
      source: a .safetensors, .npz or .pth file; `"hf:org/name"`, the `model.safetensors` of that repository of the
        Hugging Face hub (kept in its cache; `HF_HUB_OFFLINE=1` looks nowhere else); or None for the published
        weights of `zoo.variant(name)`.
      **options: those of `zoo.from_torch`: `new`, `grayscale`, `num_classes`, ...

    Raises:
      ValueError: the file is damaged, or its arrays are not those of the model; nothing is loaded.
      FileNotFoundError: there is no such file, or it cannot be had from the hub.
      ModuleNotFoundError: torch or huggingface_hub is needed and not installed.
    """
    path = located(name, source)
    made_for = metadata(path).get("model", name)
    if made_for != name:
        raise ValueError(f"{path} holds the weights of {made_for}, not of {name}.")
    return from_torch(name, read(path), **options)


def located(name: str, source: str | Path | None = None) -> Path:
    """The file that `load` reads, fetched from the hub if it is there."""
    weights = registry.variant(name).weights
    if source is None and weights is None:
        raise ValueError(f"{name} has no published weights: pass a file, zoo.load({name!r}, 'weights.safetensors').")
    source = weights.source if source is None and weights else str(source)
    path = _from_hub(source.removeprefix(HUB)) if source.startswith(HUB) else Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}.")
    return path


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name.

    Raises:
      ValueError: damaged, hostile, or of an unknown kind.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Mapping[str, Any]]]
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz, ".pth": _read_pth, ".pt": _read_pth}
    if path.suffix not in readers:
        raise ValueError(f"{path}: weights are read from {', '.join(readers)}.")
    return dict(_guarded(path, readers[path.suffix]))


def metadata(path: str | Path) -> dict[str, str]:
    """What `save` noted down beside the arrays; other files have nothing."""
    import safetensors

    def noted(path: Path) -> dict[str, str]:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}

    return _guarded(Path(path), noted) if Path(path).suffix == ".safetensors" else {}


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls `write` with a name beside `path`, then moves the result into its place in one step."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _guarded(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except (ModuleNotFoundError, FileNotFoundError):
        raise
    except Exception as error:  # a hostile file can make its parser raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read, nothing was loaded: {reason}") from error


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
        raise ValueError(f"{strange[0]} is no array")
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
        raise ValueError("it holds no state dict {name: tensor}")
    return {key.removeprefix("module."): value for key, value in state.items()}  # DataParallel's prefix


def _from_hub(repository: str) -> Path:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{HUB}{repository} is fetched by huggingface_hub: `pip install 'jax-cnn-zoo[hub]'`."
        ) from None
    try:
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
    except (OSError, ValueError) as error:  # not there, no network, offline and not in the cache, an impossible name
        reason = str(error).partition("\n")[0]
        raise FileNotFoundError(f"no model.safetensors from the hub's {repository!r}: {reason}") from error
