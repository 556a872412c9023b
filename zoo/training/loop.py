"""The loop around the steps: epochs, schedule, checkpoints, metrics, curves. All that touches the world.

`fit` makes a run folder (`zoo.run` says what is in it), `resume` goes on with one that was interrupted,
`restore` gives back the trained net of a finished one.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo import data, plots
from zoo.data import Dataset, Preparation, Splits
from zoo.losses import softmax_cross_entropy
from zoo.models.registry import create, variant
from zoo.training.run_folder import Epoch, Run, TrainConfig, load_tree, save_tree
from zoo.training.step import EvalStep, TrainState, TrainStep, create_train_state, make_eval_step, make_train_step
from zoo.weights import files
from zoo.weights.files import write_whole

Statistics = Literal["running", "batch"]


@dataclass(frozen=True)
class Progress:
    """How far an epoch is: `images` of `of_images` seen, and the means over them."""

    epoch: int
    images: int
    of_images: int
    loss: float
    accuracy: float
    images_per_second: float


OnStep = Callable[[Progress], None]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Result:
    """A finished run: the last state, one `Epoch` per epoch, the picture if matplotlib is installed."""

    state: TrainState
    history: list[Epoch]
    picture: Path | None


@dataclass(frozen=True)
class Trained:
    """What a finished run folder holds: the recipe, what is done to its images, the net."""

    config: TrainConfig
    preparation: Preparation
    num_classes: int
    state: TrainState


def fit(
    config: TrainConfig,
    folder: Path,
    *,
    overwrite: bool = False,
    on_step: OnStep = lambda progress: None,
    on_epoch: OnEpoch = lambda epoch: None,
) -> Result:
    """Trains a net into a new run folder. Nothing is written before all of the request is found possible.

    Args:
      config: the recipe.
      folder: the run folder to make.
      overwrite: replace the run that is in the folder.
      on_step, on_epoch: called after every step and every epoch.

    Raises:
      ValueError, FileNotFoundError: the recipe, its data or the folder cannot be used, and why.
    """
    run = Run(folder)
    config.check()
    run.check_free(overwrite=overwrite)
    splits, state = prepare(config)
    versions = {name: metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}
    versions["device"] = jax.devices()[0].device_kind
    run.start(config, splits.train.prepare, splits.train.num_classes, versions)
    return _train(run, config, splits, state, [], on_step, on_epoch)


def resume(
    folder: Path,
    *,
    on_step: OnStep = lambda progress: None,
    on_epoch: OnEpoch = lambda epoch: None,
) -> Result:
    """Goes on with an interrupted run after its last whole epoch: to the same bits as if it had not stopped.

    Raises:
      FileNotFoundError: no run in the folder.
      ValueError: the run is finished, or a file of it is damaged.
    """
    run = Run(folder)
    config, _, _ = run.read()
    if run.weights.exists():
        raise ValueError(f"{folder} is finished, after {config.epochs} epochs: there is nothing to resume.")
    splits, state = prepare(config)
    history: list[Epoch] = []
    if run.checkpoint.exists():
        state = load_tree(run.checkpoint, state)
        history = [Epoch(**row) for row in json.loads(files.metadata(run.checkpoint)["history"])]
    return _train(run, config, splits, state, history, on_step, on_epoch)


def restore(folder: Path) -> Trained:
    """The trained net of a finished run folder.

    Raises:
      FileNotFoundError: no run in the folder.
      ValueError: the run is not finished, or a file of it is damaged.
    """
    run = Run(folder)
    config, preparation, num_classes = run.read()
    if not run.weights.exists():
        raise ValueError(f"{folder} is not finished: `zoo resume {folder}` goes on with it.")
    model = create(config.model, num_classes=num_classes)
    key, tx = jax.random.key(0), optax.identity()
    shapes = jax.eval_shape(lambda key: create_train_state(model, key, tx, preparation.image_shape), key)
    variables = load_tree(run.weights, shapes.variables)
    state = shapes.replace(**variables, key=key, step=jnp.zeros((), jnp.int32))
    return Trained(config, preparation, num_classes, state)


def evaluate(trained: Trained, dataset: Dataset, statistics: Statistics) -> dict[str, float]:
    """Mean `loss` and `accuracy` over a dataset, normalised with the running or the batches' statistics."""
    step = make_eval_step(loss_of(trained.config), statistics=statistics)
    return _tested(step, trained.state, dataset, trained.config.batch_size)


def probabilities(trained: Trained, images: np.ndarray) -> np.ndarray:
    """`[N, num_classes]` for prepared images `[N, H, W, C]`."""
    logits: Any = trained.state.model.apply(trained.state.variables, jnp.asarray(images), train=False)
    return np.asarray(jax.nn.softmax(logits))


def loss_of(config: TrainConfig) -> Callable:
    return partial(softmax_cross_entropy, label_smoothing=config.label_smoothing)


