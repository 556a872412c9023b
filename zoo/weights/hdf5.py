"""Files of weights that Keras writes: `.h5` of Keras 2 and 3, `.weights.h5`, and `.keras`, a zip around one.

Only what lies in the file itself is read: HDF5 can point to other files, and unpack to any size; both are refused.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from zoo.weights.archives import EXPANSION, open_archive

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
INSIDE = "model.weights.h5"  # of a .keras
# What Keras 3 numbers in the place of a name.
VARIABLES: dict[str, tuple[str, ...]] = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel"),
}
LEAF = r"(?:^|_)((?:depthwise_|pointwise_)?kernel|bias|gamma|beta|moving_mean|moving_variance|W|b)(?:_\d+)?(?::0)?$"
KERAS_1 = {"W": "kernel", "b": "bias"}


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """`{"conv1_conv/kernel": array}`: every floating array by its layer and by Keras's word for it.

    Raises:
      ValueError: no such file of Keras's, or one that points outside itself or unpacks to more than it should.
      ModuleNotFoundError: h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{path} is read by h5py: `pip install 'jax-cnn-zoo[keras]'`.") from None
    size = path.stat().st_size
    content: Path | io.BytesIO = path
    if path.suffix == ".keras":
        with open_archive(path) as archive:
            if INSIDE not in archive.namelist():
                raise ValueError(f"there is no {INSIDE} in it")
            content = io.BytesIO(archive.read(INSIDE))
    with h5py.File(content, "r") as file:
        datasets = [*_walk(file, (), "", set())]
        _check_size(sum(data.nbytes for _, _, data in datasets), size)
        arrays: dict[str, np.ndarray] = {}
        for parts, layer, data in datasets:
            if parts[0] not in ("optimizer", "optimizer_weights") and jnp.issubdtype(data.dtype, jnp.floating):
                key = _name(parts, layer, data.parent)
                if key in arrays:
                    raise ValueError(f"two arrays in it are {key}")
                arrays[key] = data[()]
    return arrays


def _walk(group: Any, parts: tuple[str, ...], layer: str, seen: set[int]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """The path of each dataset, the name that Keras 3 notes of its layer, and the dataset."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} points elsewhere, and only what lies in the file is read")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:  # a few groups that hold one another would be walked for ever
            raise ValueError(f"{name} is in it twice")
        seen.add(address)
        if isinstance(item, h5py.Group):
            noted = item.attrs.get("name", layer)
            noted = noted.decode() if isinstance(noted, bytes) else str(noted)
            yield from _walk(item, (*parts, name), noted, seen)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"{name} lies in another file, and only what lies in the file is read")
            yield (*parts, name), layer, item


def _name(parts: tuple[str, ...], layer: str, group: Any) -> str:
    """The key of a dataset: `layers/conv2d_3/vars/0` in Keras 3, `conv1/conv1/kernel:0` or `conv1/conv1_W_1:0`."""
    if len(parts) > 2 and parts[-2] == "vars":
        if not layer:
            raise ValueError("it does not name its layers: load it in Keras and save it again as .h5")
        kind = re.sub(r"_\d+$", "", parts[-3])
        words = VARIABLES.get(kind, ("kernel", "bias"))
        words = words[len(words) - len(group) :] if kind in VARIABLES else words  # a normalisation without gamma
        number = int(parts[-1]) if parts[-1].isdigit() else len(words)
        return f"{layer}/{words[number] if number < len(words) else parts[-1]}"
    parts = parts[1:] if parts[0] == "model_weights" else parts
    leaf = re.search(LEAF, parts[-1])
    word = KERAS_1.get(leaf[1], leaf[1]) if leaf else parts[-1]
    return f"{parts[-2] if len(parts) > 2 else parts[0]}/{word}"


def _check_size(unpacked: int, size: int) -> None:
    if unpacked > EXPANSION * size:
        raise ValueError(f"it unpacks to {unpacked} bytes, more than {EXPANSION} times its size")
