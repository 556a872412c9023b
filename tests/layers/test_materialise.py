"""x itself under every transformation; a barrier for XLA on a CPU, nothing at all elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from zoo.layers import add_relu, materialise
from zoo.layers.materialise import materialise_gradient

X = jnp.array([[0.5, -1.0, 2.0], [3.0, 0.0, -0.25]])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("x", [X, X[0, 0], X[:0], -jnp.inf * jnp.ones((2, 1)), jnp.full((1, 2), jnp.nan)])
def test_values_are_kept(x, dtype):
    x = x.astype(dtype)
    for answer in (materialise(x), jax.jit(materialise)(x), jax.vmap(materialise)(x[None])[0]):
        np.testing.assert_array_equal(answer.astype(jnp.float32), x.astype(jnp.float32))
        assert answer.dtype == dtype


@pytest.mark.parametrize("barrier", [materialise, materialise_gradient])
def test_derivatives_are_those_of_the_identity(barrier):
    cube = lambda f: lambda x: jnp.sum(f(x * 2) ** 3)  # noqa: E731
    mine, plain = cube(barrier), cube(lambda x: x)
    np.testing.assert_array_equal(jax.jit(jax.grad(mine))(X), jax.grad(plain)(X))
    np.testing.assert_array_equal(jax.jvp(mine, (X,), (X + 1,))[1], jax.jvp(plain, (X,), (X + 1,))[1])
    np.testing.assert_array_equal(jax.hessian(mine)(X), jax.hessian(plain)(X))


def test_on_a_cpu_the_producer_is_one_computation_of_its_own():
    """Without it XLA multiplies in both readers."""
    read = lambda f: lambda x: (f(jnp.sin(x)) + 1, f(jnp.sin(x))[::-1] * 2)  # noqa: E731

    def count(f):
        return jax.jit(read(f)).lower(X).compile().as_text().count("while(")

    assert (count(materialise), count(lambda x: x)) == (1, 0)


def test_the_gradient_alone_is_written_down():
    def count(f):
        return jax.jit(f).lower(X).compile().as_text().count("while(")

    assert count(lambda x: materialise_gradient(jnp.sin(x)) + 1) == 0
    assert count(jax.grad(lambda x: jnp.sum(materialise_gradient(jnp.sin(x)) ** 2))) == 1


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_elsewhere_it_leaves_no_trace(platform, loops):
    exported = export.export(jax.jit(lambda x: materialise(x * 2)), platforms=[platform])(X)
    assert ("stablehlo.while" in exported.mlir_module()) is loops


def test_unknown_sizes_are_exported():
    (rows,) = export.symbolic_shape("n,")
    exported = export.export(jax.jit(materialise))(jax.ShapeDtypeStruct((rows, 3), jnp.float32))
    np.testing.assert_array_equal(exported.call(X), X)


def test_add_relu_is_the_sum_and_the_relu():
    x, y = X, jnp.array([[-0.5, 1.0, 1.0], [-4.0, 0.0, 0.5]])  # sums of 0 too, where the gradient is 0 as flax's
    both = lambda f: jax.jit(lambda x, y, out: (f(x, y), *jax.vjp(f, x, y)[1](out)))  # noqa: E731
    for mine, other in zip(
        both(add_relu)(x, y, X + 7), both(lambda x, y: jax.nn.relu(x + y))(x, y, X + 7), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
    tangents = (X + 2, X - 3)
    other = jax.jvp(lambda x, y: jax.nn.relu(x + y), (x, y), tangents)
    for mine, plain in zip(jax.jvp(add_relu, (x, y), tangents), other, strict=True):
        np.testing.assert_array_equal(mine, plain)
    assert jnp.isnan(add_relu(x, jnp.full_like(x, jnp.nan))).all()
