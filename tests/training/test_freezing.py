"""Which parameters a pattern freezes, and how the learning rate falls from layer to layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.errors import UserError
from zoo.training.freezing import find_fitting, find_scales, freeze

PARAMS = {
    "conv1": {"kernel": jnp.array([1.0, -0.0])},
    "layer1_0": {"conv1": {"kernel": jnp.ones(2)}, "bn1": {"scale": jnp.ones(2)}},
    "fc": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
}
NAMES = ["conv1/kernel", "layer1_0/bn1/scale", "layer1_0/conv1/kernel", "fc/bias", "fc/kernel"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["fc"], {"fc/bias", "fc/kernel"}),
        (["layer1_*"], {"layer1_0/bn1/scale", "layer1_0/conv1/kernel"}),
        (["*/bn1", "conv1"], {"layer1_0/bn1/scale", "conv1/kernel"}),
        (["*kernel"], {"conv1/kernel", "layer1_0/conv1/kernel", "fc/kernel"}),
        (["[!f]*"], set(NAMES) - {"fc/bias", "fc/kernel"}),
    ],
)
def test_a_pattern_fits_paths_and_the_modules_around_them(patterns, expected):
    assert find_fitting(NAMES, patterns, "parameter") == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("layer1_1", r"no parameter fits 'layer1_1': near are layer1_0"),
        ("fc/kernal", r"near are fc/kernel"),
        ("xyzzy", r"no parameter fits 'xyzzy': there are conv1, fc, layer1_0\."),
    ],
)
def test_a_pattern_that_fits_nothing_is_an_error_that_names_near_ones(pattern, message):
    with pytest.raises(UserError, match=message):
        freeze(optax.sgd(0.1), ["conv1", pattern]).init(PARAMS)


def test_frozen_parameters_keep_their_bits_and_the_others_are_trained_as_without_them():
    tx = freeze(optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=0.5)), ["conv1", "layer1_0"])
    grads = jax.tree.map(lambda leaf: 3 * jnp.ones_like(leaf), PARAMS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, state = tx.update(grads, tx.init(PARAMS), PARAMS)
        alone = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=0.5))
        expected, _ = alone.update({"fc": grads["fc"]}, alone.init({"fc": PARAMS["fc"]}), {"fc": PARAMS["fc"]})
    moved = optax.apply_updates(PARAMS, updates)
    for name in ("conv1", "layer1_0"):
        before = jax.tree.leaves(PARAMS[name])
        assert [a.tobytes() for a in map(np.asarray, jax.tree.leaves(moved[name]))] == [
            b.tobytes() for b in map(np.asarray, before)
        ]
    jax.tree.map(np.testing.assert_allclose, updates["fc"], expected["fc"])
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) < 2 * 8 + 2  # Adam's two moments, of the head alone


def test_nothing_left_to_train_is_refused():
    with pytest.raises(UserError, match="leaves nothing to train: leave the head out"):
        freeze(optax.sgd(0.1), ["*"]).init(PARAMS)


def shapes(*paths):
    tree = {}
    for path in paths:
        node = tree
        for part in path.split("/")[:-1]:
            node = node.setdefault(part, {})
        node[path.split("/")[-1]] = 0.0
    return tree


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("resnet18", {"conv1/kernel": 9, "bn1/scale": 9, "layer1_0/conv2/kernel": 8, "layer4_1/bn2/bias": 1}),
        ("vgg11_bn", {"features_0/kernel": 10, "features_1/scale": 10, "classifier_3/bias": 1}),
        ("googlenet", {"conv1/conv/kernel": 12, "inception5b/branch1/conv/kernel": 1, "aux1/fc1/kernel": 0}),
        ("lenet5", {"c1/kernel": 4}),
    ],
)
def test_the_layer_decay_counts_blocks_from_the_head(name, depths):
    found = find_scales(name, shapes(*depths), head=1.0, decay=0.5)
    for path, depth in depths.items():
        node = found
        for part in path.split("/"):
            node = node[part]
        assert node == 0.5**depth, path


def test_the_heads_have_their_own_scale_those_of_auxiliary_classifiers_too():
    params = shapes("fc/kernel", "aux1/fc2/bias", "aux1/fc1/kernel")
    scales = find_scales("googlenet", params, head=10.0, decay=1.0)
    assert scales == {"fc": {"kernel": 10.0}, "aux1": {"fc2": {"bias": 10.0}, "fc1": {"kernel": 1.0}}}
