"""Measures a model against the reference figures, in float64: how far, relative to what, quantity by quantity.

`tests/models/test_proof.py` asserts that every distance is within its tolerance.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

import zoo
from tests.support import layouts, oracle
from zoo import weights
from zoo.models import resnet_v2
from zoo.models.layout import Layout

STORED, GRADIENT, FEATURE = 1e-7, 1e-6, 1e-5  # tolerances: nine stored digits; a gradient's elements; seven digits


@dataclass(frozen=True)
class Proof:
    """Which model is held to which record, and how the two name the same things.

    Attributes:
      source: of the record, e.g. `"torchvision/resnet18"`.
      name: of our model.
      layout: one of the model's own, or a `Layout` where only the tests need it.
      fields: of the model; dropout is always off.
      features: `{our endpoint: torch's module}` where the names differ, `{torch's module: ""}` where ours is not it.
      train: whether CI's everyday run does the training figures too; `slow` tests do all.
      evaluate: whether it does the evaluation; not where the weights take long to draw, or a twin is evaluated.
    """

    source: str
    name: str
    layout: str | Layout = "torchvision"
    fields: dict[str, Any] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)
    train: bool = False
    evaluate: bool = True

    @property
    def rules(self) -> Layout:
        """The layout itself."""
        return self.layout if isinstance(self.layout, Layout) else weights.layouts(self.name)[self.layout]


ALEXNET = {"pool1": "features.2", "pool2": "features.5", "pool5": "features.12", "features": "classifier.5"}
SQUEEZENET = {"stem": "features.1", "fires3": "features", "features": ""}
VGG = {"pool5": "features", "features": "classifier.4"}
GOOGLENET = {"stem": "maxpool2", "features": "avgpool"}
XCEPTION = {"stem": "act2", "middle": "block11", "exit": "block12", "features": "global_pool"}
MOBILENET_V1 = {"stem": "bn1", "features": "global_pool"} | {f"stage{i}": f"blocks.{i - 1}" for i in range(1, 6)}
MOBILENET_V2 = {"stem": "features.0", "features": ""} | {
    f"stage{i}": f"features.{n}" for i, n in enumerate((1, 3, 6, 10, 13, 16, 17), 1)
}
RESNET = {"stem": "maxpool", "features": "avgpool"}
TIMM_RESNET = {"stem": "maxpool", "features": "global_pool"}
INCEPTION_V3 = {"stem": "maxpool2", "features": "avgpool"}
INCEPTION_V4 = {"stem": "features.5", "inception_a": "features.9", "inception_b": "features.17"} | {
    "inception_c": "features.21",
    "features": "global_pool",
}
INCEPTION_RESNET_V2 = {"stem": "mixed_5b", "block35": "repeat", "block17": "repeat_1", "features": "global_pool"}
INCEPTION_RESNET_V1 = {"stem": "features.init_block", "block35": "features.stage1"} | {
    "block17": "features.stage2",
    "block8": "features.stage3",
    "features": "features.final_pool",
}
PREACTIVATED = {f"layer{i + 1}": f"stages.{i}" for i in range(4)} | {"features": "head.global_pool"}
PREACTIVATED |= {"norm": ""}  # timm's rectifies too
DENSENET = {f"denseblock{i}": f"features.denseblock{i}" for i in range(1, 5)} | {"stem": "features.pool0"}
DENSENET |= {"features": "global_pool"}
TORCHVISION_DENSENET = DENSENET | {"features.norm5": "features"}  # timm's rectifies too
PYTORCHCV = {"stem": "features.init_block", "features": "features.final_pool"} | {
    f"{stage}{i}": f"features.stage{i}" for stage in ("layer", "denseblock") for i in range(1, 5)
}
STRIDED_1X1 = {"block": partial(resnet_v2.Bottleneck, stride_in_1x1=True)}
STRIDED_3X3 = {"block": partial(resnet_v2.Bottleneck, stride_in_1x1=False)}
PROJECTED = {"block": resnet_v2.BasicBlock}
TWICE_ACTIVATED = {"first_preactivation": True}
PROOFS = [
    Proof("torchvision/alexnet", "alexnet", features=ALEXNET, train=True, evaluate=False),
    Proof("torchvision/squeezenet1_0", "squeezenet1_0", features=SQUEEZENET),
    Proof("torchvision/squeezenet1_1", "squeezenet1_1", features=SQUEEZENET, train=True, evaluate=False),
    Proof("torchvision/vgg11", "vgg11", features=VGG, evaluate=False),
    Proof("torchvision/vgg11_bn", "vgg11_bn", features=VGG, train=True, evaluate=False),
    Proof("torchvision/vgg16", "vgg16", features=VGG, evaluate=False),
    Proof("torchvision/vgg16_bn", "vgg16_bn", features=VGG, evaluate=False),
    Proof("torchvision/vgg19", "vgg19", features=VGG, evaluate=False),
    Proof("torchvision/googlenet", "googlenet", features=GOOGLENET, train=True),
    Proof("cadene/bninception", "inception_v2", "cadene", features={"stem": "pool2_3x3_s2"}, train=True),
    Proof("pytorchcv/bninception", "inception_v2", layouts.PYTORCHCV_BNINCEPTION, features=PYTORCHCV, evaluate=False),
    Proof("torchvision/resnet18", "resnet18", features=RESNET, train=True),
    Proof("torchvision/resnet50", "resnet50", features=RESNET, train=True),
    Proof("torchvision/resnet101", "resnet101", features=RESNET),
    Proof("torchvision/resnext50_32x4d", "resnext50_32x4d", features=RESNET, train=True),
    Proof("torchvision/resnext101_32x8d", "resnext101_32x8d", features=RESNET),
    Proof("torchvision/wide_resnet50_2", "wide_resnet50_2", features=RESNET),
    Proof("timm/legacy_xception", "xception", "timm", features=XCEPTION),
    Proof("timm/mobilenetv1_100", "mobilenet_v1", "timm", features=MOBILENET_V1, train=True, evaluate=False),
    Proof("torchvision/mobilenet_v2", "mobilenet_v2", features=MOBILENET_V2, train=True, evaluate=False),
    Proof("timm/seresnet50", "seresnet50", features=TIMM_RESNET, train=True),
    Proof("timm/seresnext50_32x4d", "seresnext50_32x4d", features=TIMM_RESNET),
    Proof("timm/resnet50d", "resnet50d", features=TIMM_RESNET, train=True),
    Proof("torchvision/inception_v3", "inception_v3", features=INCEPTION_V3, train=True),
    Proof("timm/inception_v4", "inception_v4", "timm", features=INCEPTION_V4, train=True),
    Proof("timm/inception_resnet_v2", "inception_resnet_v2", "timm", features=INCEPTION_RESNET_V2),
    Proof(
        "pytorchcv/inceptionresnetv1",
        "inception_resnet_v1",
        layouts.PYTORCHCV_INCEPTION_RESNET_V1,
        fields={"bottleneck": 512},
        features=INCEPTION_RESNET_V1,
        train=True,
    ),
    Proof("pytorchcv/resnet50", "resnet50_v1", layouts.PYTORCHCV_RESNET, features=PYTORCHCV),
    Proof("timm/resnetv2_18", "resnetv2_18", "timm", features=PREACTIVATED, train=True),
    Proof("timm/resnetv2_34", "resnetv2_34", "timm", features=PREACTIVATED),
    Proof("timm/resnetv2_50", "resnetv2_50", "timm", features=PREACTIVATED),
    Proof("pytorchcv/preresnet18", "preresnet18", layouts.PYTORCHCV_PRERESNET, TWICE_ACTIVATED, PYTORCHCV),
    Proof(
        "pytorchcv/preresnet50", "preresnet50", layouts.PYTORCHCV_PRERESNET, TWICE_ACTIVATED | STRIDED_1X1, PYTORCHCV
    ),
    Proof(
        "pytorchcv/preresnet20_cifar10", "preresnet20", layouts.PYTORCHCV_PRERESNET_CIFAR, PROJECTED, PYTORCHCV, True
    ),
    Proof(
        "pytorchcv/preresnet164bn_cifar10", "preresnet164", layouts.PYTORCHCV_PRERESNET_CIFAR, STRIDED_3X3, PYTORCHCV
    ),
    Proof("torchvision/densenet121", "densenet121", features=TORCHVISION_DENSENET, train=True),
    Proof("torchvision/densenet169", "densenet169", features=TORCHVISION_DENSENET),
    Proof("timm/densenet121", "densenet121", features=DENSENET),
    Proof(
        "pytorchcv/densenet100_k12_bc_cifar10",
        "densenet100_k12_bc",
        layouts.PYTORCHCV_DENSENET_CIFAR,
        features=PYTORCHCV,
    ),
]


@dataclass(frozen=True)
class Distance:
    """|ours - theirs| / scale, and how much of that is allowed."""

    quantity: str
    value: float
    tolerance: float


def distance(quantity: str, ours, theirs, scale, tolerance: float) -> Distance:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{quantity}: shape {ours.shape}, reference {theirs.shape}"
    return Distance(quantity, float(np.max(np.abs(ours - theirs) / np.asarray(scale), initial=0)), tolerance)


def assert_within(distances: Iterable[Distance]) -> list[Distance]:
    distances = list(distances)
    far = [f"{d.quantity}: {d.value:.2g} > {d.tolerance:.2g}" for d in distances if not d.value <= d.tolerance]
    assert not far, "\n".join(far)
    return distances


@dataclass(frozen=True)
class Subject:
    """Our model with the record's weights, in float64."""

    proof: Proof
    record: oracle.Record
    model: Any
    variables: Any

    @classmethod
    def of(cls, proof: Proof) -> "Subject":
        record = oracle.record(proof.source)
        off = {f: 0.0 for f in zoo.create(proof.name).__dataclass_fields__ if f.endswith("dropout")}
        model = zoo.create(proof.name, **proof.fields | off)
        variables = weights.from_torch(proof.name, record.state_dict(), layout=proof.layout, model=model)
        variables = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf, np.float64), may_alias=True), variables)
        return cls(proof, record, model, {"batch_stats": {}} | variables)

    def torch_name(self, path: tuple[str, ...]) -> str:
        """torch's name of one of our modules."""
        leaf = {"params": _nest(path, np.zeros(()))}
        return next(iter(weights.slots(leaf, self.proof.rules))).rpartition(".")[0]

    def evaluation(self, part: str) -> Iterator[Distance]:
        """Logits, and with the whole `eval` all intermediate features the record and the model both name."""
        figures, images = self.record.figures[part], jnp.asarray(self.record.images(part), jnp.float64)
        features = figures.get("features", {})
        row = zoo.variant(self.proof.name)
        ends = tuple(e for e in row.endpoints if e not in row.aux_weights) if features else ()

        @jax.jit
        def forward(variables, images):
            return self.model.apply(
                variables, images, train=False, endpoints=ends,
                capture_intermediates=bool(features), mutable=["intermediates"],
            )  # fmt: skip

        answer, captured = forward(self.variables, images)
        logits, outputs = answer if ends else (answer, {})
        yield from _logits("logits", logits, figures.get("logits", figures))
        maps = {self.proof.features.get(end, end): value for end, value in outputs.items()}
        insides_first = sorted(flatten_dict(captured.get("intermediates", {})).items(), key=lambda item: -len(item[0]))
        for path, value in insides_first:  # where a layer and its block share a name of torch's, it is the layer's
            if len(path) > 1 and not isinstance(value[0], tuple):
                name = self.torch_name(path[:-1])
                maps.setdefault(self.proof.features.get(name, name), value[0])
        for name in sorted(set(maps) & set(features)):
            yield from _feature(name, maps[name], features[name])

    def training(self) -> Iterator[Distance]:
        """Logits of all heads, losses, gradients, and the running statistics after one step."""
        figures = self.record.figures["train"]
        images, labels = jnp.asarray(self.record.images("train"), jnp.float64), np.array(figures["labels"])
        aux_weights = zoo.variant(self.proof.name).aux_weights

        leaves = flatten_dict(self.variables["params"]) | {("images",): images}
        slots = weights.slots({"params": self.variables["params"]}, self.proof.rules)
        wanted = {slots[theirs["key"]].path[1:] for theirs in figures["grads"].values()}

        def total(leaves):
            params = unflatten_dict({path: leaf for path, leaf in leaves.items() if path != ("images",)})
            variables = self.variables | {"params": params}
            answer, updates = self.model.apply(
                variables, leaves[("images",)], train=True, mutable=["batch_stats"], endpoints=tuple(aux_weights)
            )
            logits, heads = answer if aux_weights else (answer, {})
            heads = {"main": logits, **heads}
            cross_entropy = optax.softmax_cross_entropy_with_integer_labels
            losses = {head: jnp.mean(cross_entropy(value, labels)) for head, value in heads.items()}
            loss = losses["main"] + sum(aux_weights[head] * losses[head] for head in aux_weights)
            return loss, (heads, losses | {"total": loss}, updates)

        @jax.jit
        def gradients(part, leaves):
            grads, rest = jax.grad(lambda part: total(leaves | part), has_aux=True)(part)
            squares = {path: jnp.vdot(grad, grad) for path, grad in grads.items()}
            return squares, {path: grads[path] for path in wanted & set(grads)}, rest

        large = [path for path, leaf in leaves.items() if leaf.nbytes > 2**29]  # VGG's first dense layer: on its own
        squares, grads = {}, {}
        for part in ([path for path in leaves if path not in large], *([path] for path in large)):
            found, recorded, (heads, losses, updates) = gradients({path: leaves[path] for path in part}, leaves)
            squares, grads = squares | found, grads | recorded

        names = {"main": "main", **{h: t for h, t in zip(aux_weights, _aux(figures), strict=True)}}
        for head, logits in heads.items():
            yield from _logits(f"{head} logits", logits, figures["logits"].get(names[head], figures["logits"]))
        for head, loss in losses.items():
            theirs = (
                figures["loss"] if not isinstance(figures["loss"], dict) else figures["loss"][names.get(head, head)]
            )
            yield distance(f"{head} loss", loss, theirs, abs(theirs), STORED)

        theirs = figures["grad_input_l2"]
        yield distance("input gradient", np.sqrt(squares.pop(("images",))), theirs, theirs, STORED)
        theirs = figures["grad_l2"]
        yield distance("gradient", np.sqrt(sum(squares.values())), theirs, theirs, STORED)
        torch_grads = weights.to_torch(self.proof.name, {"params": unflatten_dict(grads)}, layout=self.proof.layout)
        for role, theirs in figures["grads"].items():
            ours, rms = torch_grads[theirs["key"]], theirs["l2"] / np.sqrt(torch_grads[theirs["key"]].size)
            yield distance(f"{role} gradient's norm", np.linalg.norm(ours.ravel()), theirs["l2"], theirs["l2"], STORED)
            yield distance(f"{role} gradient's mean", ours.mean(), theirs["mean"], rms, GRADIENT)
            yield distance(f"{role} gradient", ours.ravel()[:4], theirs["first4"], rms, GRADIENT)
        torch_stats = weights.to_torch(self.proof.name, updates, layout=self.proof.layout) if figures["bn"] else {}
        for path, layer in figures["bn"].items():
            for which in ("running_mean", "running_var"):
                ours, theirs = torch_stats[f"{path}.{which}"], layer[which]
                size = theirs["l2"] / np.sqrt(ours.size)
                norm = np.linalg.norm(ours)
                yield distance(f"{path}.{which} norm", norm, theirs["l2"], theirs["l2"], STORED)
                yield distance(f"{path}.{which}", ours[:4], theirs["first4"], size, STORED)


