"""What a net says of labelled images, row by row, and the figures that follow: shares, classes, mistakes."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from zoo.data import Split, batches
from zoo.errors import UserError
from zoo.layers import choose_compiler_options
from zoo.losses import softmax_cross_entropy
from zoo.models.net import Net
from zoo.norm import Statistics, batch_norm_options
from zoo.training.answer_file import AnswerFile, identify_question
from zoo.training.step import Loss
from zoo.weights.key_maps import Variables

RUNNING: tuple[Statistics, ...] = ("running",)


@dataclass(frozen=True)
class Answers:
    """What a net says of N labelled images.

    Attributes:
      num_classes: K, of the net.
      labels: `[N]`, the classes that are right.
      predicted: `[N]`, the most probable ones.
      confidence: `[N]`, their probabilities.
      rank: `[N]`, how many classes the net holds for more probable than the right one; 0 where it is right.
      loss: `[N]`.
    """

    num_classes: int
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    rank: np.ndarray
    loss: np.ndarray

    def top(self, k: int) -> float:
        """The share of images whose class is among the `k` most probable."""
        return float(np.mean(self.rank < k))

    @property
    def confusion(self) -> np.ndarray:
        """`[K, K]`: how many images of the class of the row were taken for that of the column."""
        pairs = self.labels.astype(np.int64) * self.num_classes + self.predicted
        return np.bincount(pairs, minlength=self.num_classes**2).reshape(self.num_classes, -1)

    @property
    def class_accuracy(self) -> np.ndarray:
        """`[K]`: the share of each class's images that are right; NaN of a class without any."""
        of, right = self.confusion.sum(1), np.diag(self.confusion)
        return np.where(of, right / np.maximum(of, 1), np.nan)

    def find_mistakes(self, count: int) -> np.ndarray:
        """The rows of wrong answers, at most `count`, those of the highest confidence first."""
        wrong = np.flatnonzero(self.rank)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:count]


def evaluate_classes(
    model: Net,
    variables: Variables,
    split: Split,
    batch_size: int,
    *,
    statistics: Collection[Statistics] = RUNNING,
    loss_fn: Loss = softmax_cross_entropy,
    on_batch: Callable[[int], object] = lambda _: None,
    file: Path | None = None,
) -> dict[Statistics, Answers]:
    """What a net says of every image, by the kind of statistics that normalise; the images are gone through once.

    The order is that of `zoo.training.evaluate`.

    Args:
      model, variables: a trained net.
      split: images, prepared as its preprocessing says.
      batch_size: of the batches, on which the answers under batch statistics depend.
      statistics: "running", "batch" or both.
      loss_fn: `(logits [N, K], labels [N]) -> [N]`.
      on_batch: called with the number of images seen, after every batch.
      file: a .safetensors file that keeps the answers: the same call goes on there if it was interrupted.

    Raises:
      UserError: there are no images, a label is no class of the net, or the file answers something else.
    """
    if not len(split):
        raise UserError("the data set has no images", "there is nothing to evaluate")
    if (highest := split.labels.max()) >= model.num_classes:
        raise UserError(f"the images have labels up to {highest}", f"the net has {model.num_classes} classes")
    options = choose_compiler_options(variables)
    answer = jax.jit(partial(_answer, model, loss_fn), static_argnames="statistics", compiler_options=options)
    given = AnswerFile(file, identify_question(variables, split, batch_size, sorted(statistics)) if file else "")
    rows = replace(split, labels=np.arange(len(split), dtype=np.int32))  # a batch then says which images it holds
    try:
        for batch in batches(rows, batch_size, seed=0, epoch=0, start=-(-len(given) // batch_size)):
            valid, row = batch["mask"], batch["label"]
            found = {"row": row[valid]}
            for kind in statistics:
                answered = answer(variables, batch | {"label": split.labels[row]}, statistics=kind)
                found |= {f"{kind}/{name}": np.asarray(values)[valid] for name, values in answered.items()}
            given.append(found)
            on_batch(len(given))
    finally:
        given.write()
    back = np.argsort(given.arrays["row"])
    return {
        kind: Answers(
            model.num_classes,
            split.labels,
            **{name: given.arrays[f"{kind}/{name}"][back] for name in ("predicted", "confidence", "rank", "loss")},
        )
        for kind in statistics
    }


def _answer(
    model: Net, loss_fn: Loss, variables: Variables, batch: dict[str, jax.Array], *, statistics: Statistics
) -> dict[str, jax.Array]:
    """The arrays of `Answers` but the labels, of one batch. Of equal classes the first wins, and NaN over all."""
    label = batch["label"]
    with batch_norm_options(statistics=statistics, where=batch["mask"]):
        logits = jnp.asarray(model.apply(variables, batch["image"], train=False), jnp.float32)
    own = jnp.take_along_axis(logits, label[:, None], axis=1)
    behind = (logits < own) | ((logits == own) & (jnp.arange(logits.shape[1])[None] >= label[:, None]))
    predicted = jnp.argmax(logits, axis=-1)
    return {
        "predicted": predicted,
        "confidence": jnp.take_along_axis(jax.nn.softmax(logits), predicted[:, None], axis=1)[:, 0],
        "rank": jnp.sum(~behind, axis=1),
        "loss": loss_fn(logits, label),
    }