def schedule_of(config: TrainConfig, num_images: int) -> optax.Schedule:
    """Linear to `lr` over the first tenth of the steps, then a cosine to 0."""
    steps = config.epochs * math.ceil(num_images / config.batch_size)
    rise = steps // 10

    def schedule(step):  # optax's own mixes int32 with float32, which strict promotion forbids
        step = jnp.asarray(step, jnp.float32)
        fall = 0.5 * (1 + jnp.cos(jnp.pi * (step - rise) / (steps - rise)))
        return config.lr * jnp.where(step < rise, step / max(rise, 1), fall)

    return schedule


def prepare(config: TrainConfig) -> tuple[Splits, TrainState]:
    """The images in the size the net will see, and the first state.

    Unless `config.image_size` says otherwise, images keep their own size if the net takes it, and are resized to
    the net's native one if it does not.
    """
    splits = data.load(config.data)
    model = create(config.model, num_classes=splits.train.num_classes)
    size = config.image_size
    if size is None and min(splits.train.prepare.image_shape[:2]) < model.min_size:
        size = variant(config.model).image_size
    if size is not None:
        splits = Splits(*(split.resized(size) for split in splits))
    tx = optax.chain(
        optax.add_decayed_weights(config.weight_decay, lambda p: jax.tree.map(lambda leaf: leaf.ndim > 1, p)),
        optax.sgd(schedule_of(config, len(splits.train)), config.momentum, nesterov=True),
    )
    shape = splits.train.prepare.image_shape
    return splits, create_train_state(model, jax.random.key(config.seed), tx, shape)


def _train(run: Run, config: TrainConfig, splits: Splits, state: TrainState, history, on_step, on_epoch) -> Result:
    """The epochs that `history` lacks: the folder can be resumed after each and is finished after the last."""
    train_step = make_train_step(loss_of(config))
    eval_steps = {name: make_eval_step(loss_of(config), statistics=name) for name in get_args(Statistics)}
    schedule = schedule_of(config, len(splits.train))
    for epoch in range(len(history) + 1, config.epochs + 1):
        start = time.perf_counter()
        state, trained = _epoch(train_step, state, splits.train, config, epoch, on_step)
        if not math.isfinite(trained.loss):
            raise ValueError(f"The loss is {trained.loss} in epoch {epoch}: choose a smaller lr than {config.lr}.")
        tested = {
            f"test_{metric}_{name}": value
            for name, step in eval_steps.items()
            for metric, value in _tested(step, state, splits.test, config.batch_size).items()
        }
        row = Epoch(
            epoch=epoch,
            learning_rate=float(schedule(state.step - 1)),
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            images_per_second=trained.images_per_second,
            seconds=time.perf_counter() - start,
            **tested,
        )
        history = [*history, row]
        save_tree(run.checkpoint, state, {"history": json.dumps([asdict(row) for row in history])})
        run.write_metrics(history)
        on_epoch(row)
    picture = plots.draw(history, title=f"{config.model} on {config.data}, seed {config.seed}")
    if picture is not None:
        write_whole(run.picture, lambda path: path.write_bytes(picture))
    files.save(run.weights, state.variables, name=config.model)
    run.checkpoint.unlink()
    return Result(state, history, None if picture is None else run.picture)


@dataclass
class _Seen:
    """Running sums over the images of an epoch."""

    epoch: int
    of_images: int
    start: float
    images: int = 0
    loss: float = 0.0
    correct: float = 0.0

    def add(self, metrics: Mapping[str, jax.Array]) -> Progress:
        loss, accuracy, count = (float(metrics[name]) for name in ("loss", "accuracy", "count"))
        self.images += int(count)
        self.loss += count * loss
        self.correct += count * accuracy
        speed = self.images / (time.perf_counter() - self.start)
        means = self.loss / self.images, self.correct / self.images
        return Progress(self.epoch, self.images, self.of_images, *means, speed)


def _epoch(
    step: TrainStep, state: TrainState, train: Dataset, config: TrainConfig, epoch: int, on_step: OnStep
) -> tuple[TrainState, Progress]:
    """One pass over the training images."""
    seen = _Seen(epoch, len(train), time.perf_counter())
    made: Iterator[Any] = data.batches(
        train, config.batch_size, seed=config.seed, epoch=epoch, max_shift=config.max_shift
    )
    state, metrics = step(state, next(made))
    for batch in made:
        waiting = metrics
        state, metrics = step(state, batch)
        on_step(seen.add(waiting))  # read a step's metrics while the next one is running
    progress = seen.add(metrics)
    on_step(progress)
    return state, progress


def _tested(step: EvalStep, state: TrainState, test: Dataset, batch_size: int) -> dict[str, float]:
    """Mean loss and accuracy. The order is mixed, always in the same way: a file sorted by class must not put
    one class into a batch, whose statistics would then be another's."""
    made: Iterator[Any] = data.batches(test, batch_size, seed=0, epoch=0)
    sums = {"loss": 0.0, "correct": 0.0, "count": 0.0}
    for batch in made:
        one = step(state, batch)
        sums = {name: total + float(one[name]) for name, total in sums.items()}
    return {"loss": sums["loss"] / sums["count"], "accuracy": sums["correct"] / sums["count"]}
