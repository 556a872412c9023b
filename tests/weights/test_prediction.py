"""Predictions: the softmax of the net on prepared pictures, sorted, under the names of the classes."""

import jax
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.weights.test_state_dict import NAME, state_dict_of
from zoo.data import Preprocessing
from zoo.data.preprocessing import format_preprocessing
from zoo.errors import UserError
from zoo.models.convnet import MLP
from zoo.weights import files, find_class_names, find_preprocessing
from zoo.weights.files import PREPROCESSING

SMALL = Preprocessing(16, 0.8)


@pytest.fixture
def trained():
    variables = zoo.from_torch(NAME, state_dict_of())
    variables["params"]["fc"]["kernel"] *= 0.01  # no class is certain
    return zoo.create(NAME), variables


def pictures(count):
    return [Image.fromarray(np.random.RandomState(i).randint(0, 256, (20, 30, 3), np.uint8)) for i in range(count)]


def test_predictions_are_the_sorted_softmax_of_the_prepared_pictures(trained, tmp_path):
    model, variables = trained
    first, second = pictures(2)
    second.save(tmp_path / "1.png")
    answer = zoo.predict(model, variables, [first, tmp_path / "1.png"], SMALL, labels="abcdefghij", top=3)
    for picture, best in zip((first, second), answer, strict=True):
        prepared = zoo.data.prepare_picture(picture, SMALL)[None]
        (logits,) = np.asarray(jax.jit(lambda x: model.apply(variables, x, train=False))(prepared))
        softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        order = np.argsort(softmax)[::-1][:3]
        assert [label for label, _ in best] == ["abcdefghij"[i] for i in order]
        np.testing.assert_allclose([probability for _, probability in best], softmax[order], rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 32])
def test_batches_change_nothing_and_are_read_one_at_a_time(trained, batch_size):
    read = []

    def drawn():
        for picture in pictures(7):
            read.append(picture)
            yield picture

    answer = zoo.predict(*trained, drawn(), SMALL, batch_size=batch_size)
    expected = zoo.predict(*trained, pictures(7), SMALL, batch_size=7)
    assert [[label for label, _ in best] for best in answer] == [[label for label, _ in best] for best in expected]
    for one, other in zip(answer, expected, strict=True):
        np.testing.assert_allclose([p for _, p in one], [p for _, p in other], rtol=1e-4)
    assert len(read) == 7


def test_equal_probabilities_keep_the_order_of_the_classes(trained):
    model, variables = trained
    flat = jax.tree.map(np.zeros_like, variables["params"])
    (best,) = zoo.predict(model, {**variables, "params": flat}, pictures(1), SMALL)
    assert [label for label, _ in best] == ["0", "1", "2", "3", "4"]


def test_no_picture_is_no_prediction(trained):
    assert zoo.predict(*trained, [], SMALL) == []


def grey_pictures():
    return [picture.convert("L") for picture in pictures(2)]


