"""Key maps and state dicts: exact both ways, strict, and nothing dropped that the caller did not ask to drop."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from tests.support import oracle
from zoo import weights
from zoo.models.layout import Layout
from zoo.weights.inspection import init_shapes

NAME = "resnet20"
IMAGES = np.random.RandomState(0).standard_normal((2, 16, 16, 3)).astype(np.float32)


def state_dict_of(name: str = NAME, image_shape=(32, 32, 3), **fields) -> dict[str, np.ndarray]:
    """A state dict in torch's naming, all tensors different."""
    shapes = init_shapes(zoo.create(name, **fields), image_shape)
    found = weights.slots(shapes, next(iter(weights.layouts(name).values())))
    return {key: oracle.tensor(key, slot.torch_shape) for key, slot in found.items()}


def assert_equal_trees(ours, theirs):
    ours, theirs = flatten_dict(ours), flatten_dict(theirs)
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[path], err_msg="/".join(path), strict=True)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).filter(lambda shape: len(shape) != 3),
    st.sampled_from(["torch", "flattened", "zoo"]),
)
@settings(deadline=None)
def test_writing_undoes_reading_to_the_bit(shape, kind):
    layout = {"torch": Layout(), "flattened": Layout(flattened=("fc",)), "zoo": "zoo"}[kind]
    ours = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    ((key, slot),) = weights.slots({"params": {"fc": {"kernel": ours}}}, layout).items()
    written = slot.write(ours)
    assert key == {"zoo": "params/fc/kernel"}.get(kind, "fc.weight")
    assert written.shape == slot.torch_shape
    np.testing.assert_array_equal(slot.read(written), ours, strict=True)
    assert not np.shares_memory(written, ours)


def test_a_dense_layer_on_maps_is_torch_s_on_the_channels_first_flattened_ones():
    maps, kernel = oracle.tensor("input", (3, 5, 4, 2)), oracle.tensor("fc.weight", (7, 5 * 4 * 2))
    expected = maps.reshape(3, -1) @ kernel.T
    shapes = {"params": {"fc": {"kernel": np.zeros((4, 2, 5, 7))}}}
    ours = weights.slots(shapes, Layout(flattened=("fc",)))["fc.weight"].read(kernel)
    np.testing.assert_allclose(np.einsum("nhwc,hwck->nk", maps.transpose(0, 2, 3, 1), ours), expected, rtol=1e-5)


@pytest.mark.parametrize("layout", ["torchvision", "zoo"])
def test_from_torch_undoes_to_torch_and_recognises_the_layout(layout):
    variables = weights.from_torch(NAME, state_dict_of())
    written = weights.to_torch(NAME, variables, layout=layout)
    assert ("params/conv1/kernel" in written) == (layout == "zoo")
    assert_equal_trees(weights.from_torch(NAME, written), variables)


def test_to_torch_makes_the_counters_that_from_torch_drops():
    state = state_dict_of() | {"bn1.num_batches_tracked": np.array(7)}
    written = weights.to_torch(NAME, weights.from_torch(NAME, state))
    counters = {key for key in written if key.endswith("num_batches_tracked")}
    assert counters == {k.replace("running_var", "num_batches_tracked") for k in state if "running_var" in k}
    assert {(written[key].dtype.name, written[key].shape, int(written[key])) for key in counters} == {("int64", (), 0)}


def test_one_error_lists_every_missing_unexpected_misshapen_and_integer_array():
    state = state_dict_of()
    missing = [key for key in state if key.startswith("layer2")]
    for key in missing:
        del state[key]
    state |= {f"extra.{i}.weight": np.zeros(3, np.float32) for i in range(20)}
    state |= {"fc.bias": np.zeros(11, np.float32), "bn1.weight": np.zeros(16, np.int8)}
    with pytest.raises(ValueError, match="not the weights of resnet20; nothing was loaded") as error:
        weights.from_torch(NAME, state)
    message = str(error.value)
    for problem, keys in (("missing", missing), ("unexpected", [f"extra.{i}.weight" for i in range(20)])):
        assert f"{len(keys)} {problem}: {', '.join(keys[:10])} and {len(keys) - 10} more" in message
    assert "1 misshapen: fc.bias (11,), not (10,)" in message
    assert "1 not floating: bn1.weight int8" in message


def test_a_tensor_of_the_same_size_but_another_shape_is_refused():
    state = state_dict_of()
    state["fc.weight"] = state["fc.weight"].T
    with pytest.raises(ValueError, match=r"1 misshapen: fc.weight \(64, 10\), not \(10, 64\)"):
        weights.from_torch(NAME, state)


