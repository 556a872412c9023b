"""Weights of a model by its name: `load` gives variables, `pretrained` a model with them."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from zoo.data.preprocessing import Preprocessing, parse_preprocessing
from zoo.errors import UserError
from zoo.models import registry
from zoo.models.net import Net
from zoo.models.variants import PublishedWeights
from zoo.weights import hub
from zoo.weights.files import PREPROCESSING, read, read_metadata, split_part
from zoo.weights.inspection import Arrays, Shape, find_image_shape
from zoo.weights.origins import find_origin, find_writer
from zoo.weights.state_dict import NewModules, fit_net, from_torch
from zoo.weights.tensorflow_files import INDEX_SUFFIX
from zoo.weights.wording import escape


def load(
    name: str,
    source: str | Path | None = None,
    *,
    model: Net | None = None,
    new: NewModules = (),
    grayscale: bool = False,
    image_shape: Shape | None = None,
    key: jax.Array | None = None,
) -> dict[str, Any]:
    """Variables of a model from a file of weights, in our layout or in torch's.

    Args:
      name: the model.
      source: a .safetensors or .npz file, or one of torch's (.pth, .pt, .bin, .ckpt, .pth.tar), of which
        `"FILE#model_ema"` is the state dict under that key; or one of Keras's (.h5, .keras), TF-slim's (.ckpt,
        .ckpt.index, .npz) or Caffe's (.caffemodel), for the model with the fields that make it theirs;
        `"hf:org/name"` or `"hf:org/name@revision"`, a repository of the Hugging Face hub (kept in its cache;
        `HF_HUB_OFFLINE=1` looks nowhere else), or a folder with its files; or None for the published weights of
        `zoo.variant(name)`.
      model, new, grayscale, image_shape, key: as in `zoo.from_torch`.

    Raises:
      UserError: the file is damaged, or its arrays are not those of the model; nothing is loaded.
      FileNotFoundError: there is no such file, or it cannot be had from the hub.
      ModuleNotFoundError: huggingface_hub is needed and not installed.
    """
    path = find_weights(name, source)
    model = find_variation(name, path) if model is None else model
    arrays = read_arrays(name, path)
    return from_torch(name, arrays, model=model, new=new, grayscale=grayscale, image_shape=image_shape, key=key)


def pretrained(
    name: str,
    source: str | Path | None = None,
    *,
    num_classes: int | None = None,
    key: jax.Array | None = None,
    grayscale: bool = False,
    image_shape: Shape | None = None,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
) -> tuple[Net, dict[str, Any]]:
    """A model and its trained variables, with a new head where the weights have another number of classes.

    Args:
      name: the model.
      source: of the weights, as in `zoo.load`.
      num_classes: of the model, by default that of the weights; 0 gives one that returns features.
      key: initialises the new head.
      grayscale: as in `zoo.from_torch`.
      image_shape: as in `zoo.from_torch`, by default what the file tells.
      dtype, param_dtype: types of the computation and of the stored parameters.

    Returns:
      `(model, variables)`, for `model.apply(variables, images, train=False)`.

    Raises:
      UserError: as `zoo.load`, or a head must be new and there is no key.
      FileNotFoundError, ModuleNotFoundError: as `zoo.load`.
    """
    path = find_weights(name, source)
    arrays = read_arrays(name, path)
    model, new, seen = recognise_net(name, path, arrays, num_classes)
    model, seen = model.clone(dtype=dtype, param_dtype=param_dtype), image_shape or seen
    return model, from_torch(name, arrays, model=model, new=new, grayscale=grayscale, image_shape=seen, key=key)


def recognise_net(
    name: str, path: Path, arrays: Arrays, num_classes: int | None = None
) -> tuple[Net, NewModules, Shape]:
    """The net that a file's weights belong to.

    Returns:
      `(model, new, image_shape)`: the model with `num_classes`, by default those of the weights; what of it the file
      does not have, `"head"` or nothing; the shape of its images, which is what the file notes beside the arrays, or
      else native but for the channels.
    """
    model, new, channels = fit_net(name, arrays, find_variation(name, path), num_classes)
    noted = read_metadata(path).get(PREPROCESSING)
    image_shape = parse_preprocessing(noted).image_shape if noted else find_image_shape(name, channels)
    return model, new, image_shape


def read_arrays(name: str, path: Path) -> Arrays:
    """The arrays of a file, those of others' nets by our names."""
    arrays, writer = read(path), find_writer(path)
    if writer is None:
        return arrays
    writer.find_net(name)
    return writer.name_as_ours(name, arrays)


def find_variation(name: str, path: Path) -> Net:
    """The model, with the fields that make it another's where a file is another's, or was converted from one."""
    origin = find_origin(path)
    return origin.make_model(name) if origin else registry.create(name)


def find_published(name: str, source: str | Path | None = None) -> PublishedWeights | None:
    """The weights of the model's row, if it is they that `source` means."""
    published = registry.variant(name).weights
    return published if published and str(source or published.source) == published.source else None


def find_noted_preprocessing(name: str, source: str | Path | None = None) -> Preprocessing | None:
    """How pictures are prepared for weights, if their row, their file or their repository says it.

    Raises:
      UserError: what the file or the repository says is no preprocessing.
    """
    if published := find_published(name, source):
        return published.preprocessing
    path = find_weights(name, source)
    if writer := find_writer(path):
        prepared: Preprocessing = writer.find_net(name).preprocessing
        return prepared
    if noted := read_metadata(path).get(PREPROCESSING):
        return parse_preprocessing(noted)
    card = hub.read_card(source)
    return None if card is None else card.preprocessing


def find_weights(name: str, source: str | Path | None = None) -> Path:
    """The file of a model's weights, fetched from the hub if it is there; with the part that `source` names.

    Raises:
      UserError: the model has no published weights, or the file is noted to be another model's.
      FileNotFoundError: there is no such file.
    """
    published = registry.variant(name).weights
    if source is None and published is None:
        raise UserError(
            f"{name} has no published weights",
            f"pass a file, zoo.load({name!r}, 'weights.safetensors')",
            code="no-published-weights",
        )
    source = published.source if source is None and published else str(source)
    file, part = split_part(source)
    if source.startswith(hub.PREFIX):
        file = hub.fetch(source.partition("#")[0])
    elif file.is_dir():
        file = hub.find(file)
    if not file.is_file() and (index := file.with_name(f"{file.name}{INDEX_SUFFIX}")).is_file():
        file = index  # TensorFlow's checkpoints go by what their files' names begin with
    if not file.is_file():
        raise FileNotFoundError(f"no file of weights at {file}.")
    made_for = read_metadata(file).get("model", name)
    if made_for != name:
        raise UserError(f"{file} holds the weights of {escape(made_for)}, not of {name}")
    return file if part is None else file.with_name(f"{file.name}#{part}")
