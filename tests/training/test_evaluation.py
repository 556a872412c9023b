"""Figures of a test: scikit-learn's, of probabilities that the net itself gives."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score

import zoo
from zoo import data
from zoo.errors import UserError
from zoo.norm import batch_norm_options
from zoo.training import Answers, RunFolder, evaluate_classes

K = 10


@pytest.fixture(scope="module")
def tested(normalised):
    """A trained net, the test images, and what it says of them under both statistics."""
    trained, test = RunFolder(normalised[0]).restore(), data.load("digits").test
    kinds = ("running", "batch")
    return trained, test, evaluate_classes(trained.model, trained.state.variables, test, 355, statistics=kinds)


def find_logits(trained, images, statistics):
    with batch_norm_options(statistics=statistics):
        return np.asarray(trained.model.apply(trained.state.variables, images, train=False))


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_figures_are_scikit_learn_s_of_the_net_s_own_logits(tested, statistics):
    trained, test, answers = tested
    found = answers[statistics]
    logits = find_logits(trained, data.prepare_images(test.images, test.preprocessing), statistics)  # one batch of all
    predicted, names = logits.argmax(-1), range(K)
    np.testing.assert_array_equal(found.predicted, predicted)
    np.testing.assert_array_equal(found.labels, test.labels)
    assert found.top(1) == pytest.approx(accuracy_score(test.labels, predicted))
    for k in (1, 2, 5):
        assert found.top(k) == pytest.approx(top_k_accuracy_score(test.labels, logits, k=k, labels=names))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(test.labels, predicted, labels=names))
    np.testing.assert_allclose(found.class_accuracy, recall_score(test.labels, predicted, average=None))
    probabilities = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(found.confidence, (probabilities.max(-1) / probabilities.sum(-1)), rtol=1e-5)
    rows = np.arange(len(test))
    loss = -np.log(probabilities[rows, test.labels] / probabilities.sum(-1))
    np.testing.assert_allclose(found.loss, loss, rtol=1e-4, atol=1e-5)
    mistakes = sorted(np.flatnonzero(predicted != test.labels), key=lambda row: -found.confidence[row])
    np.testing.assert_array_equal(found.find_mistakes(10_000), mistakes)
    np.testing.assert_array_equal(found.find_mistakes(3), mistakes[:3])


def test_batches_change_nothing_under_running_statistics(tested):
    trained, test, answers = tested
    seen = []
    (one,) = evaluate_classes(trained.model, trained.state.variables, test, 100, on_batch=seen.append).values()
    np.testing.assert_array_equal(one.rank, answers["running"].rank)
    assert seen == [100, 200, 300, 355]


class Table(zoo.models.Net):
    """Says of an image what the table of its only pixel says."""

    def forward(self, x, *, train):
        return jnp.asarray(self.variables["params"]["table"])[x[:, 0, 0, 0].astype(int)], {}


def say(table, labels):
    """The answers of a net whose logits are the rows of the table."""
    count = len(labels)
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    preprocessing = data.Preprocessing(1, None, (0.0,), (1.0,), scale=255.0)
    split = data.Dataset(
        images=images, labels=np.array(labels, np.int32), num_classes=len(table[0]), preprocessing=preprocessing
    )
    model = Table(num_classes=len(table[0]))
    return evaluate_classes(model, {"params": {"table": np.array(table, np.float32)}}, split, 2)["running"]


def test_of_equal_logits_the_first_wins_and_no_number_is_never_right():
    answers = say([[1, 1, 0], [1, 1, 0], [np.nan] * 3, [np.inf, 0, 0]], [0, 1, 0, 0])
    np.testing.assert_array_equal(answers.rank, [0, 1, 3, 0])
    assert answers.top(1) == 0.5
    np.testing.assert_array_equal(np.isnan(answers.class_accuracy), [False, False, True])


def test_many_classes_do_not_overflow_the_matrix():
    labels = np.full(2, 999, np.int16)
    zero = np.zeros(2, np.int16)
    confusion = Answers(1000, labels, np.array([0, 999]), zero, np.array([1, 0]), zero).confusion
    assert (confusion[999, 0], confusion[999, 999], confusion.sum()) == (1, 1, 2)


def test_what_cannot_be_evaluated_is_an_error(tested):
    trained, test, _ = tested
    empty = replace(test, images=test.images[:0], labels=test.labels[:0])
    with pytest.raises(UserError, match="no images: there is nothing to evaluate"):
        evaluate_classes(trained.model, trained.state.variables, empty, 8)
    with pytest.raises(UserError, match="labels up to 9: the net has 3 classes"):
        evaluate_classes(zoo.create("mlp", num_classes=3), {}, test, 8)


def test_a_net_in_half_precision_gives_float32_probabilities(tested):
    trained, test, _ = tested
    model = trained.model.clone(dtype=jnp.bfloat16)
    few = replace(test, images=test.images[:16], labels=test.labels[:16])
    (answers,) = evaluate_classes(model, trained.state.variables, few, 16).values()
    assert answers.confidence.dtype == answers.loss.dtype == np.float32
    assert jax.tree.leaves(trained.state.params)[0].dtype == jnp.float32


def test_an_interrupted_test_goes_on_from_its_file_to_the_same_answers(tested, tmp_path):
    trained, test, answers = tested
    model, variables, file = trained.model, trained.state.variables, tmp_path / "answers.safetensors"

    def stop_at_150(seen):
        if seen >= 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_classes(model, variables, test, 50, on_batch=stop_at_150, file=file)
    seen = []
    (first,) = evaluate_classes(model, variables, test, 50, on_batch=seen.append, file=file).values()
    assert seen == [200, 250, 300, 350, 355], "three batches of eight were answered before"
    (again,) = evaluate_classes(model, variables, test, 50, on_batch=seen.append, file=file).values()
    assert len(seen) == 5, "all are answered"
    for found in (first, again):
        np.testing.assert_array_equal(found.rank, answers["running"].rank)
        np.testing.assert_allclose(found.loss, answers["running"].loss, rtol=1e-4, atol=1e-5)


def test_answers_to_another_question_are_not_taken(tested, tmp_path):
    trained, test, _ = tested
    model, variables, file = trained.model, trained.state.variables, tmp_path / "answers.safetensors"
    evaluate_classes(model, variables, test, 355, file=file)
    others = {
        "weights": (jax.tree.map(lambda leaf: leaf + 1, variables), test, 355),
        "pictures": (variables, replace(test, images=255 - test.images), 355),
        "labels": (variables, replace(test, labels=test.labels[::-1]), 355),
        "preprocessing": (variables, replace(test, preprocessing=replace(test.preprocessing, mean=(0.3,))), 355),
        "batch size": (variables, test, 100),
    }
    before = file.read_bytes()
    for what, (others_variables, split, batch_size) in others.items():
        with pytest.raises(UserError, match="holds answers of another net"):
            evaluate_classes(model, others_variables, split, batch_size, file=file)
        assert file.read_bytes() == before, what
    with pytest.raises(UserError, match=r"answers are written as \.safetensors"):
        evaluate_classes(model, variables, test, 355, file=tmp_path / "answers.npz")
