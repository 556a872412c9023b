"""What a training counts: means over images, step by step, epoch by epoch, and over a test set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax

from zoo.data import Split, batches
from zoo.errors import UserError
from zoo.norm import compare_statistics
from zoo.training.compilation import EvalStep
from zoo.training.devices import find_mesh, share_batch
from zoo.training.state import TrainState

SLACK = 0.05  # share of the time in which the input must be ahead of a device that it does not hold up


@dataclass(frozen=True)
class Epoch:
    """An epoch's line of metrics.jsonl. Losses are means over the images, with label smoothing; accuracies are shares.

    The training's are those of the steps, each before its update. The test's are taken after the epoch, once with the
    running statistics and once with those of the test batches. The speed is that of the training steps, without
    compilation. The learning rate is that of the recipe's optimiser, None with the caller's own. The distance is that
    of a test batch's means from the running ones, in running deviations: the root mean square over the channels of all
    normalisations; None without any.
    """

    epoch: int
    learning_rate: float | None
    train_loss: float
    train_accuracy: float
    test_loss_running: float
    test_accuracy_running: float
    test_loss_batch: float
    test_accuracy_batch: float
    images_per_second: float
    seconds: float
    statistics_distance: float | None = None


@dataclass(frozen=True)
class Step:
    """A step's line of metrics.jsonl (`log_every`): its own loss and accuracy, before its update."""

    step: int
    epoch: int
    learning_rate: float | None
    loss: float
    accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class Progress:
    """How far an epoch is: `images` of `of_images` seen, and the means over them.

    `limit` is what the speed depends on: "compute" where the next batch was ready before the step was done, "input"
    where the device had to wait for it.
    """

    epoch: int
    images: int
    of_images: int
    loss: float
    accuracy: float
    images_per_second: float
    limit: str = "compute"


@dataclass(frozen=True)
class EpochSums:
    """Sums over the images of an epoch so far, each image counting once whatever its batch, and the time they took.

    `waited` is the part of the time in which the next batch was ready and the step was not.
    """

    epoch: int
    steps: int = 0
    images: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, metrics: Mapping[str, jax.Array], seconds: float, waited: float) -> "EpochSums":
        """With the metrics of one more step."""
        loss, accuracy, count = (float(metrics[name]) for name in ("loss", "accuracy", "count"))
        return replace(
            self,
            steps=self.steps + 1,
            images=self.images + int(count),
            loss=self.loss + count * loss,
            correct=self.correct + count * accuracy,
            seconds=self.seconds + seconds,
            waited=self.waited + waited,
        )

    def to_progress(self, of_images: int) -> Progress:
        images = max(self.images, 1)
        speed = self.images / max(self.seconds, 1e-9)
        limit = "compute" if self.waited >= SLACK * self.seconds else "input"
        return Progress(self.epoch, self.images, of_images, self.loss / images, self.correct / images, speed, limit)


def find_best(history: Sequence[Epoch]) -> Epoch:
    """The epoch of the highest test accuracy with running statistics, of equal ones that of the lowest loss."""
    return max(history, key=lambda row: (row.test_accuracy_running, -row.test_loss_running))


def evaluate(step: EvalStep, state: TrainState, dataset: Split, batch_size: int) -> dict[str, float]:
    """Mean `loss` and `accuracy` over a data set, on the devices on which the state lies.

    The order is mixed, always in the same way: a file sorted by class must not put one class into a batch, whose
    statistics would then be another's.

    Raises:
      UserError: the data set is empty.
    """
    if not len(dataset):
        raise UserError("the data set has no images", "there is nothing to evaluate")
    sums, mesh = {"loss": 0.0, "correct": 0.0, "count": 0.0}, find_mesh(state)
    for batch in batches(dataset, batch_size, seed=0, epoch=0):
        one = step(state, share_batch(batch, mesh))
        sums = {name: total + float(one[name]) for name, total in sums.items()}
    return {"loss": sums["loss"] / sums["count"], "accuracy": sums["correct"] / sums["count"]}


def measure_distance(state: TrainState, dataset: Split, batch_size: int) -> float | None:
    """How far a batch's means are from the running ones (`Epoch.statistics_distance`), all normalisations together."""
    if not state.batch_stats:
        return None
    batch = share_batch(next(batches(dataset, batch_size, seed=0, epoch=0)), find_mesh(state))
    rows = compare_statistics(state.model, state.variables, batch)
    return math.sqrt(sum(row.channels * row.distance**2 for row in rows) / sum(row.channels for row in rows))