def _aux(figures: dict) -> list[str]:
    return [head for head in figures["aux_weights"]] if figures.get("aux_weights") else []


def _nest(path: tuple[str, ...], leaf) -> dict:
    for name in reversed((*path, "bias")):
        leaf = {name: leaf}
    return leaf


def _logits(what: str, ours, theirs: dict) -> Iterator[Distance]:
    ours, std = np.asarray(ours), np.array(theirs["std"])
    yield distance(f"{what} first8", ours[:, :8], theirs["first8"], std[:, None], STORED)
    yield distance(f"{what} mean", ours.mean(1), theirs["mean"], std, STORED)
    yield distance(f"{what} std", ours.std(1), theirs["std"], std, STORED)
    yield distance(f"{what} norm", np.linalg.norm(ours, axis=1), theirs["l2"], theirs["l2"], STORED)
    yield distance(f"{what} argmax", ours.argmax(1), theirs["argmax"], 1, 0)


def _feature(name: str, ours, theirs: list) -> Iterator[Distance]:
    shape, mean, std, corner0, corner1 = theirs
    ours = np.asarray(ours)
    if ours.ndim == 4:
        first, last = ours[0, 0, 0, :4], ours[0, -1, -1, :4]
        assert [ours.shape[i] for i in (0, 3, 1, 2)] == shape, f"{name}: {ours.shape}, reference {shape} (NCHW)"
    else:
        first, last = (ours[0, :4], ours[0, :4] if len(shape) == 4 else ours[0, -4:])
        assert list(ours.shape) == shape[:2], f"{name}: {ours.shape}, reference {shape}"
    yield distance(f"{name} mean", ours.mean(), mean, std, FEATURE)
    yield distance(f"{name} std", ours.std(), std, std, FEATURE)
    yield distance(f"{name} first corner", first, corner0, std, FEATURE)
    yield distance(f"{name} last corner", last, corner1, std, FEATURE)
