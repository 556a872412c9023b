"""Rematerialised blocks: the same variables and gradients from less memory."""

from contextlib import nullcontext

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import rematerialise
from zoo.models.densenet import CifarDenseNet, DenseLayer
from zoo.models.resnet import BasicBlock, ResNet
from zoo.norm import BatchNorm

X = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
RESNET = ResNet(BasicBlock, (2,), width=4, small=True, num_classes=3)
NETS = {
    "residual blocks": (RESNET, [BasicBlock]),
    "nested, with dropout": (CifarDenseNet(growth=2, depths=(2,), stem=4, dropout=0.2), [BatchNorm, DenseLayer]),
}


def step_of(model, classes):
    """`(params, batch_stats) -> (logits, new statistics)` of a training step."""

    def forward(params, batch_stats):
        variables, rngs = {"params": params, "batch_stats": batch_stats}, {"dropout": jax.random.key(2)}
        with rematerialise(*classes) if classes else nullcontext():
            return model.apply(variables, X, train=True, mutable=["batch_stats"], rngs=rngs)

    return forward


def variables_of(model, classes=()):
    with rematerialise(*classes) if classes else nullcontext():
        return jax.jit(lambda: model.init(jax.random.key(0), X[:1], train=False))()


@pytest.mark.parametrize("name", NETS)
def test_variables_statistics_and_gradients_are_the_same(name):
    model, classes = NETS[name]
    variables = variables_of(model)
    chex.assert_trees_all_equal(variables_of(model, classes), variables)

    def gradients(classes):
        def loss(params):
            logits, updates = step_of(model, classes)(params, variables["batch_stats"])
            return jnp.sum(logits**2), updates

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    chex.assert_trees_all_close(gradients(classes), gradients(()), rtol=1e-4, atol=1e-4)


def test_a_compiled_step_needs_less_memory_and_less_is_kept_for_the_backward_pass():
    model, classes = RESNET.copy(depths=(6,)), [BasicBlock]
    variables = jax.eval_shape(lambda: variables_of(model))

    statistics = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables["batch_stats"])

    def bytes_of(classes):
        def loss(params):
            return jnp.sum(step_of(model, classes)(params, statistics)[0])

        back = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], variables["params"])
        # XLA's CPU compiler merges the two computations again when it is done with what keeps them apart.
        apart = {"xla_disable_hlo_passes": "cse_barrier_expander"}
        compiled = jax.jit(jax.grad(loss)).lower(variables["params"]).compile(compiler_options=apart)
        kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(back))
        return np.array([kept, compiled.memory_analysis().temp_size_in_bytes])

    kept, temporary = bytes_of(classes) / bytes_of(())
    assert kept < 0.5
    assert temporary < 0.7
