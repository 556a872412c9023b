"""Compares a model with an installed torch implementation on fresh random weights, in float64 (`parity`).

Fixtures are samples; this holds for any member, size and seed: logits of all heads in both modes, every
parameter's gradient, the updated statistics, and our state dict loaded by torch's class, `strict=True`.
"""

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import zoo
from tests.support import oracle
from tests.support.proof import Distance, assert_within, distance
from zoo import weights
from zoo.models.layout import Layout

ROUNDING = 1e-8  # float64's, after some hundred layers; relative to the root mean square
NO_GRADIENT = 1e-6  # of the largest leaf's size: below it a leaf's own size is rounding (a bias before a BatchNorm)


def reference(source: str, **fields: Any) -> Callable[[], Any]:
    """A function that makes the untrained net of `source`, e.g. `"timm/resnetv2_18"`; `fields` are its own."""
    library, net = source.split("/")

    def make():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' own deprecations
            torchvision = torchvision_of_cpu()  # the others import it
            if library == "torchvision":
                return torchvision.models.get_model(net, weights=None, **fields)
            if library == "timm":
                from timm import create_model

                return create_model(net, pretrained=False, **fields)
            from pytorchcv.model_provider import get_model

            return get_model(net, pretrained=False, **fields)

    return make


@cache
def torchvision_of_cpu():
    """The module. Its CUDA wheel beside a CPU build of torch misses two schemas: they are declared for it."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.library = library  # kept alive: the declarations go with it
    return torchvision


def compare(
    make_torch: Callable[[], Any],
    name: str,
    image_shape: tuple[int, int, int, int],
    *,
    layout: str | Layout = "torchvision",
    fields: dict[str, Any] | None = None,
    seed: int = 0,
    compiled: bool = True,
) -> list[Distance]:
    """Asserts that `zoo.create(name, **fields)` is `make_torch()`, and returns all distances.

    Args:
      make_torch: makes the net with as many classes as ours; in training it gives logits, or a named tuple of
        `logits` and our auxiliary heads' (`aux1` or `aux_logits1`, ...).
      name: our model.
      image_shape: `(N, H, W, C)`, such that the last maps have several pixels for batch normalisation.
      layout: the naming of torch's state dict.
      fields: of our model; dropout is off on both sides.
      seed: of weights, images and labels.
      compiled: the whole net, or each of its operations: faster for deep nets of few different blocks.
    """
    with jax.enable_x64(True):
        return assert_within(_distances(make_torch, name, image_shape, layout, fields or {}, seed, compiled))


def compare_structure(make_torch: Callable[[], Any], name: str, layout: str | Layout) -> None:
    """Asserts the same keys and shapes, and computes nothing: for nets that take minutes to compile."""
    import torch

    layout = layout if isinstance(layout, Layout) else weights.layouts(name)[layout]
    torchvision_of_cpu()  # torch's meta device imports it
    with torch.device("meta"):
        theirs = {key: tuple(value.shape) for key, value in make_torch().state_dict().items()}
    row, model = zoo.variant(name), zoo.create(name)
    images = jax.ShapeDtypeStruct((1, row.image_size, row.image_size, row.channels), jnp.float32)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    ours = {key: slot.torch_shape for key, slot in weights.slots(variables, layout).items()}
    assert ours == {key: shape for key, shape in theirs.items() if not key.endswith(weights.COUNTER)}


def _distances(make_torch, name, image_shape, layout, fields, seed, compiled):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal(image_shape)
    state = _calibrated(make_torch(), images, seed)

    off = {f: 0.0 for f in zoo.create(name).__dataclass_fields__ if f.endswith("dropout")}
    model = zoo.create(name, **fields | off)
    variables = weights.from_torch(name, state, layout=layout, model=model)
    variables = {"batch_stats": {}} | jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
    theirs = _Torch(make_torch(), weights.to_torch(name, variables, layout=layout))

    jit = jax.jit if compiled else lambda function: function
    logits = jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    labels = rng.integers(logits.shape[1], size=image_shape[0])
    yield _distance("logits", logits, theirs.evaluation(images))

    aux_weights = zoo.variant(name).aux_weights

    def total(params):
        answer, updates = model.apply(
            variables | {"params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            endpoints=tuple(aux_weights),
        )
        logits, heads = answer if aux_weights else (answer, {})
        heads = {"logits": logits, **heads}
        loss = sum(
            aux_weights.get(head, 1.0) * jnp.mean(optax.softmax_cross_entropy_with_integer_labels(value, labels))
            for head, value in heads.items()
        )
        return loss, (heads, updates)

    grads, (heads, updates) = jit(jax.grad(total, has_aux=True))(variables["params"])
    their_heads, their_grads, their_stats = theirs.training(images, labels, aux_weights)
    assert set(heads) == set(their_heads)
    for head, value in heads.items():
        yield _distance(f"{head} in training", value, their_heads[head])
    grads = weights.to_torch(name, {"params": grads}, layout=layout)
    assert set(grads) == set(their_grads)
    least = NO_GRADIENT * max(map(_size, their_grads.values()))
    for key, grad in grads.items():
        yield _distance(f"gradient of {key}", grad, their_grads[key], least)
    stats = weights.to_torch(name, updates, layout=layout) if updates else {}
    for key, value in stats.items():
        if not key.endswith(weights.COUNTER):
            yield _distance(f"updated {key}", value, their_stats[key])


def _calibrated(net, images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The fixtures' rule with a seed, and running statistics near those of the batch, but not theirs.

    In evaluation nothing normalises; without statistics of the right size a deep net's activations grow until
    biases and running means no longer matter.
    """
    import torch

    state = {k: oracle.tensor(f"{seed}.{k}", v.shape) for k, v in net.state_dict().items()}
    net = _Torch(net, state)
    norms = [m for m in net.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    net.evaluation(images, train=True)
    rng = np.random.default_rng(seed)
    for norm in norms:
        mean, var = norm.running_mean, norm.running_var
        mean += 0.1 * torch.sqrt(var) * torch.from_numpy(rng.standard_normal(len(mean)))
        var *= torch.from_numpy(rng.uniform(0.5, 1.5, len(var)))
    return {k: v.numpy().astype(state[k].dtype) for k, v in net.net.state_dict().items()}


class _Torch:
    """torch's net with a state dict, in float64, its dropout off; takes and gives arrays, images as NHWC."""

    def __init__(self, net, state: dict[str, np.ndarray]):
        import torch

        net.double().load_state_dict({k: torch.from_numpy(np.asarray(v)) for k, v in state.items()}, strict=True)
        for module in net.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        self.net = net

    def evaluation(self, images: np.ndarray, *, train: bool = False) -> np.ndarray:
        import torch

        with torch.no_grad():
            logits = self.net.train(train)(_nchw(images))
        return (logits[0] if isinstance(logits, tuple) else logits).numpy()

    def training(self, images: np.ndarray, labels: np.ndarray, aux_weights):
        """Logits by head, gradients and running statistics by key."""
        import torch

        answer = self.net.train()(_nchw(images))
        named = answer._asdict() if isinstance(answer, tuple) else {"logits": answer}
        heads = {head.replace("_logits", ""): value for head, value in named.items()}
        losses = [
            aux_weights.get(head, 1.0) * torch.nn.functional.cross_entropy(value, torch.from_numpy(labels))
            for head, value in heads.items()
        ]
        sum(losses).backward()
        grads = {key: parameter.grad.numpy() for key, parameter in self.net.named_parameters()}
        stats = {key: buffer.numpy() for key, buffer in self.net.named_buffers()}
        return {head: value.detach().numpy() for head, value in heads.items()}, grads, stats


def _nchw(images: np.ndarray):
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _distance(quantity: str, ours, theirs: np.ndarray, least: float = 0.0) -> Distance:
    return distance(quantity, ours, theirs, max(_size(theirs), least), ROUNDING)


def _size(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array))))
