"""Compares a model with the installed application of Keras on fresh random weights, in float64 (`parity`)."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

import zoo
from tests.support.live import NO_GRADIENT, ROUNDING
from tests.support.proof import Distance, assert_within, distance
from zoo.weights.keras import collect_arrays, name_as_ours
from zoo.weights.keras_applications import APPLICATIONS, make_model

# LLVM takes minutes over a deep net, and what it wins on images as small as these is less than a second.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZES = {"vgg": (224, 224), "inception": (139, 107), "xception": (96, 75)}  # others: small, and not square


def size_of(name: str) -> tuple[int, int]:
    """The smallest height and width that leave each map several pixels; VGG's dense layers want their own."""
    return next((size for family, size in SIZES.items() if name.startswith(family)), (96, 64))


def keep_float64(module: Any) -> None:
    """Keras's rule of types knows nothing wider than float32, the type of its normalisations and means."""
    import keras

    rule = module.result_type
    if rule.__module__ != __name__:

        def result_type(*types):
            names = [keras.backend.standardize_dtype(kind) if kind is not None else "" for kind in types]
            return "float64" if "float64" in names else rule(*types)

        module.result_type = result_type


def make_application(name: str, image_size: tuple[int, int], kind: str):
    """Keras's net of ten classes in the type `kind`, nothing dropped, statistics near the batch's; and images."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    keras.utils.clear_session()
    keras.config.set_floatx(kind)
    keras.config.set_dtype_policy(kind)
    keras.config.set_image_data_format("channels_last")
    keep_float64(keras.src.backend)
    keep_float64(keras.src.backend.common.dtypes)
    make = getattr(keras.applications, APPLICATIONS[name].name)
    net = make(weights=None, input_shape=(*image_size, 3), classes=10, classifier_activation=None)
    for dropout in [layer for layer in net.layers if isinstance(layer, keras.layers.Dropout)]:
        dropout.rate = 0.0
    rng = np.random.RandomState(1)
    images = rng.standard_normal((2, *image_size, 3)).astype(kind)
    for variable in net.weights:
        leaf, shape = variable.name, tuple(variable.shape)
        if leaf == "kernel":
            value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        else:
            value = rng.uniform(0.5, 1.5, shape) if leaf == "gamma" else 0.1 * rng.standard_normal(shape)
        variable.assign(np.abs(value) + 0.1 if leaf == "moving_variance" else value)
    if norms := [layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization)]:
        for norm in norms:
            norm.momentum = 0.0
        _, batch = jit(partial(net.stateless_call, training=True))(*state_of(net), images)
        for variable, value in zip(net.non_trainable_variables, batch, strict=True):
            if jnp.issubdtype(value.dtype, jnp.floating):  # not the seed of its dropout
                variable.assign(value * rng.uniform(0.8, 1.2, value.shape))
        for norm in norms:
            norm.momentum = 0.99
    return net, images


def state_of(net) -> list[list[jax.Array]]:
    """What `stateless_call` takes."""
    return [[v.value for v in group] for group in (net.trainable_variables, net.non_trainable_variables)]


def compare(name: str) -> list[Distance]:
    """Asserts that `make_model(name)` is Keras's application, in evaluation and in training; returns all distances."""
    with jax.enable_x64(True):
        return assert_within(_distances(name))


def _distances(name: str) -> Iterator[Distance]:
    net, images = make_application(name, size_of(name), "float64")
    off = {f: 0.0 for f in make_model(name).__dataclass_fields__ if f.endswith("dropout")}
    model = make_model(name).clone(num_classes=10, param_dtype=jnp.float64, **off)
    ours = name_as_ours(name, collect_arrays(net), bgr=False)
    variables = zoo.from_torch(name, ours, model=model, layout="zoo")
    state = state_of(net)
    labels = np.array([3, 7])

    theirs, _ = jit(partial(net.stateless_call, training=False))(*state, images)
    found = jit(partial(model.apply, train=False))(variables, images)
    yield _compared("logits", found, theirs)

    @jit
    @partial(jax.grad, has_aux=True)
    def differentiate_theirs(trained, others):
        logits, others = net.stateless_call(trained, others, images, training=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), (logits, others)

    @jit
    @partial(jax.grad, has_aux=True)
    def differentiate_ours(params):
        answer = model.apply(variables | {"params": params}, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(answer[0], labels).mean(), answer

    their_grads, (logits, others) = differentiate_theirs(*state)
    grads, (found, updates) = differentiate_ours(variables["params"])
    yield _compared("logits in training", found, logits)

    def by_path(trainable, values):
        keyed = {f"{v.path.split('/')[-2]}/{v.name}": np.asarray(a) for v, a in zip(trainable, values, strict=True)}
        return name_as_ours(name, keyed, bgr=False)

    expected = by_path(net.trainable_variables, their_grads)
    grads = flatten_dict({"params": grads}, sep="/")
    assert grads.keys() == expected.keys()
    least = NO_GRADIENT * max(map(_size, expected.values()))
    for path, grad in grads.items():
        # A bias before a normalisation has no gradient: what rounding leaves of it is measured by its kernel's.
        kernel = expected.get(f"{path.removesuffix('/bias')}/kernel", 0.0)
        yield _compared(f"gradient of {path}", grad, expected[path], max(least, _size(kernel)))

    new = by_path(net.non_trainable_variables, others)
    old = flatten_dict(dict(variables), sep="/")
    for path, value in flatten_dict(dict(updates), sep="/").items():
        batch, theirs = ((v - kept * old[path]) / (1 - kept) for v, kept in ((value, 0.9), (new[path], 0.99)))
        if path.endswith("/var"):  # ours is unbiased: larger by n / (n - 1)
            n = round(1 / (1 - float(np.median(theirs / batch))))
            batch = batch * (n - 1) / n
        yield _compared(f"running {path}", batch, theirs)


def _size(array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(array))))


def _compared(quantity, ours, theirs, least=0.0) -> Distance:
    return distance(quantity, ours, theirs, max(_size(theirs), least), ROUNDING)
