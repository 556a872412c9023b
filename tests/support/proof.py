"""Measures a model against the reference figures, in float64: how far, relative to what, quantity by quantity.

`tests/models/test_proof.py` asserts that every distance is within its tolerance.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

import zoo
from tests.support import oracle
from tests.support.proof_table import Proof
from zoo import weights

STORED, GRADIENT, FEATURE = 1e-7, 1e-6, 1e-5  # tolerances: nine stored digits; a gradient's elements; seven digits


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