def test_a_net_loaded_for_grey_images_says_of_grey_pictures_what_its_colour_net_says(trained):
    model, variables = trained
    grey = zoo.from_torch(NAME, zoo.to_torch(NAME, variables), grayscale=True)
    equal = Preprocessing(16, 0.8, (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    for expected, best in zip(
        zoo.predict(model, variables, grey_pictures(), equal),
        zoo.predict(model, grey, grey_pictures(), equal),
        strict=True,
    ):
        assert [label for label, _ in best] == [label for label, _ in expected]
        np.testing.assert_allclose([p for _, p in best], [p for _, p in expected], rtol=1e-3)


def test_a_net_for_grey_images_gets_colour_pictures_grey_and_averaged(trained):
    _, variables = trained
    model, grey = zoo.create(NAME), zoo.from_torch(NAME, zoo.to_torch(NAME, variables), grayscale=True)
    preprocessing = Preprocessing(20, None)
    picture = pictures(1)[0].resize((20, 20))
    pixels = np.asarray(picture.convert("L"), np.float64)[None, ..., None] / 255
    images = (pixels - (0.485 + 0.456 + 0.406) / 3) / ((0.229 + 0.224 + 0.225) / 3)
    logits = np.asarray(model.apply(grey, images.astype(np.float32), train=False))[0]
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    (best,) = zoo.predict(model, grey, [picture], preprocessing, top=10)
    np.testing.assert_allclose([p for _, p in best], np.sort(softmax)[::-1], rtol=1e-3, atol=1e-6)
    assert zoo.predict(model, grey, [], preprocessing) == []


def test_lenet5_predicts_with_the_preprocessing_of_colour_pictures():
    model, size = zoo.create("lenet5"), zoo.variant("lenet5").image_size
    variables = zoo.from_torch("lenet5", state_dict_of("lenet5", (size, size, 1)))
    (best,) = zoo.predict(model, variables, pictures(1), Preprocessing(size))
    assert len(best) == 5


def test_a_preprocessing_that_the_net_does_not_take_is_one_line(trained):
    with pytest.raises(UserError) as error:
        zoo.predict(*trained, pictures(1), Preprocessing(16, mean=(0.5,), std=(0.5,)))
    assert "\n" not in str(error.value)
    model = zoo.create("mlp")
    variables = zoo.from_torch("mlp", state_dict_of("mlp"))
    with pytest.raises(UserError, match=r"16, 16, 3\).*pass") as error:
        zoo.predict(model, variables, pictures(1), SMALL)
    assert "\n" not in str(error.value)


def test_a_fault_of_the_net_itself_is_not_said_to_be_the_preprocessing_s(trained):
    class Faulty(MLP):
        def __call__(self, x, **_):
            return misspelt(x)  # noqa: F821

    with pytest.raises(NameError, match="misspelt"):
        zoo.predict(Faulty(), trained[1], pictures(1), SMALL)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_numbers_are_not_given(trained, value):
    model, variables = trained
    variables["params"]["fc"]["bias"] *= value
    with pytest.raises(UserError, match="the net's answers are not numbers: zoo"):
        zoo.predict(model, variables, pictures(1), SMALL)


def test_labels_may_be_an_array(trained):
    (best,) = zoo.predict(*trained, pictures(1), SMALL, labels=np.array(list("abcdefghij")), top=10)
    assert {label for label, _ in best} == set("abcdefghij")


def test_as_many_labels_as_classes_are_needed(trained):
    with pytest.raises(ValueError, match="9 labels for 10 classes"):
        zoo.predict(*trained, pictures(1), SMALL, labels=list("abcdefghi"))


def test_preprocessing_is_what_is_given_else_noted_else_published(tmp_path):
    path = tmp_path / "w.safetensors"
    variables = zoo.from_torch(NAME, state_dict_of())
    files.save(path, variables, name=NAME, metadata={PREPROCESSING: format_preprocessing(SMALL)})
    assert find_preprocessing(NAME, path, "inception").image_shape == (299, 299, 3)
    assert find_preprocessing(NAME, path) == SMALL
    published = zoo.variant("resnet18").weights
    assert find_preprocessing("resnet18") == published.preprocessing
    assert find_preprocessing("resnet18", published.source) == published.preprocessing
    files.save(path, variables, name=NAME)
    with pytest.raises(ValueError, match=r"how its pictures are prepared: pass preprocessing: torchvision"):
        find_preprocessing(NAME, path)


def test_published_weights_know_the_classes_of_imagenet_and_others_may_know_others():
    published = {name: weights for name in zoo.list_models() if (weights := zoo.variant(name).weights)}
    assert len(published) > 20
    for name, weights in published.items():
        assert zoo.create(name).num_classes == 1000
        assert find_class_names(name) == find_class_names(name, weights.source) == zoo.data.imagenet_class_names()
    assert find_class_names("resnet50", "model.safetensors") is None
    assert find_class_names(NAME) is None
