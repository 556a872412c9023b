"""What a trained net sees in pictures."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from zoo.data import PRESETS, Picture, Preprocessing, imagenet_class_names, prepare_picture, read_picture
from zoo.data.preprocessing import parse_preprocessing
from zoo.errors import UserError
from zoo.layers import choose_compiler_options
from zoo.models.net import Net
from zoo.weights import hub
from zoo.weights.key_maps import Variables
from zoo.weights.loading import find_noted_preprocessing, find_published, find_weights


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
      preprocessing: how the net wants them: `zoo.variant(name).weights.preprocessing`, or `find_preprocessing`. Where
        it is for RGB and the net takes one channel (`grayscale=True` of `zoo.load`), pictures become grey and are
        standardised by the average of its three means and of its three deviations.
      labels: names of the classes (`find_class_names`, `zoo.data.read_class_names`); without them a class is called by
        its number.
      top: how many classes.
      batch_size: how many pictures at once.

    Raises:
      UserError, FileNotFoundError: a picture cannot be read, there are not as many labels as classes, the net does not
        take what the preprocessing makes, or what it says of a picture are not numbers.
    """
    if labels is not None and len(labels) != model.num_classes:
        raise UserError(f"{len(labels)} labels for {model.num_classes} classes", "pass one for each class")
    answer = partial(model.apply, train=False)
    apply = jax.jit(answer, compiler_options=choose_compiler_options(variables))
    remaining = iter(pictures)
    predictions: list[list[Prediction]] = []
    if (first := next(remaining, None)) is not None:
        preprocessing = fit_channels(answer, variables, preprocessing)
        remaining = itertools.chain([first], remaining)
    while batch := [prepare_picture(read_picture(p), preprocessing) for p in itertools.islice(remaining, batch_size)]:
        padding = [np.zeros_like(batch[0])] * (batch_size - len(batch) if predictions else 0)  # compiled once
        logits: jax.Array = apply(variables, np.stack(batch + padding))
        probabilities = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)))[: len(batch)]
        if not np.isfinite(probabilities).all():
            problem = "the net's answers are not numbers"
            raise UserError(problem, "zoo.weights.verify tells whether its weights are", code="no-numbers")
        predictions += [choose_top(row, labels, top) for row in probabilities]
    return predictions


def choose_top(probabilities: np.ndarray, labels: Sequence[str] | None, top: int) -> list[Prediction]:
    """The largest of `[K]` probabilities, of equal ones the first, under the names of their classes."""
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [Prediction(str(i) if labels is None else labels[i], float(probabilities[i])) for i in best]


def fit_channels(apply: Callable[..., Any], variables: Variables, preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing, or its grey version where the net takes that alone.

    A grey pixel has the same value in all channels, so that its standardised values differ by the channels' means and
    deviations alone; their averages stand for them.
    """

    def find_fault(preprocessing: Preprocessing) -> Exception | None:
        try:
            jax.eval_shape(apply, variables, jax.ShapeDtypeStruct((1, *preprocessing.image_shape), jnp.float32))
        except (FlaxError, TypeError, ValueError) as error:  # by the layer that notices
            return error
        return None

    if (fault := find_fault(preprocessing)) is None:
        return preprocessing
    mean, std = float(np.mean(preprocessing.mean)), float(np.mean(preprocessing.std))
    grey = replace(preprocessing, mean=(mean,), std=(std,))
    if len(preprocessing.mean) == 3 and find_fault(grey) is None:
        return grey
    if isinstance(fault, UserError):
        raise fault
    height, width, channels = preprocessing.image_shape
    problem = (
        f"the net does not take the images of {height}x{width} with {channels} channels that its preprocessing makes"
    )
    raise UserError(problem, "pass the preprocessing of its weights", code="wrong-preprocessing") from fault


def find_preprocessing(name: str, source: str | Path | None = None, given: str | None = None) -> Preprocessing:
    """How pictures are prepared for weights: as given, or as their row, their file or their repository says.

    Args:
      name: the model.
      source: of the weights, as in `zoo.load`.
      given: one of `zoo.data.PRESETS`, or JSON.

    Raises:
      UserError: none of them says it.
    """
    if given is not None:
        return parse_preprocessing(given)
    noted = find_noted_preprocessing(name, source)
    if noted is None:
        problem = f"{find_weights(name, source)} does not say how its pictures are prepared"
        raise UserError(problem, f"pass preprocessing: {', '.join(PRESETS)} or JSON", code="no-preprocessing")
    return noted


def find_class_names(name: str, source: str | Path | None = None) -> tuple[str, ...] | None:
    """The names of the classes that weights know: ImageNet's for published ones, else what their repository says.

    Args:
      name: the model.
      source: of the weights, as in `zoo.load`.

    Raises:
      UserError: what the repository says are no names.

    >>> find_class_names("resnet50")[285]
    'Egyptian cat'
    """
    if find_published(name, source):
        return imagenet_class_names()
    card = hub.read_card(source)
    return None if card is None else card.class_names
