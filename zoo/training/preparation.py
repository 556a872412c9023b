"""What a run starts from: its images as the net sees them, the net, its first or its trained weights, the optimiser."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from zoo.data import Preprocessing, Splits, load
from zoo.errors import UserError
from zoo.models import registry
from zoo.training.freezing import find_fitting, freeze
from zoo.training.optimiser import make_optimizer
from zoo.training.recipe import TrainConfig, make_model
from zoo.training.state import TrainState, create_train_state
from zoo.weights import from_torch
from zoo.weights.inspection import Shape
from zoo.weights.loading import (
    find_noted_preprocessing,
    find_weights,
    read_arrays,
    recognise_net,
)
from zoo.weights.origins import find_origin

PUBLISHED = "published"


class Prepared(NamedTuple):
    """Images in the form the net will see them, the first state, and the modules that loaded weights did not bring."""

    splits: Splits
    state: TrainState
    new: tuple[str, ...]


def load_splits(config: TrainConfig) -> Splits:
    """The images of the recipe's source, as the source has them."""
    return load(config.data, seed=config.seed, max_bad_files=config.max_bad_files)


def prepare(
    config: TrainConfig,
    splits: Splits | None = None,
    tx: optax.GradientTransformation | None = None,
    preprocessing: Preprocessing | None = None,
) -> Prepared:
    """Everything that a run needs before its first step.

    Images are prepared as they were for the trained weights, if those say how. In the size of `config.image_size`, or
    else in their own (that of the weights) if the net takes it, and in the net's native one if it does not.

    Args:
      config: the recipe.
      splits: the images in the place of `config.data`.
      tx: the optimiser in the place of the recipe's.
      preprocessing: that of the run, if it was made before.
    """
    splits = load_splits(config) if splits is None else splits
    key, num_classes = jax.random.key(config.seed), splits.train.num_classes
    model = make_model(config, num_classes)
    if preprocessing is None:
        preprocessing = _choose_preprocessing(config, splits.train.preprocessing, model.min_size)
    splits = Splits(*(replace(split, preprocessing=preprocessing) for split in splits))
    shape = preprocessing.image_shape
    variables, new = (None, ()) if config.weights is None else _load_weights(config, num_classes, shape, key)
    tx = freeze(make_optimizer(config, len(splits.train)) if tx is None else tx, config.freeze)
    with explain_lack_of_memory(config, preprocessing):
        state = create_train_state(model, key, tx, shape, variables, ema_decay=config.ema_decay)
    if config.statistics:
        layers = {"/".join(path[:-1]) for path in flatten_dict(state.batch_stats)}
        find_fitting(sorted(layers), config.statistics, "normalisation")
    return Prepared(splits, state, new)


@contextlib.contextmanager
def explain_lack_of_memory(config: TrainConfig, preprocessing: Preprocessing) -> Iterator[None]:
    """One line in the place of what a device says that has too little."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        height, width, _ = preprocessing.image_shape
        step = f"a step of {config.model} with batch_size={config.batch_size} and {height}x{width} images"
        remedy = "choose a smaller batch_size or image_size"
        raise UserError(f"the memory is too small for {step}", remedy, code="out-of-memory") from error


def _choose_preprocessing(config: TrainConfig, own: Preprocessing, least: int) -> Preprocessing:
    """How images are prepared: as the weights say, or as their source does; in a size that the net takes.

    Grey images stay grey, and are standardised by the averages of the three means and deviations.
    """
    noted = None if config.weights is None else find_noted_preprocessing(config.model, _find_source(config))
    chosen, size = noted or own, config.image_size
    if len(chosen.mean) > len(own.mean):
        chosen = replace(chosen, mean=(float(np.mean(chosen.mean)),), std=(float(np.mean(chosen.std)),))
    if size is None and min(chosen.image_shape[:2]) < least:
        size = registry.variant(config.model).image_size
    return chosen if size is None else replace(chosen, size=size)


def _load_weights(
    config: TrainConfig, num_classes: int, image_shape: Shape, key: jax.Array
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The trained variables, and the paths of the heads that are new because the weights were for other classes.

    A net for colours sees grey images by the sum of its first kernels.
    """
    path = find_weights(config.model, _find_source(config))
    arrays = read_arrays(config.model, path)
    origin = find_origin(path)
    if origin and origin.make_model(config.model) != registry.create(config.model):
        problem = f"{path} holds {origin.title}'s net, which is not {config.model} as it stands"
        raise UserError(problem, "train it in a program, with zoo.pretrained and zoo.make_train_step")
    model, new, (_, _, channels) = recognise_net(config.model, path, arrays, num_classes)
    variables = from_torch(
        config.model,
        arrays,
        model=model,
        new=new,
        grayscale=image_shape[2] < channels,
        image_shape=(*image_shape[:2], channels),
        key=key if new else None,
    )
    return variables, registry.variant(config.model).heads if new else ()


def _find_source(config: TrainConfig) -> str | None:
    """Of the weights, as `zoo.load` takes it."""
    return None if config.weights == PUBLISHED else config.weights
