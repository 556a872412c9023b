"""What a trained net sees in pictures."""

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.data import PRESETS, Picture, Preprocessing, prepare_picture, read_picture
from zoo.data.preprocessing import parse_preprocessing
from zoo.errors import UserError
from zoo.models import registry
from zoo.models.net import Net
from zoo.weights.files import read_metadata
from zoo.weights.key_maps import Variables
from zoo.weights.loading import find_weights

PREPROCESSING = "preprocessing"  # where the metadata of a .safetensors file says how pictures are prepared


class Prediction(NamedTuple):
    """A class and its probability."""

    label: str
    probability: float


def predict(
    model: Net,
    variables: Variables,
    pictures: Iterable[Picture],
    preprocessing: Preprocessing,
    *,
    labels: Sequence[str] | None = None,
    top: int = 5,
    batch_size: int = 32,
) -> list[list[Prediction]]:
    """The `top` most probable classes of each picture, the most probable first.

    Args:
      model, variables: a trained net, as from `zoo.pretrained`.
      pictures: paths, or `PIL.Image.Image`s; read batch by batch.
      preprocessing: how the net wants them: `zoo.variant(name).weights.preprocessing`, or `find_preprocessing`.
      labels: names of the classes (`zoo.data.read_class_names`); without them a class is called by its number.
      top: how many classes.
      batch_size: how many pictures at once.

    Raises:
      UserError, FileNotFoundError: a picture cannot be read, or there are not as many labels as classes.
    """
    if labels is not None and len(labels) != model.num_classes:
        raise UserError(f"{len(labels)} labels for {model.num_classes} classes", "pass one for each class")
    apply = jax.jit(partial(model.apply, train=False))
    remaining = iter(pictures)
    predictions: list[list[Prediction]] = []
    while batch := [prepare_picture(read_picture(p), preprocessing) for p in itertools.islice(remaining, batch_size)]:
        padding = [np.zeros_like(batch[0])] * (batch_size - len(batch) if predictions else 0)  # compiled once
        logits: jax.Array = apply(variables, np.stack(batch + padding))
        probabilities = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)))[: len(batch)]
        predictions += [choose_top(row, labels, top) for row in probabilities]
    return predictions


def choose_top(probabilities: np.ndarray, labels: Sequence[str] | None, top: int) -> list[Prediction]:
    """The largest of `[K]` probabilities, of equal ones the first, under the names of their classes."""
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [Prediction(labels[i] if labels else str(i), float(probabilities[i])) for i in best]


def find_preprocessing(name: str, source: str | Path | None = None, given: str | None = None) -> Preprocessing:
    """How pictures are prepared for weights: as given, as their file says, or as the model's row says.

    Args:
      name: the model.
      source: of the weights, as in `zoo.load`.
      given: one of `zoo.data.PRESETS`, or JSON.

    Raises:
      UserError: none of them says it.
    """
    published = registry.variant(name).weights
    if given is None and published and str(source or published.source) == published.source:
        return published.preprocessing
    path = find_weights(name, source)
    noted = given or read_metadata(path).get(PREPROCESSING)
    if noted is None:
        problem = f"{path} does not say how its pictures are prepared"
        raise UserError(problem, f"pass preprocessing: {', '.join(PRESETS)} or JSON", code="no-preprocessing")
    return parse_preprocessing(noted)
