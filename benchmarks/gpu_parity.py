"""Members of all families on an accelerator beside the same on a CPU in float64: logits, and gradients of training.

Both round, and how far rounding alone takes a net is measured: the CPU computes it once more in the accelerator's
type. The accelerator may be a few times as far from float64 as that. A wrong kernel is off by the size of the values
themselves: a thousand times more in float32.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import Comparison

import zoo
from zoo.losses import softmax_cross_entropy, with_auxiliary

# Times the CPU's own distance. The order of sums is another: a few times. In float32 cuDNN may take a transform of
# Winograd's, which loses up to a digit; in bfloat16 it is the stored maps whose rounding counts, and those round alike.
ALLOWED = {"float32": 16, "bfloat16": 4}
# float32 as such: by default a GPU rounds the factors of its products to ten bits (TF32).
PRECISION = {"float64": "highest", "float32": "highest", "bfloat16": "default"}
QUICK = {"xla_backend_optimization_level": 0}  # to compile, on a CPU
SMALL = 1e-3  # of the size of all gradients: a leaf's size below it is rounding, as that of a bias before a BatchNorm


def compare_with_cpu(name: str, device: jax.Device, *, batch: int, size: int) -> Iterator[tuple[Comparison, str]]:
    """Distances from float64 and what is allowed, each with the array that is farthest."""
    cpu, row = jax.devices("cpu")[0], zoo.variant(name)
    side = max(zoo.create(name).min_size, min(size, row.image_size))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, side, side, row.channels), np.float32)
    labels = rng.integers(0, zoo.create(name).num_classes, batch, np.int32)
    inputs = draw_variables(name, images.shape, rng), images, labels
    exact = compute(name, "float64", inputs, cpu)
    for dtype, times in ALLOWED.items():
        rounded, found = compute(name, dtype, inputs, cpu), compute(name, dtype, inputs, device)
        for quantity, expected in exact.items():
            rounding, _ = measure_distance(rounded[quantity], expected)
            distance, farthest = measure_distance(found[quantity], expected)
            allowed = times * max(rounding, float(jnp.finfo(dtype).eps))
            yield Comparison(f"{name}, {dtype}, {quantity}", "distance", distance, "allowed", allowed), farthest


def draw_variables(name: str, shape: tuple[int, ...], rng: np.random.Generator):
    """Kernels that keep the size of what passes; everything else between a half and one and a half."""
    init = partial(zoo.create(name).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))

    def draw(leaf):
        if len(leaf.shape) < 2:
            return rng.uniform(0.5, 1.5, leaf.shape)
        return rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))

    return jax.tree.map(draw, variables)


def compute(name: str, dtype: str, inputs: tuple, device: jax.Device) -> dict[str, dict[str, np.ndarray]]:
    """Arrays on the host in float64: the logits of evaluation, and the gradients of training by path."""
    stored = "float64" if dtype == "float64" else "float32"
    off = {field: 0.0 for field in zoo.create(name).__dataclass_fields__ if field.endswith("dropout")}
    model = zoo.create(name, dtype=dtype, param_dtype=stored, **off)
    options = QUICK if device.platform == "cpu" else None
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision(PRECISION[dtype]):
        *floats, labels = inputs
        variables, images = jax.tree.map(lambda leaf: jax.device_put(leaf.astype(stored), device), tuple(floats))
        both = jax.jit(partial(evaluate_and_differentiate, model), compiler_options=options)
        logits, gradients = both(variables, images, jax.device_put(labels, device))
        paths = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)}
        results = {"logits": {"logits": logits}, "gradients": paths}
        return jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), results)


def evaluate_and_differentiate(model, variables, images, labels):
    """Logits with running statistics; the gradient of the mean loss, auxiliary heads included, with the batch's."""
    heads = model.aux_weights

    def loss_of(params):
        inputs = {**variables, "params": params}, images
        outputs, _ = model.apply(*inputs, train=True, mutable=["batch_stats"], endpoints=tuple(heads))
        outputs = jax.tree.map(lambda leaf: leaf.astype(model.param_dtype), outputs)
        loss = with_auxiliary(softmax_cross_entropy, heads) if heads else softmax_cross_entropy
        return jnp.mean(loss(outputs, labels))

    return model.apply(variables, images, train=False), jax.grad(loss_of)(variables["params"])


def measure_distance(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[float, str]:
    """That of the array which is farthest, relative to its size, and its path. Of no number it is infinite."""
    least = SMALL * np.sqrt(sum(np.sum(np.square(leaf)) for leaf in expected.values()))
    far = {
        path: float(np.linalg.norm(found[path] - leaf) / max(np.linalg.norm(leaf), least))
        for path, leaf in expected.items()
    }
    farthest = max(far, key=lambda path: np.nan_to_num(far[path], nan=np.inf))
    return float(np.nan_to_num(far[farthest], nan=np.inf, posinf=np.inf)), farthest
