"""A model with its trained variables in one call, its head new where the classes are other ones."""

import jax
import numpy as np
import pytest

import zoo
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo.errors import UserError


@pytest.fixture
def path(tmp_path):
    zoo.save(tmp_path / "w.safetensors", zoo.from_torch(NAME, state_dict_of()), name=NAME, layout="torchvision")
    return tmp_path / "w.safetensors"


def test_pretrained_is_create_and_load(path):
    model, variables = zoo.pretrained(NAME, path)
    assert model == zoo.create(NAME)
    assert_equal_trees(variables, zoo.load(NAME, path))


def test_another_number_of_classes_gets_a_new_head_and_keeps_the_rest(path):
    model, variables = zoo.pretrained(NAME, path, num_classes=3, key=jax.random.key(1))
    assert model.num_classes == 3
    assert variables["params"]["fc"]["kernel"].shape == (64, 3)
    loaded = zoo.load(NAME, path)
    assert_equal_trees(variables["params"]["layer3_2"], loaded["params"]["layer3_2"])
    assert_equal_trees(variables["batch_stats"], loaded["batch_stats"])
    with pytest.raises(UserError, match=r"pass key=jax\.random\.key"):
        zoo.pretrained(NAME, path, num_classes=3)


@pytest.mark.parametrize("layout", ["zoo", "torchvision"])
def test_the_head_of_weights_with_the_same_number_of_classes_is_kept(tmp_path, layout):
    model = zoo.create(NAME, num_classes=3)
    variables = zoo.from_torch(NAME, state_dict_of(num_classes=3), model=model)
    zoo.save(tmp_path / "w.safetensors", variables, name=NAME, layout=layout)
    found, loaded = zoo.pretrained(NAME, tmp_path / "w.safetensors", num_classes=3)
    assert found == model
    assert_equal_trees(loaded, variables)


def test_a_model_without_classes_returns_the_features(path):
    model, variables = zoo.pretrained(NAME, path, num_classes=0)
    images = np.random.RandomState(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
    assert model.apply(variables, images, train=False).shape == (2, 64)


def test_types_of_the_computation_and_of_the_parameters_are_the_caller_s(path):
    model, variables = zoo.pretrained(NAME, path, dtype="bfloat16", param_dtype="bfloat16", num_classes=10)
    assert variables["params"]["conv1"]["kernel"].dtype == "bfloat16"
    images = np.zeros((2, 16, 16, 3), np.float32)
    assert model.apply(variables, images, train=False).dtype == "bfloat16"