@pytest.mark.parametrize("new", [("fc",), "head"])
def test_another_number_of_classes_is_refused_until_the_head_is_named(new):
    state = state_dict_of()
    with pytest.raises(ValueError, match="misshapen: fc"):
        weights.from_torch(NAME, state, model=zoo.create(NAME, num_classes=3))
    load = partial(weights.from_torch, NAME, state, model=zoo.create(NAME, num_classes=3), new=new)
    with pytest.raises(ValueError, match=r"pass key=jax.random.key\(0\)"):
        load()
    variables = load(key=jax.random.key(1))
    init = partial(zoo.create(NAME, num_classes=3).init, train=False)
    fresh = jax.jit(lambda key: init(key, jnp.zeros((1, 16, 16, 3)))["params"]["fc"])(jax.random.key(1))
    assert_equal_trees(variables["params"]["fc"], fresh)
    kept = weights.from_torch(NAME, state)
    assert_equal_trees(variables["params"]["layer3_2"], kept["params"]["layer3_2"])
    assert_equal_trees(variables["batch_stats"], kept["batch_stats"])


def test_new_names_modules_and_all_that_is_in_them():
    state = {k: v for k, v in state_dict_of().items() if not k.startswith("layer1.1.")}
    variables = weights.from_torch(NAME, state, new=("layer1_1",), key=jax.random.key(0))
    assert variables["params"]["layer1_1"]["conv1"]["kernel"].std() > 0
    np.testing.assert_array_equal(variables["batch_stats"]["layer1_1"]["bn2"]["var"], np.ones(16))
    with pytest.raises(ValueError, match=r"has no layer 'layer1'; it has bn1, conv1, fc, layer1_0"):
        weights.from_torch(NAME, state, new=("layer1",), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"pass \"head\", or a tuple of paths, \('fc',\)"):
        weights.from_torch(NAME, state, new="fc", key=jax.random.key(0))


def test_a_net_without_classes_takes_everything_but_the_head():
    state = state_dict_of()
    variables = weights.from_torch(NAME, state, model=zoo.create(NAME, num_classes=0))
    whole = weights.from_torch(NAME, state)
    assert "fc" not in variables["params"]
    _, ends = zoo.create(NAME).apply(whole, IMAGES, train=False, endpoints=("features",))
    features = zoo.create(NAME, num_classes=0).apply(variables, IMAGES, train=False)
    np.testing.assert_array_equal(features, ends["features"])
    with pytest.raises(ValueError, match=r"1 unexpected: head\.weight"):
        weights.from_torch(NAME, state | {"head.weight": np.zeros((1, 64))}, model=zoo.create(NAME, num_classes=0))


def test_the_background_of_a_head_with_1001_classes_is_dropped():
    state = state_dict_of(num_classes=1001)
    variables = weights.from_torch(NAME, state, model=zoo.create(NAME, num_classes=1000))
    np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], state["fc.weight"][1:].T)
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], state["fc.bias"][1:])
    kept = weights.from_torch(NAME, state, model=zoo.create(NAME, num_classes=1001))
    np.testing.assert_array_equal(kept["params"]["fc"]["bias"], state["fc.bias"])
    with pytest.raises(ValueError, match="misshapen: fc"):
        weights.from_torch(NAME, state_dict_of(num_classes=11))


@pytest.mark.parametrize(("name", "first"), [("resnet20", "conv1"), ("mlp", "fc1")])
def test_gray_images_give_what_their_copies_in_three_channels_gave(name, first):
    state = state_dict_of(name)
    gray = np.random.RandomState(1).standard_normal((2, 32, 32, 1)).astype(np.float32)
    with pytest.raises(ValueError, match=f"misshapen: {first}.weight"):
        weights.from_torch(name, state, image_shape=(32, 32, 1))
    model, variables = zoo.create(name), weights.from_torch(name, state, grayscale=True)
    expected = model.apply(weights.from_torch(name, state), gray.repeat(3, axis=-1), train=False)
    np.testing.assert_allclose(model.apply(variables, gray, train=False), expected, rtol=1e-4, atol=1e-4)


def test_weights_of_a_net_for_other_images_need_their_shape():
    state = state_dict_of("convnet", (8, 8, 1))
    with pytest.raises(ValueError, match="misshapen: conv1"):
        weights.from_torch("convnet", state)
    variables = weights.from_torch("convnet", state, image_shape=(8, 8, 1))
    assert variables["params"]["fc1"]["kernel"].shape == (2, 2, 64, 128)


