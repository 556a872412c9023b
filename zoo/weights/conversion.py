"""From one format of weights to another, and the report on whether a file fits a net."""

from pathlib import Path

import jax

from zoo.data.preprocessing import format_preprocessing, parse_preprocessing
from zoo.models.net import Net
from zoo.weights import files
from zoo.weights.key_maps import ZOO
from zoo.weights.loading import find_weights, load
from zoo.weights.prediction import PREPROCESSING


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
      model: what the weights belong to, where it is not `zoo.create(name)`.

    Raises:
      UserError, FileNotFoundError: the weights cannot be read, or are not those of the model; nothing is written.
    """
    path = find_weights(name, source)
    wanted = preprocessing or files.read_metadata(path).get(PREPROCESSING)
    metadata = {PREPROCESSING: format_preprocessing(parse_preprocessing(wanted))} if wanted else {}
    files.save(out, load(name, path, model=model), name=name, layout=layout, metadata=metadata)


def verify(name: str, source: str | Path, *, model: Net | None = None) -> str:
    """One line on a file that fits the model.

    Raises:
      UserError: it does not; the message lists every array that is missing, unexpected or misshapen.
    """
    variables = load(name, source, model=model)
    sizes = {collection: sum(leaf.size for leaf in jax.tree.leaves(tree)) for collection, tree in variables.items()}
    parameters, statistics = sizes["params"], sizes.get("batch_stats", 0)
    return f"{source} holds the weights of {name}: {parameters:,} parameters, {statistics:,} running statistics."
