"""The recipe of a run, and what follows from it: loss, learning-rate schedule, optimiser."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax

from zoo.errors import UserError
from zoo.losses import kernel_mask, softmax_cross_entropy
from zoo.training.step import Loss


@dataclass(frozen=True)
class TrainConfig:
    """The recipe of a run: the same recipe gives the same losses and accuracies.

    Raises:
      UserError: a number that makes no sense.
    """

    model: str
    """Name of the net: `zoo list` has them all."""
    data: str = "digits"
    """Images to learn from: digits (shipped), or idx:FOLDER, a folder of the four files of MNIST's format."""
    epochs: int = 20
    """Times that every training image is seen."""
    batch_size: int = 64
    """Images in a step."""
    seed: int = 0
    """Decides the first weights, the order of the images and what dropout drops."""
    lr: float = 0.1
    """Highest learning rate: reached after a tenth of the steps, then falling to 0 along a cosine."""
    momentum: float = 0.9
    """Nesterov momentum of the gradient descent."""
    weight_decay: float = 5e-4
    """Pull of the kernels towards 0; biases and normalisations are left alone."""
    label_smoothing: float = 0.1
    """Share of each label spread evenly over all classes, in the losses of training and of test."""
    max_shift: int = 1
    """Training images are moved by up to so many of their pixels, at random."""
    image_size: int | None = None
    """Side of the images the net sees: by default the data's own, or the net's if that is too small."""

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "seed": (0 <= self.seed < 2**32, "from 0 to 2^32 - 1"),
            "lr": (0 < self.lr < math.inf, "positive"),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "max_shift": (self.max_shift >= 0, "0 or more"),
            "image_size": (self.image_size is None or self.image_size >= 1, "at least 1"),
        }
        for name, (holds, range_) in rules.items():
            if not holds:
                raise UserError(f"{name} is {getattr(self, name)}", f"it must be {range_}")


def make_loss(config: TrainConfig) -> Loss:
    """Softmax cross entropy with the recipe's label smoothing."""
    return partial(softmax_cross_entropy, label_smoothing=config.label_smoothing)


def make_schedule(config: TrainConfig, num_images: int) -> optax.Schedule:
    """Linear to `lr` over the first tenth of the steps, then a cosine to 0."""
    steps = config.epochs * math.ceil(num_images / config.batch_size)
    schedule = optax.warmup_cosine_decay_schedule(0.0, config.lr, steps // 10, steps)

    def of_float_step(step: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        return schedule(jnp.asarray(step, jnp.float32))  # optax would mix int32 with float32 under strict promotion

    return of_float_step


def make_optimizer(config: TrainConfig, num_images: int) -> optax.GradientTransformation:
    """Gradient descent with Nesterov momentum, and weight decay of the kernels."""
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, kernel_mask),
        optax.sgd(make_schedule(config, num_images), config.momentum, nesterov=True),
    )
