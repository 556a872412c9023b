"""Members of all families on an accelerator beside the same on a CPU in float64: logits, and gradients of training.

Both round, and how far rounding alone takes a net is measured: the CPU computes it once more in the accelerator's
type. The accelerator may be a few times as far from float64 as that. A wrong kernel is off by the size of the values
themselves.
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
# Allowed in any case. A ReLU whose input is as good as zero falls to either side and takes gradients along, by chance:
# in float32 some took one array 2 % off (resnet50, 64 pixels), all together 0.3 %.
LEAST = {"logits": 0.0, "gradients": 0.02, "farthest gradient": 0.1}
# float32 as such: by default a GPU rounds the factors of its products to ten bits (TF32).
PRECISION = {"float64": "highest", "float32": "highest", "bfloat16": "default"}
QUICK = {"xla_backend_optimization_level": 0}  # to compile, on a CPU
SMALL = 1e-3  # of the size of all gradients: a leaf's size below it is rounding, a bias before a BatchNorm


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
        rounding = measure_distances(compute(name, dtype, inputs, cpu), exact)
        for quantity, (distance, array) in measure_distances(compute(name, dtype, inputs, device), exact).items():
            if (dtype, quantity) == ("bfloat16", "farthest gradient"):
                continue  # rounding alone takes some by nearly their size
            allowed = max(times * max(rounding[quantity][0], float(jnp.finfo(dtype).eps)), LEAST[quantity])
            yield Comparison(f"{name}, {dtype}, {quantity}", "distance", distance, "allowed", allowed), array


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


def measure_distances(found: dict[str, dict], expected: dict[str, dict]) -> dict[str, tuple[float, str]]:
    """Of the logits, of all gradients together and of the one farthest off, relative to their size; each with an array.

    Of what is no number the distance is infinite.
    """
    (logits,), gradients = expected["logits"].values(), expected["gradients"]
    off = {path: _norm(found["gradients"][path] - leaf) for path, leaf in gradients.items()}
    sizes = {path: _norm(leaf) for path, leaf in gradients.items()}
    whole = _norm(list(sizes.values()))
    far = {path: off[path] / max(sizes[path], SMALL * whole) for path in gradients}
    return {
        "logits": (_norm(found["logits"]["logits"] - logits) / _norm(logits), "logits"),
        "gradients": (_norm(list(off.values())) / whole, max(off, key=off.__getitem__)),
        "farthest gradient": (max(far.values()), max(far, key=far.__getitem__)),
    }


def _norm(values) -> float:
    return float(np.nan_to_num(np.linalg.norm(values), nan=np.inf, posinf=np.inf))
