"""What arrays tell: number of classes and channels, another model's variables, impossible numbers, twins."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import zoo
from tests.weights.test_state_dict import NAME, assert_equal_trees, state_dict_of
from zoo import weights
from zoo.errors import UserError
from zoo.models import registry
from zoo.weights import convert, verify
from zoo.weights.inspection import find_image_shape, find_shapes, init_shapes


def variables_of(name, image_shape, **fields):
    state = state_dict_of(name, image_shape, **fields)
    return weights.from_torch(name, state, model=zoo.create(name, **fields), image_shape=image_shape)


@pytest.mark.parametrize("layout", ["zoo", "torchvision"])
@pytest.mark.parametrize(("classes", "channels"), [(10, 3), (10, 1), (3, 3), (7, 2)])
def test_classes_and_channels_are_found(layout, classes, channels):
    variables = variables_of(NAME, (32, 32, channels), num_classes=classes)
    assert find_shapes(NAME, weights.to_torch(NAME, variables, layout=layout)) == (classes, channels)


def test_without_a_head_or_a_known_first_layer_they_are_not_guessed():
    state = state_dict_of(NAME)
    assert find_shapes(NAME, {k: v for k, v in state.items() if not k.startswith("fc.")}) == (None, 3)
    assert find_shapes(NAME, state | {"fc.weight": np.zeros(()), "fc.bias": np.zeros(())}) == (None, 3)
    assert find_shapes(NAME, state | {"fc.weight": state["fc.weight"].T}) == (None, 3)
    assert find_shapes(NAME, state | {"conv1.weight": np.zeros(5)}) == (10, 3)


@pytest.mark.parametrize("layout", ["zoo", "torchvision"])
def test_weights_of_one_s_own_run_verify_convert_and_come_with_their_net(tmp_path, layout):
    variables = variables_of(NAME, (28, 28, 1), num_classes=5)
    path, again = tmp_path / "weights.safetensors", tmp_path / "again.safetensors"
    zoo.save(path, variables, name=NAME, layout=layout)
    convert(NAME, path, again)
    for written in (path, again):
        line = verify(NAME, written)
        assert (
            f"{NAME} with 5 classes and 1 input channel: {sum(map(jnp.size, jax.tree.leaves(variables['params']))):,} p"
            in line
        )
        model, loaded = zoo.pretrained(NAME, written)
        assert model == zoo.create(NAME, num_classes=5)
        assert_equal_trees(loaded, variables)


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_the_size_of_a_run_s_images_is_in_the_preprocessing_that_it_notes(tmp_path, name):
    variables, path = variables_of(name, (28, 28, 1)), tmp_path / "w.safetensors"
    zoo.save(path, variables, name=name, metadata={"preprocessing": '{"size": 28, "mean": [0.5], "std": [0.5]}'})
    assert f"{name} with 1 input channel: " in verify(name, path)
    convert(name, path, path)
    assert_equal_trees(zoo.pretrained(name, path)[1], variables)


def test_save_refuses_the_variables_of_another_model(tmp_path):
    path, variables = tmp_path / "w.safetensors", variables_of(NAME, (32, 32, 3))
    with pytest.raises(UserError, match=r"not the variables of resnet32; nothing was written") as error:
        zoo.save(path, variables, name="resnet32")
    assert "missing: " in str(error.value)
    wide = variables["params"] | {"conv1": {"kernel": np.zeros((3, 3, 3, 17))}}
    with pytest.raises(UserError, match=r"1 misshapen: params/conv1/kernel"):
        zoo.save(path, {**variables, "params": wide}, name=NAME)
    with pytest.raises(UserError, match=r"1 unexpected: ema/fc"):
        zoo.save(path, {**variables, "ema": {"fc": np.zeros(1)}}, name=NAME)
    assert not list(tmp_path.iterdir())
    features = {**variables, "params": {k: v for k, v in variables["params"].items() if k != "fc"}}
    zoo.save(path, features, name=NAME)
    assert_equal_trees(zoo.load(NAME, path, model=zoo.create(NAME, num_classes=0)), features)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.nan, "1 with NaN: bn1.running_var"),
        (np.inf, "1 with infinite values: bn1.running_var"),
        (-np.inf, "1 with infinite values: bn1.running_var"),
        (1e300, r"beyond the range of the model's type; nothing was loaded: bn1\.running_var"),
        (-1e-3, "1 negative variances: bn1.running_var"),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_verify_refuses_numbers_that_no_trained_net_holds(tmp_path, value, problem, suffix):
    state, path = state_dict_of(), tmp_path / f"w.{suffix}"
    state["bn1.running_var"] = state["bn1.running_var"].astype(np.float64)
    write = partial(np.savez, path) if suffix == "npz" else lambda **arrays: safetensors.numpy.save_file(arrays, path)
    write(**state)
    assert "holds the weights" in verify(NAME, path)
    state["bn1.running_var"][3] = value
    write(**state)
    with pytest.raises(UserError, match=problem):
        verify(NAME, path)


def test_numbers_of_our_own_layout_are_looked_at_too(tmp_path):
    variables = variables_of(NAME, (32, 32, 3))
    variables["batch_stats"]["bn1"]["var"] *= -1
    variables["params"]["bn1"]["bias"] *= np.nan
    zoo.save(tmp_path / "w.safetensors", variables, name=NAME)
    with pytest.raises(UserError) as error:
        verify(NAME, tmp_path / "w.safetensors")
    assert "1 with NaN: params/bn1/bias" in str(error.value)
    assert "1 negative variances: batch_stats/bn1/var" in str(error.value)


def find_twins_in_the_registry() -> list[set[str]]:
    """Models with the same names and shapes, among those with the same number of parameters."""
    groups: dict[object, set[str]] = {}
    sizes = [registry.variant(name).params for name in registry.list_models()]
    for name in registry.list_models():
        row = registry.variant(name)
        if sizes.count(row.params) > 1:
            shapes = init_shapes(zoo.create(name), find_image_shape(name))
            for layout in weights.layouts(name).values():
                tensors = {key: slot.torch_shape for key, slot in weights.slots(shapes, layout).items()}
                groups.setdefault(frozenset(tensors.items()), set()).add(name)
    return [names for names in groups.values() if len(names) > 1]


def test_the_only_twins_are_the_two_strides_of_resnet50():
    assert find_twins_in_the_registry() == [{"resnet50", "resnet50_v1"}]


def test_a_file_that_does_not_say_whose_it_is_is_told_to_fit_the_twin(tmp_path):
    variables, path = variables_of("resnet50", (64, 64, 3), num_classes=2), tmp_path / "w.safetensors"
    safetensors.numpy.save_file(weights.to_torch("resnet50", variables), path)
    for name, twin in (("resnet50", "resnet50_v1"), ("resnet50_v1", "resnet50")):
        assert f"weights of {name} with 2 classes: " in verify(name, path)
        assert verify(name, path).endswith(f"It equally fits {twin}: only who made it knows which it is.")
    zoo.save(path, variables, name="resnet50")
    assert verify("resnet50", path).endswith("running statistics.")
