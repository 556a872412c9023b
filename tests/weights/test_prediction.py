"""Predictions: the softmax of the net on prepared pictures, sorted, under the names of the classes."""

import jax
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.weights.test_key_maps import NAME, state_dict_of
from zoo import weights
from zoo.data import preprocessing as preprocess
from zoo.weights import files
from zoo.weights import prediction as predict

SMALL = '{"size": 16, "crop": 0.8}'


def test_predictions_are_the_sorted_softmax_of_the_prepared_pictures(tmp_path):
    path, variables = tmp_path / "w.safetensors", weights.from_torch(NAME, state_dict_of())
    variables["params"]["fc"]["kernel"] *= 0.01  # no class is certain
    files.save(path, variables, name=NAME, metadata={preprocess.KEY: SMALL})
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    pictures = [Image.fromarray(np.random.RandomState(i).randint(0, 256, (20, 30, 3), np.uint8)) for i in range(2)]
    pictures[1].save(tmp_path / "1.png")
    answer = predict.predict(NAME, [pictures[0], tmp_path / "1.png"], path, labels=tmp_path / "names.txt", top=3)
    for picture, best in zip(pictures, answer, strict=True):
        prepared = preprocess.prepare(picture, preprocess.preprocessing(SMALL, "w"))
        (logits,) = np.asarray(jax.jit(lambda x: zoo.create(NAME).apply(variables, x, train=False))(prepared))
        softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        order = np.argsort(softmax)[::-1][:3]
        assert [label for label, _ in best] == ["abcdefghij"[i] for i in order]
        np.testing.assert_allclose([probability for _, probability in best], softmax[order], rtol=1e-4)


def test_preprocessing_is_what_is_given_else_noted_else_published(tmp_path):
    path = tmp_path / "w.safetensors"
    files.save(path, weights.from_torch(NAME, state_dict_of()), name=NAME, metadata={preprocess.KEY: SMALL})
    assert predict.preprocessing_of(NAME, path, "inception").size == 299
    assert predict.preprocessing_of(NAME, path).size == 16
    published = zoo.variant("resnet18").weights
    assert predict.preprocessing_of("resnet18") == published
    assert predict.preprocessing_of("resnet18", published.source) == published
    files.save(path, weights.from_torch(NAME, state_dict_of()), name=NAME)
    with pytest.raises(ValueError, match=r"does not say how its images are prepared: pass preprocessing, torchvision"):
        predict.preprocessing_of(NAME, path)
