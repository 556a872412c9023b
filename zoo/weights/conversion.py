"""From one format of weights to another, and the report on whether a file fits a net."""

from pathlib import Path
from typing import Any

import jax

from zoo.data.preprocessing import format_preprocessing, parse_preprocessing
from zoo.errors import UserError
from zoo.models import registry
from zoo.models.net import Net
from zoo.weights import files
from zoo.weights.files import PREPROCESSING, VARIATION
from zoo.weights.inspection import Arrays, check_numbers
from zoo.weights.key_maps import ZOO, Variables, recognise_names
from zoo.weights.loading import find_weights, read_arrays, recognise_net
from zoo.weights.origins import find_writer
from zoo.weights.state_dict import from_torch
from zoo.weights.wording import escape


def convert(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    layout: str = ZOO,
    preprocessing: str | None = None,
    model: Net | None = None,
) -> str:
    """Read the weights of a model from any source and write them as .safetensors.

    Args:
      name: the model.
      source: as in `zoo.load`.
      out: the file to write; it gets the preprocessing that the source has noted.
      layout: `"zoo"`, or one of `zoo.weights.layouts(name)`.
      preprocessing: how pictures are prepared for these weights, to be noted in the file: one of `zoo.data.PRESETS`
        or JSON.
      model: what the weights belong to, by default `zoo.create(name)` with their number of classes.

    Returns:
      What of the source was read, where that is not all of it: its part, and what its names began with.

    Raises:
      UserError, FileNotFoundError: the weights cannot be read, or are not those of the model; nothing is written.
    """
    path = find_weights(name, source)
    noted = files.read_metadata(path)
    if writer := find_writer(path):
        noted = {VARIATION: writer.name, PREPROCESSING: format_preprocessing(writer.find_net(name).preprocessing)}
    metadata = {VARIATION: noted[VARIATION]} if VARIATION in noted else {}
    if wanted := preprocessing or noted.get(PREPROCESSING):
        metadata[PREPROCESSING] = format_preprocessing(parse_preprocessing(wanted))
    arrays = read_arrays(name, path)
    model, variables, _ = _load(name, path, arrays, model)
    files.save(out, variables, name=name, model=model, layout=layout, metadata=metadata)
    return _describe_reading(name, path, arrays, variables)


def verify(name: str, source: str | Path, *, model: Net | None = None) -> str:
    """One line on a file that fits the model: its size, classes and channels, what of it was read, what else it fits.

    Args:
      name: the model.
      source: as in `zoo.load`.
      model: as in `convert`.

    Raises:
      UserError: it does not fit, or holds numbers that no trained net has (NaN, infinity, negative variances); the
        message lists the arrays.
    """
    path = find_weights(name, source)
    arrays = read_arrays(name, path)
    _, variables, variation = _load(name, path, arrays, model)
    check_numbers(arrays)
    sizes = {collection: sum(leaf.size for leaf in jax.tree.leaves(tree)) for collection, tree in variables.items()}
    parameters, statistics = sizes["params"], sizes.get("batch_stats", 0)
    size = f"{parameters:,} parameters, {statistics:,} running statistics"
    line = f"{source} holds the weights of {name}{variation}: {size}."
    twins = [] if "model" in files.read_metadata(path) else _find_twins(name, path, arrays)
    told = [line, _describe_reading(name, path, arrays, variables)]
    if twins:
        told.append(f"It equally fits {' and '.join(twins)}: only who made it knows which it is.")
    return " ".join(filter(None, told))


def _describe_reading(name: str, path: Path, arrays: Arrays, variables: Variables) -> str:
    """Sentences on the part of a checkpoint that was read, and on what was taken off its names; mostly none."""
    prefix, _ = recognise_names(name, variables, arrays)
    chosen, *others = files.list_parts(path) or [""]
    file, _ = files.split_part(path)
    another = f"; {file}#{escape(others[0])} is another" if others else ""
    told = [
        f"Its {escape(chosen)!r} was read{another}." if chosen else "",
        f"{escape(prefix)!r} was taken off its names." if prefix else "",
    ]
    return " ".join(filter(None, told))


def _load(name: str, path: Path, arrays: Arrays, model: Net | None) -> tuple[Net, dict[str, Any], str]:
    """The model, its variables, and in words what differs from the model's own classes and channels."""
    if model is not None:
        return model, from_torch(name, arrays, model=model), ""
    model, _, image_shape = recognise_net(name, path, arrays)
    variation = {
        f"{model.num_classes} classes": model.num_classes != registry.create(name).num_classes,
        f"{image_shape[-1]} input channel{'s' * (image_shape[-1] > 1)}": image_shape[-1]
        != registry.variant(name).channels,
    }
    differing = " and ".join(words for words, differs in variation.items() if differs)
    variables = from_torch(name, arrays, model=model, image_shape=image_shape)
    return model, variables, f" with {differing}" if differing else ""


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
