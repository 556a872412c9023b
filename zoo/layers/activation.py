"""Activations that Flax has otherwise."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def relu6(x: jax.Array) -> jax.Array:
    """min(max(x, 0), 6), whose derivative is zero at both corners, as torch's; `jax.nn.relu6` has a half there."""
    return jnp.minimum(jnp.maximum(x, 0), 6)


@relu6.defjvp
def _relu6_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return relu6(x), jnp.where((x > 0) & (x < 6), dx, jnp.zeros((), dx.dtype))
