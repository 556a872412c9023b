"""From one format of weights to another, and the report on whether a file fits a net."""

from pathlib import Path
from typing import Any

import jax

from zoo.data.preprocessing import format_preprocessing, parse_preprocessing
from zoo.errors import UserError
from zoo.models import registry
from zoo.models.net import Net
from zoo.weights import files
from zoo.weights.files import PREPROCESSING
from zoo.weights.inspection import Arrays, check_numbers
from zoo.weights.key_maps import ZOO
from zoo.weights.loading import find_weights, recognise_net
from zoo.weights.state_dict import from_torch


def convert(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    layout: str = ZOO,
    preprocessing: str | None = None,
    model: Net | None = None,
) -> None:
    """Read the weights of a model from any source and write them as .safetensors.

    Args:
      name: the model.
      source: as in `zoo.load`.
      out: the file to write; it gets the preprocessing that the source has noted.
      layout: `"zoo"`, or one of `zoo.weights.layouts(name)`.
      preprocessing: how pictures are prepared for these weights, to be noted in the file: one of `zoo.data.PRESETS`
        or JSON.
      model: what the weights belong to, by default `zoo.create(name)` with their number of classes.

    Raises:
      UserError, FileNotFoundError: the weights cannot be read, or are not those of the model; nothing is written.
    """
    path = find_weights(name, source)
    wanted = preprocessing or files.read_metadata(path).get(PREPROCESSING)
    metadata = {PREPROCESSING: format_preprocessing(parse_preprocessing(wanted))} if wanted else {}
    variables, _ = _load(name, path, files.read(path), model)
    files.save(out, variables, name=name, model=model, layout=layout, metadata=metadata)


def verify(name: str, source: str | Path, *, model: Net | None = None) -> str:
    """One line on a file that fits the model: its size, its classes and channels, and what else it fits.

    Args:
      name: the model.
      source: as in `zoo.load`.
      model: as in `convert`.

    Raises:
      UserError: it does not fit, or holds numbers that no trained net has (NaN, infinity, negative variances); the
        message lists the arrays.
    """
    path = find_weights(name, source)
    arrays = files.read(path)
    variables, variation = _load(name, path, arrays, model)
    check_numbers(arrays)
    sizes = {collection: sum(leaf.size for leaf in jax.tree.leaves(tree)) for collection, tree in variables.items()}
    parameters, statistics = sizes["params"], sizes.get("batch_stats", 0)
    size = f"{parameters:,} parameters, {statistics:,} running statistics"
    line = f"{source} holds the weights of {name}{variation}: {size}."
    twins = [] if "model" in files.read_metadata(path) else _find_twins(name, path, arrays)
    return f"{line} It equally fits {' and '.join(twins)}: only who made it knows which it is." if twins else line


def _load(name: str, path: Path, arrays: Arrays, model: Net | None) -> tuple[dict[str, Any], str]:
    """The variables, and in words what differs from the model's own classes and channels."""
    if model is not None:
        return from_torch(name, arrays, model=model), ""
    model, _, image_shape = recognise_net(name, path, arrays)
    variation = {
        f"{model.num_classes} classes": model.num_classes != registry.create(name).num_classes,
        f"{image_shape[-1]} input channel{'s' * (image_shape[-1] > 1)}": image_shape[-1]
        != registry.variant(name).channels,
    }
    differing = " and ".join(words for words, differs in variation.items() if differs)
    return from_torch(name, arrays, model=model, image_shape=image_shape), f" with {differing}" if differing else ""


def _find_twins(name: str, path: Path, arrays: Arrays) -> list[str]:
    """Other models that take the same arrays; they would have as many parameters."""
    params = registry.variant(name).params

    def fits(other: str) -> bool:
        try:
            _load(other, path, arrays, None)
        except UserError:
            return False
        return True

    others = [other for other in registry.list_models() if other != name and registry.variant(other).params == params]
    return [other for other in others if fits(other)]