def test_two_keys_of_one_tensor_are_refused():
    old = Layout(old=((r"^module\.", ""),))
    state = state_dict_of()
    assert_equal_trees(
        weights.from_torch(NAME, {f"module.{k}": v for k, v in state.items()}, layout=old),
        weights.from_torch(NAME, state),
    )
    with pytest.raises(ValueError, match=r"one tensor: 'fc.bias' and 'module.fc.bias'"):
        weights.from_torch(NAME, state | {"module.fc.bias": state["fc.bias"]}, layout=old)


def test_a_layout_that_calls_two_arrays_the_same_is_refused():
    with pytest.raises(ValueError, match=r"one key, 'layer1.0.conv.weight', for two arrays: params/\S*conv1\S* and"):
        weights.from_torch(NAME, state_dict_of(), layout=Layout(renames=((r"conv\d", "conv"),)))


def test_an_unknown_layout_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"layout='keras': .* written as 'zoo' or 'torchvision'"):
        weights.from_torch(NAME, state_dict_of(), layout="keras")


def test_a_net_in_the_place_of_its_state_dict_is_refused():
    with pytest.raises(TypeError, match=r"got int: pass net.state_dict"):
        weights.from_torch(NAME, 3)


def test_variables_are_copies():
    state = state_dict_of()
    variables = weights.from_torch(NAME, state)
    before = np.array(variables["params"]["fc"]["bias"])
    for array in state.values():
        array += 1
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], before)


def test_parameters_are_stored_in_the_model_s_type_and_statistics_in_float32():
    model = zoo.create(NAME, param_dtype=jnp.bfloat16)
    variables = weights.from_torch(NAME, state_dict_of(), model=model)
    assert variables["params"]["conv1"]["kernel"].dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables["batch_stats"])} == {"float32"}
    written = weights.to_torch(NAME, variables)  # in a type that torch.from_numpy takes
    assert written["conv1.weight"].dtype == np.float32
    assert_equal_trees(weights.from_torch(NAME, written, model=model), variables)


class Normalised(nn.Module):
    """A convolution, a normalisation and a dense layer, the normalisation being flax's or ours."""

    norm: type[nn.Module]

    @nn.compact
    def __call__(self, x, *, train: bool):
        mode = {"use_running_average": not train} if self.norm is nn.BatchNorm else {"train": train}
        x = nn.Conv(4, (3, 3), name="conv")(x)
        x = self.norm(momentum=0.9, epsilon=1e-5, name="bn")(x, **mode)
        return nn.Dense(3, name="fc")(x.mean((1, 2)))


def test_a_checkpoint_of_flax_s_batch_norm_fits_ours():
    theirs, ours = Normalised(nn.BatchNorm), Normalised(zoo.BatchNorm)
    variables = theirs.init(jax.random.key(0), IMAGES, train=False)
    assert jax.tree.structure(variables) == jax.tree.structure(ours.init(jax.random.key(0), IMAGES, train=False))
    expected, updates = theirs.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    logits, own = ours.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    mean, own_mean = (u["batch_stats"]["bn"]["mean"] for u in (updates, own))
    np.testing.assert_allclose(own_mean, mean, rtol=1e-4, atol=1e-6)
    trained = {"params": variables["params"], "batch_stats": updates["batch_stats"]}
    expected = theirs.apply(trained, IMAGES, train=False)
    np.testing.assert_allclose(ours.apply(trained, IMAGES, train=False), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parity
def test_torch_tensors_of_every_floating_type_are_read():
    import torch

    state = {k: torch.tensor(v) for k, v in state_dict_of().items()}
    state["fc.weight"].requires_grad_()
    expected = weights.from_torch(NAME, state_dict_of())
    assert_equal_trees(weights.from_torch(NAME, state), expected)
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        variables = weights.from_torch(NAME, {k: v.to(kind) for k, v in state.items()})
        kernel = state["conv1.weight"].to(kind).float().numpy().transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(variables["params"]["conv1"]["kernel"], kernel)
    with pytest.raises(TypeError, match=r"pass net\.state_dict"):
        weights.from_torch(NAME, torch.nn.Linear(1, 1))


@pytest.mark.parity
def test_torch_takes_what_to_torch_gives_and_its_changes_stay_its_own():
    import torch

    variables = weights.from_torch(NAME, state_dict_of())
    bias = np.array(variables["params"]["fc"]["bias"])
    tensors = {k: torch.from_numpy(v) for k, v in weights.to_torch(NAME, variables).items()}
    tensors["fc.bias"] += 1
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], bias)
