"""A trained net as a file for elsewhere: StableHLO for JAX and XLA, ONNX for other runtimes.

What is written is the net of inference, its normalisations folded, in float32. No file appears before it has answered
random images as the net does.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from zoo.data.preprocessing import Preprocessing, format_preprocessing, standardise
from zoo.errors import UserError
from zoo.models.net import Net
from zoo.norm.folding import fold
from zoo.weights.files import PREPROCESSING, write_arrays
from zoo.weights.key_maps import Variables
from zoo.weights.prediction import fit_channels
from zoo.weights.whole_files import write_whole

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4  # of the largest logit
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
UNITS = (1, 32)  # of height and width: some nets' branches fit together at multiples alone
LEAST_OUTSIDE = 1024  # bytes of an array that ONNX keeps beside: what stays inside is sizes and axes

Arrays = Mapping[str, np.ndarray]
Apply = Callable[[Arrays, jax.Array], jax.Array]


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
      files: the net's, and its weights' if they are beside it.
      images: type and shape of the images that it takes, `"float32 [N, 224, 224, 3]"`.
      difference: the largest between its logits and the net's on random images, by the largest logit.
    """

    files: tuple[Path, ...]
    images: str
    difference: float


@dataclass(frozen=True)
class _Made:
    """A file that is not written yet: the images that it takes, what it answers, and how it is written."""

    images: jax.ShapeDtypeStruct
    run: Callable[[np.ndarray], np.ndarray]
    write: Callable[[Path], tuple[Path, ...]]


