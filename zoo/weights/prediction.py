"""What a trained net sees in pictures: weights, their preprocessing and class names brought together."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo.data import preprocessing as preprocess
from zoo.models.registry import create, variant
from zoo.models.variant import Weights
from zoo.weights import files


class Prediction(NamedTuple):
    """A class and its probability."""

    label: str
    probability: float


def predict(
    name: str,
    pictures: Sequence[Any],
    source: str | Path | None = None,
    *,
    preprocessing: str | None = None,
    labels: str | Path | None = None,
    top: int = 5,
    **options: Any,
) -> list[list[Prediction]]:
    """The `top` most probable classes of each picture, the most probable first.

    Args:
      name: the model.
      pictures: paths, or `PIL.Image.Image`s.
      source: of the weights, as for `zoo.load`.
      preprocessing: one of `zoo.preprocess.PRESETS` or JSON, where the weights do not say it themselves.
      labels: file of class names (`zoo.preprocess.class_names`); without it a class is called by its number.
      top: how many classes.
      **options: those of `zoo.from_torch`, e.g. `num_classes`.

    Raises:
      ValueError, FileNotFoundError: the weights, a picture or the names cannot be used; the message says why.
    """
    weights = preprocessing_of(name, source, preprocessing)
    images = np.concatenate([preprocess.prepare(picture, weights) for picture in pictures])
    variables = files.load(name, source, **options)
    model = create(name, **{k: v for k, v in options.items() if k in create(name).__dataclass_fields__})
    names = preprocess.class_names(labels, model.num_classes) if labels else list(map(str, range(model.num_classes)))
    logits = jax.jit(partial(model.apply, train=False))(variables, images)
    probabilities = np.asarray(jax.nn.softmax(logits))
    best = np.argsort(-probabilities)[:, :top]
    return [
        [Prediction(names[i], float(row[i])) for i in order] for row, order in zip(probabilities, best, strict=True)
    ]


def preprocessing_of(name: str, source: str | Path | None = None, given: str | None = None) -> Weights:
    """How images are prepared for the weights from `source`: as given, as their file says, or as the model's row says.

    Raises:
      ValueError: none of them says it.
    """
    published = variant(name).weights
    if given is None and published and str(source or published.source) == published.source:
        return published
    path = files.located(name, source)
    noted = given or files.metadata(path).get(preprocess.KEY)
    if noted is None:
        presets = ", ".join(preprocess.PRESETS)
        raise ValueError(f"{path} does not say how its images are prepared: pass preprocessing, {presets} or JSON.")
    return preprocess.preprocessing(noted, str(path))
