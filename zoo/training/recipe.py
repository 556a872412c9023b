"""The recipe of a run: every number that decides what it comes to, and the net and the loss that follow from it."""

import math
from dataclasses import dataclass, field, fields
from functools import partial
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from zoo.data import Augmentation
from zoo.errors import UserError
from zoo.losses import softmax_cross_entropy
from zoo.models import registry
from zoo.models.net import Net
from zoo.training.step import Loss

WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass(frozen=True)
class TrainConfig(Augmentation):
    """The recipe of a run: the same recipe gives the same losses and accuracies.

    Beside the fields here it has those of `zoo.data.Augmentation`.

    Raises:
      UserError: a value of another type, or a number that makes no sense.
    """

    model: str
    """Name of the net: `zoo list` has them all."""
    data: str = "digits"
    """Images to learn from: digits (shipped), or KIND:FOLDER, as in folder:pets, cifar10:data or idx:data."""
    epochs: int = 20
    """Times that every training image is seen."""
    batch_size: int = 64
    """Images in a step."""
    seed: int = 0
    """Decides the first weights, the order of the images and what dropout drops."""
    image_size: int | None = None
    """Side of the images the net sees: by default that of the weights or the data, or the net's if it needs more."""
    max_bad_files: int = 0
    """So many pictures of a folder may be left out because they cannot be read."""
    max_shift: int = field(default=1, kw_only=True)
    """Training images are moved by up to so many of their pixels, at random; what comes in is black."""
    weights: str | None = None
    """Start from trained weights: a file, hf:ORG/NAME, or published. A head of other classes is made new."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are: shell patterns of their paths, as in 'layer1_*'."""
    freeze_statistics: bool | tuple[str, ...] = False
    """Normalisations that use and keep their running statistics: all, or shell patterns of their paths."""
    group_size: int | None = None
    """Images that are normalised together in a step: by default the whole batch, on whatever many devices."""
    optimizer: Literal["sgd", "adamw", "lamb", "lars"] = "sgd"
    """Gradient descent with Nesterov momentum, AdamW, LAMB or LARS."""
    lr: float = 0.1
    """Highest learning rate, reached after the warm-up."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """What follows the warm-up: a cosine to 0, a drop at every milestone, or nothing."""
    warmup_epochs: float | None = None
    """Epochs in which the learning rate rises from 0: by default a tenth of all."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the run after which the step schedule lowers the learning rate."""
    step_factor: float = 0.1
    """What the step schedule multiplies the learning rate with at every milestone."""
    momentum: float = 0.9
    """Momentum of SGD and LARS, and the first decay (beta 1) of AdamW and LAMB."""
    weight_decay: float = 5e-4
    """Pull of the kernels towards 0; biases and normalisations are left alone."""
    head_lr_scale: float = 1.0
    """Multiplies the learning rate of the layer that makes the logits."""
    layer_decay: float = 1.0
    """Each layer's learning rate is so many times that of the layer after it."""
    clip_norm: float | None = None
    """Largest norm of all gradients together: longer ones are shortened to it."""
    accumulate: int = 1
    """Steps whose gradients are averaged for one update; statistics move at each of them."""
    ema_decay: float | None = None
    """Test and keep moving averages of parameters and statistics: share of the old average kept by every step."""
    label_smoothing: float = 0.1
    """Share of each label spread evenly over all classes, in the losses of training and of test."""
    aux_weight: float | None = None
    """Weight of each auxiliary head's loss: the published ones if not given; 0 trains without the heads."""
    dropout: float | None = None
    """Share of units that are dropped, in a net that drops any: the net's own if not given."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters and statistics are float32 in either case."""
    patience: int | None = None
    """Stop after so many epochs without a better test accuracy, and keep the best weights."""
    log_every: int | None = None
    """Also write a line of metrics.jsonl every so many steps."""
    tensorboard: bool = False
    """Also write the metrics for TensorBoard."""

    def __post_init__(self) -> None:
        for one in fields(self):  # JSON and TOML have lists
            if isinstance(value := getattr(self, one.name), list):
                object.__setattr__(self, one.name, tuple(value))
        hints = get_type_hints(TrainConfig)
        for name, hint in hints.items():
            if not _fits(getattr(self, name), hint):
                raise UserError(f"{name} is {getattr(self, name)!r}", f"it must be {_describe(hint)}")
        _ = self.augmentation  # which checks its own
        marks = self.milestones
        rules: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "seed": (0 <= self.seed < 2**32, "from 0 to 2^32 - 1"),
            "image_size": (self.image_size is None or self.image_size >= 1, "at least 1"),
            "max_bad_files": (self.max_bad_files >= 0, "0 or more"),
            "group_size": (
                self.group_size is None or (self.group_size >= 1 and self.batch_size % self.group_size == 0),
                f"a divisor of the batch_size, {self.batch_size}",
            ),
            "lr": (0 < self.lr < math.inf, "positive"),
            "warmup_epochs": (
                self.warmup_epochs is None or 0 <= self.warmup_epochs < self.epochs,
                "0 or more, less than epochs",
            ),
            "milestones": (
                list(marks) == sorted(set(marks)) and all(0 < m < 1 for m in marks),
                "rising, between 0 and 1",
            ),
            "step_factor": (0 < self.step_factor <= 1, "above 0, up to 1"),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "head_lr_scale": (0 < self.head_lr_scale < math.inf, "positive"),
            "layer_decay": (0 < self.layer_decay <= 1, "above 0, up to 1"),
            "clip_norm": (self.clip_norm is None or 0 < self.clip_norm < math.inf, "positive"),
            "accumulate": (self.accumulate >= 1, "at least 1"),
            "ema_decay": (self.ema_decay is None or 0 <= self.ema_decay < 1, "from 0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "aux_weight": (self.aux_weight is None or 0 <= self.aux_weight < math.inf, "0 or more"),
            "dropout": (self.dropout is None or 0 <= self.dropout < 1, "from 0 to below 1"),
            "patience": (self.patience is None or self.patience >= 1, "at least 1"),
            "log_every": (self.log_every is None or self.log_every >= 1, "at least 1"),
        }
        for name, (holds, range_) in rules.items():
            if not holds:
                raise UserError(f"{name} is {getattr(self, name)}", f"it must be {range_}")

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training images."""
        return Augmentation(**{one.name: getattr(self, one.name) for one in fields(Augmentation)})

    @property
    def statistics(self) -> dict[str, Literal["running"]] | None:
        """What `make_train_step` is told about the normalisations."""
        frozen = ("*",) if self.freeze_statistics is True else self.freeze_statistics or ()
        return {pattern: "running" for pattern in frozen} or None


def make_model(config: TrainConfig, num_classes: int) -> Net:
    """The net, of the recipe's type of computation and with its dropout.

    Raises:
      UserError: there is no such net, or it drops no units.
    """
    given = {} if config.dropout is None else {"dropout": config.dropout}
    return registry.create(config.model, num_classes=num_classes, dtype=config.dtype, **given)


def make_loss(config: TrainConfig) -> Loss:
    """Softmax cross entropy with the recipe's label smoothing."""
    return partial(softmax_cross_entropy, label_smoothing=config.label_smoothing)


def find_aux_weights(config: TrainConfig) -> dict[str, float] | None:
    """Weights of the auxiliary heads' losses, as `make_train_step` takes them."""
    if config.aux_weight is None:
        return None
    heads = registry.variant(config.model).aux_weights
    return dict.fromkeys(heads, config.aux_weight) if config.aux_weight else {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type."""
    kinds = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, kind) for kind in kinds)
    if get_origin(hint) is Literal:
        return value in kinds
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(one, kinds[0]) for one in value)
    return type(value) in ((int, float) if hint is float else (hint,))


def _describe(hint: Any) -> str:
    """A type in words."""
    kinds = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_describe(kind) for kind in kinds if kind is not type(None))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, kinds))
    return "a list" if get_origin(hint) is tuple else WORDS[hint]