def export(
    path: str | Path,
    model: Net,
    variables: Variables,
    preprocessing: Preprocessing,
    *,
    class_names: Sequence[str] | None = None,
    pixels: bool = False,
    any_size: bool = False,
    beside: bool = False,
) -> Report:
    """Writes a net for any number of images as `.stablehlo` or `.onnx`, from images `[N, H, W, C]` to logits.

    Args:
      path: `.stablehlo` is what `jax.export.deserialize` reads, for CPU, CUDA, ROCm and TPU; `.onnx` has version 17 of
        the operators.
      model, variables: a trained net, as from `zoo.pretrained`.
      preprocessing: how its pictures are prepared; size and channels of the images are read off it.
      class_names: noted in an `.onnx` file, as is the preprocessing.
      pixels: the file takes bytes from 0 to 255 and standardises them itself; resizing and cropping stay outside.
      any_size: height and width are open too: of `.stablehlo` alone, and of nets that take any size.
      beside: the weights are a file of their own. `NAME.stablehlo.safetensors` holds what is then the first argument,
        `{name: array}`; `NAME.onnx.data` is found by its name.

    Raises:
      UserError: another suffix, what the net or the format cannot do, or the file's logits are off by more than
        `TOLERANCE`. Nothing is written then.
      ModuleNotFoundError: onnx and onnxruntime, or flatbuffers, are not installed.
      OSError: it cannot be written; the message says why and what to do.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".stablehlo", ".onnx"):
        raise UserError(f"{path}: nets are exported as .stablehlo or .onnx", "choose one of these endings")
    if path.suffix == ".onnx" and any_size:
        problem = "an .onnx file of ours has one height and width"
        raise UserError(problem, "leave out any_size, or export it as .stablehlo", code="one-size-format")
    model = model.clone(dtype=jnp.float32, param_dtype=jnp.float32)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), dict(variables))
    preprocessing = fit_channels(partial(model.apply, train=False), variables, preprocessing)
    arrays, apply = _fold(model, variables, preprocessing, pixels=pixels)
    height, width, channels = preprocessing.image_shape
    dtype = np.dtype(np.uint8 if pixels else np.float32)
    if path.suffix == ".onnx":
        notes = {PREPROCESSING: format_preprocessing(preprocessing)}
        notes |= {"class_names": json.dumps(list(class_names))} if class_names else {}
        made = _make_onnx(apply, arrays, _any_number(height, width, channels, dtype), notes, beside=beside)
    elif any_size:
        made = _make_stablehlo(apply, arrays, _any_size(apply, arrays, model, channels, dtype), beside=beside)
        height, width = ((-(-side // max(UNITS)) + 1) * max(UNITS) for side in (height, width))
    else:
        made = _make_stablehlo(apply, arrays, _any_number(height, width, channels, dtype), beside=beside)
    sample = np.random.default_rng(0).integers(0, 256, (2, height, width, channels), np.uint8)
    standard = standardise(sample.astype(np.float32), preprocessing)
    expected = np.asarray(jax.jit(partial(model.apply, train=False))(variables, standard))
    difference = _measure(made.run(sample if pixels else standard), expected, path)
    shape = ", ".join(map(str, made.images.shape))
    return Report(made.write(path), f"{dtype} [{shape}]", difference)


def _fold(
    model: Net, variables: Variables, preprocessing: Preprocessing, *, pixels: bool
) -> tuple[dict[str, np.ndarray], Apply]:
    """The arrays of the folded net by their paths, and what makes logits of them and of images."""
    folded = fold(model, variables, keep=["*"], image_shape=preprocessing.image_shape)
    leaves, tree = jax.tree_util.tree_flatten_with_path(folded.variables)
    paths = ["/".join(str(key.key) for key in keys) for keys, _ in leaves]

    def apply(arrays: Arrays, images: jax.Array) -> jax.Array:
        images = standardise(images.astype(jnp.float32), preprocessing) if pixels else images
        return folded.apply(jax.tree.unflatten(tree, [arrays.get(path) for path in paths]), images)

    named = {path: np.asarray(leaf) for path, (_, leaf) in zip(paths, leaves, strict=True)}
    arrays = dict(sorted(named.items()))  # as JAX flattens it
    images = jax.ShapeDtypeStruct((1, *preprocessing.image_shape), np.uint8 if pixels else np.float32)
    jaxpr = jax.make_jaxpr(apply)(arrays, images).jaxpr
    read = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}  # auxiliary heads are not
    return {path: a for (path, a), v in zip(arrays.items(), jaxpr.invars, strict=False) if id(v) in read}, apply


def _measure(found: np.ndarray, expected: np.ndarray, path: Path) -> float:
    """The largest difference, by the largest logit.

    Raises:
      UserError: it is more than `TOLERANCE`, or the net's answers are no numbers.
    """
    if not np.isfinite(expected).all():
        problem = "the net's answers are not numbers"
        raise UserError(problem, "zoo.weights.verify tells whether its weights are", code="no-numbers")
    difference = float(np.abs(found - expected).max() / (np.abs(expected).max() or 1))
    if not difference <= TOLERANCE:
        problem = f"{path} was not written: its logits differ from the net's by {difference:.1e} of the largest"
        raise UserError(problem, f"no more than {TOLERANCE:.0e} is let through; choose another format, and report it")
    return difference


def _any_number(height: int, width: int, channels: int, dtype: np.dtype) -> jax.ShapeDtypeStruct:
    """Images of one size, as many as are wanted."""
    from jax.export import symbolic_shape

    return jax.ShapeDtypeStruct((*symbolic_shape("N"), height, width, channels), dtype)


def _any_size(apply: Apply, arrays: Arrays, model: Net, channels: int, dtype: np.dtype) -> jax.ShapeDtypeStruct:
    """Images of all sizes that the net takes.

    Raises:
      UserError: it takes one.
    """
    from jax.export import symbolic_shape

    fault: Exception | None = None
    for unit in UNITS:
        sides = [f"{unit}*{side}" if unit > 1 else side for side in "HW"]
        shape = symbolic_shape(f"N, {', '.join(sides)}", constraints=[f"{side} >= {model.min_size}" for side in sides])
        images = jax.ShapeDtypeStruct((*shape, channels), dtype)
        try:
            jax.eval_shape(apply, arrays, images)
        except Exception as error:  # of any kind: it answers images of its own size, as `fit_channels` found
            fault = error
        else:
            return images
    problem = f"{type(model).__name__} takes images of one size"
    raise UserError(problem, "leave out any_size", code="one-size-net") from fault


def _make_stablehlo(apply: Apply, arrays: Arrays, images: jax.ShapeDtypeStruct, *, beside: bool) -> _Made:
    from jax import export as jax_export

    function, inputs = (apply, (arrays, images)) if beside else (partial(apply, arrays), (images,))
    exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(*inputs)
    try:
        content = exported.serialize()
    except ImportError as error:
        raise _explain_extra(".stablehlo files are written by flatbuffers", "export") from error

    def run(sample: np.ndarray) -> np.ndarray:
        return np.asarray(jax_export.deserialize(content).call(*([arrays] if beside else []), sample))

    def write(path: Path) -> tuple[Path, ...]:
        weights = [path.with_name(f"{path.name}.safetensors")] if beside else []
        for file in weights:
            write_arrays(file, arrays, {})
        write_whole(path, lambda part: part.write_bytes(content))
        return path, *weights

    return _Made(images, run, write)


def _make_onnx(
    apply: Apply, arrays: Arrays, images: jax.ShapeDtypeStruct, notes: Mapping[str, str], *, beside: bool
) -> _Made:
    try:
        import onnxruntime

        from zoo.weights.onnx_model import build_onnx

        graph = build_onnx(apply, arrays, images, notes)
    except ModuleNotFoundError as error:
        raise _explain_extra(".onnx files are written by onnx and checked by onnxruntime", "onnx") from error
    content = graph.SerializeToString()

    def run(sample: np.ndarray) -> np.ndarray:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"images": sample})
        return np.asarray(logits)

    def write(path: Path) -> tuple[Path, ...]:
        weights = [path.with_name(f"{path.name}.data")] if beside else []
        for file in weights:
            moved = _move_arrays(graph, file.name)
            write_whole(file, partial(_write_pieces, moved))
        write_whole(path, lambda part: part.write_bytes(graph.SerializeToString()))
        return path, *weights

    return _Made(images, run, write)


def _move_arrays(graph: "ModelProto", name: str) -> list[bytes]:
    """Takes the large arrays out of the graph, which then looks for them in the file `name`."""
    from onnx import TensorProto, external_data_helper

    pieces: list[bytes] = []
    for array in graph.graph.initializer:
        if len(array.raw_data) >= LEAST_OUTSIDE:
            external_data_helper.set_external_data(array, name, sum(map(len, pieces)), len(array.raw_data))
            pieces.append(array.raw_data)
            array.ClearField("raw_data")
            array.data_location = TensorProto.EXTERNAL
    return pieces


def _write_pieces(pieces: Sequence[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(pieces)


def _explain_extra(what: str, extra: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"{what}: `pip install 'jax-cnn-zoo[{extra}]'`.")
