"""From one kind of weights file to another, and the report on whether a file fits a net."""

from pathlib import Path
from typing import Any

import jax

from zoo.data import preprocessing as preprocess
from zoo.weights import files
from zoo.weights import key_maps as weights


def convert(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    layout: str = weights.ZOO,
    preprocessing: str | None = None,
    **options: Any,
) -> None:
    """Reads the weights of the model `name` from any source and writes them as .safetensors.

    Args:
      name: the model.
      source: as for `zoo.load`.
      out: the file to write; it gets the preprocessing that the source has noted.
      layout: `"zoo"`, or one of `zoo.weights.layouts(name)`.
      preprocessing: how images are prepared for these weights, to be noted in the file: one of
        `zoo.preprocess.PRESETS` or JSON.
      **options: those of `zoo.from_torch`, e.g. `num_classes`.

    Raises:
      ValueError, FileNotFoundError: the weights cannot be read, or are not those of the model; nothing is written.
    """
    noted = files.metadata(files.located(name, source)).get(preprocess.KEY)
    wanted = preprocessing or noted
    notes = {preprocess.KEY: preprocess.described(preprocess.preprocessing(wanted, str(source)))} if wanted else {}
    files.save(out, files.load(name, source, **options), name=name, layout=layout, metadata=notes)


def verify(name: str, source: str | Path, **options: Any) -> str:
    """One line on a file that fits the model.

    Raises:
      ValueError: it does not; the message lists every array that is missing, unexpected or misshapen.
    """
    variables = files.load(name, source, **options)
    numbers = {kind: sum(leaf.size for leaf in jax.tree.leaves(tree)) for kind, tree in variables.items()}
    parameters, statistics = numbers["params"], numbers.get("batch_stats", 0)
    return f"{source} holds the weights of {name}: {parameters:,} parameters, {statistics:,} running statistics."
