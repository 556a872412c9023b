"""Files of weights: `save` writes .safetensors, `read` that, .npz, and what torch, Keras, TensorFlow and Caffe write.

A file appears whole or not at all, and is believed only after every check: a damaged or hostile one is a `UserError`
with one line, and no code in it is ever run.

Two digests are noted in what is written here, and checked where they are found: one over the names and bytes of the
arrays, one over the header (names, types, shapes, metadata and the first digest), so that the metadata can be believed
without reading the arrays. Files of others have neither and are welcome.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import UserError
from zoo.models.net import Net
from zoo.weights.archives import open_archive
from zoo.weights.caffe_files import CAFFE_SUFFIX, read_caffemodel
from zoo.weights.checkpoints import read_parts, read_state_dict
from zoo.weights.hdf5 import KERAS_SUFFIXES, read_hdf5
from zoo.weights.inspection import check_variables
from zoo.weights.key_maps import ZOO, Variables
from zoo.weights.state_dict import arrange
from zoo.weights.tensorflow_files import INDEX_SUFFIX, is_table, read_tensorflow
from zoo.weights.torch_files import SUFFIXES
from zoo.weights.whole_files import write_whole
from zoo.weights.wording import escape, list_names

ARRAYS_DIGEST, HEADER_DIGEST = "zoo_arrays_sha256", "zoo_header_sha256"  # keys of the metadata
PREPROCESSING = "preprocessing"  # where the metadata say how pictures are prepared
VARIATION = "variation"  # where they say whose net it is, if not quite the model: "keras"
UNREADABLE = "unreadable"  # the code of the error of a damaged or hostile file
LACKING = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # of the machine, whatever the file holds
CHANGED = "it is damaged, or was changed since it was written (its digest says so); fetch or write it again"
INDEX = ".safetensors.index.json"  # ends the name of the file that says in which of several files an array is


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
    arrays = arrange(name, variables, layout)
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

    Args:
      path: .safetensors, also several with an index (`model.safetensors.index.json`); .npz; what Keras wrote
        (.h5, .keras), TensorFlow (.ckpt of before 2017, .ckpt.index) or Caffe (.caffemodel); or what torch.save wrote,
        of which `checkpoint.pth#model_ema` is the state dict under that key.

    Raises:
      UserError: damaged, hostile, or of an unknown suffix.
    """
    path, part = split_part(path)
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".safetensors": _read_safetensors,
        ".npz": _read_npz,
        **dict.fromkeys(SUFFIXES, partial(read_state_dict, part=part)),
        **dict.fromkeys(KERAS_SUFFIXES, read_hdf5),
        INDEX: _read_shards,
        INDEX_SUFFIX: read_tensorflow,
        CAFFE_SUFFIX: read_caffemodel,
    }
    suffix = _find_suffix(path)
    if suffix not in readers:
        raise UserError(f"{path}: weights are read from {', '.join(readers)}")
    if part is not None and suffix not in SUFFIXES:
        raise UserError(f"{path} has no parts", f"leave out #{escape(part)}")
    return dict(_read_guarded(path, readers[suffix]))


def _find_suffix(path: Path) -> str:
    """What tells the format: the end of the name, but where TensorFlow's is torch's too."""
    if path.name.endswith(INDEX):
        return INDEX
    return INDEX_SUFFIX if path.suffix == ".ckpt" and path.is_file() and is_table(path) else path.suffix


def split_part(path: str | Path) -> tuple[Path, str | None]:
    """The file that `"checkpoint.pth#model_ema"` means, and the key of the part of it, if one is named."""
    path = Path(path).expanduser()
    name, _, part = path.name.rpartition("#")
    return (path, None) if not name or path.exists() else (path.with_name(name), part)


def list_parts(path: str | Path) -> list[str]:
    """The keys of a checkpoint that hold state dicts, that of the one which `read` takes first; none of other files.

    Raises:
      UserError: damaged or hostile.
    """
    path, part = split_part(path)
    parts: list[str] = _read_guarded(path, read_parts) if _find_suffix(path) in SUFFIXES else []
    return sorted(parts, key=lambda name: name != part)


def read_metadata(path: str | Path) -> dict[str, str]:
    """What `save` or `write_arrays` noted beside the arrays.

    Files of others have nothing: what they write under our words, `{"model": "my run 3"}`, may mean anything.

    Raises:
      UserError: damaged, or changed since it was written here.
    """
    path, _ = split_part(path)
    metadata = _read_guarded(path, _read_header) if path.suffix == ".safetensors" else {}
    return {k: v for k, v in metadata.items() if k not in (ARRAYS_DIGEST, HEADER_DIGEST)}


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
    except UserError as error:
        problem = f"{path} cannot be read, nothing was loaded: {error.problem}"
        raise UserError(problem, error.remedy, code=UNREADABLE) from error
    except Exception as error:  # a hostile file can make its parser raise anything
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        problem = f"{path} cannot be read, nothing was loaded: {escape(reason).rstrip('.')}"
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in LACKING:  # it may be whole all the same
            raise UserError(problem, "close other programs, then try again") from error
        raise UserError(problem, code=UNREADABLE) from error


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


def read_shard_names(path: Path) -> list[str]:
    """The files beside an index that have its arrays.

    Raises:
      UserError: it is damaged, or names what is no file beside it.
    """
    return sorted(set(_read_guarded(path, _read_index).values()))


def _read_index(path: Path) -> dict[str, str]:
    """`{array: file}`."""
    files: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    if strange := [name for name in files.values() if Path(name).name != name or not name.endswith(".safetensors")]:
        raise ValueError(f"it names what is no file beside it: {escape(strange[0])}")
    return files


def _read_shards(path: Path) -> Mapping[str, Any]:
    """The arrays of an index, each from the file that it is said to be in."""
    files = _read_index(path)
    arrays: dict[str, Any] = {}
    for name in sorted(set(files.values())):
        if not (path.parent / name).is_file():
            raise ValueError(f"{escape(name)} is not beside it")
        shard = _read_safetensors(path.parent / name)
        arrays |= {key: array for key, array in shard.items() if files.get(key) == name}
    if missing := [key for key in files if key not in arrays]:
        raise ValueError(f"these arrays are not where it says: {list_names(missing)}")
    return arrays


def _read_npz(path: Path) -> Mapping[str, Any]:
    with open_archive(path), np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if strange := [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]:  # numpy gives bytes
        raise ValueError(f"{strange[0]} is not an array")
    return arrays
