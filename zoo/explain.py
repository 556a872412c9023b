"""What a trained net looks at: Grad-CAM (Selvaraju et al. 2016, arXiv:1610.02391), and the filters it looks with."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.extend.core import ClosedJaxpr, DropVar, Var, jaxpr_as_fun
from jax.typing import ArrayLike

from zoo.errors import UserError
from zoo.models.net import Net
from zoo.models.summary import layers


def grad_cam(
    model: Net, variables: Mapping[str, Any], images: ArrayLike, endpoint: str, classes: ArrayLike | None = None
) -> jax.Array:
    """Where in an endpoint's map each image's class is seen: `relu(sum_c alpha_c A_c)`, equations 1 and 2 of the paper.

    `A` is the map under running statistics, and `alpha_c` the mean over its pixels of the derivative of the class's
    logit. As published, nothing is normalised: to draw it, resize it to the image and divide it by its maximum.

    Args:
      model, variables: a trained net.
      images: `[N, H, W, C]`, as the net takes them.
      endpoint: the name of a map `[N, h, w, c]`: one of `zoo.variant(name).endpoints`.
      classes: `[N]` integers, by default the most probable class of each image.

    Returns:
      `[N, h, w]` float32, 0 or more.

    Raises:
      UserError: the endpoint does not exist or is no map; or there are not as many classes as images, or the net has
        no such class.
    """
    images = jnp.asarray(images)
    forward = partial(model.apply, train=False, endpoints=(endpoint,))
    logits, ends = jax.eval_shape(forward, variables, images)
    if len(shape := ends[endpoint].shape) != 4:
        raise UserError(f"endpoint {endpoint!r} has the shape {shape}", "choose one that is a map [N, h, w, c]")
    if classes is not None:
        classes = jnp.asarray(classes)
        if classes.shape != (len(images),) or not jnp.issubdtype(classes.dtype, jnp.integer):
            problem = f"{classes.dtype} classes {list(classes.shape)} of {len(images)} images"
            raise UserError(problem, "pass one integer for each")
        if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < logits.shape[1]:
            problem = f"classes go from {classes.min()} to {classes.max()}"
            raise UserError(problem, f"those of the net go from 0 to {logits.shape[1] - 1}")
    return _weigh_map(model, variables, images, endpoint, classes)


@partial(jax.jit, static_argnames=("model", "endpoint"))
def _weigh_map(
    model: Net, variables: Mapping[str, Any], images: jax.Array, endpoint: str, classes: jax.Array | None
) -> jax.Array:
    def forward(variables: Mapping[str, Any], images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, ends = model.apply(variables, images, train=False, endpoints=(endpoint,))
        return logits, ends[endpoint]

    logits, map_ = forward(variables, images)
    chosen = jnp.argmax(logits, axis=-1) if classes is None else classes
    finish = _split_at_second(forward, variables, images)
    slopes = jax.grad(lambda map_: jnp.sum(jnp.take_along_axis(finish(map_), chosen[:, None], axis=1)))(map_)
    alpha = jnp.mean(slopes.astype(jnp.float32), axis=(1, 2), keepdims=True)
    return jax.nn.relu(jnp.sum(alpha * map_.astype(jnp.float32), axis=-1))


def _split_at_second(
    forward: Callable[..., tuple[jax.Array, jax.Array]], *arguments: Any
) -> Callable[[jax.Array], jax.Array]:
    """The first result of `forward` as a function of the second one.

    A net hands out its maps and goes on computing with them; only its trace knows that they are the same. There the
    map is made an input, in the place of the result of the equation that makes it.
    """
    traced = jax.make_jaxpr(forward)(*arguments)
    first, second = traced.jaxpr.outvars

    def leave_out(variable: Var) -> Var:
        return DropVar(variable.aval) if variable is second else variable

    equations = [one.replace(outvars=[leave_out(variable) for variable in one.outvars]) for one in traced.eqns]
    rest = traced.jaxpr.replace(invars=[*traced.jaxpr.invars, second], outvars=[first], eqns=equations)
    finish = jaxpr_as_fun(ClosedJaxpr(rest, traced.consts))
    return lambda map_: finish(*jax.tree.leaves(arguments), map_)[0]


def find_first_filters(
    model: Net, variables: Mapping[str, Any], image_shape: tuple[int, int, int]
) -> np.ndarray | None:
    """The weights `[k, h, w, C]` of the layer that sees images of that shape first; None if it does not see places."""
    first, *_ = layers(model, image_shape)
    kernel = flatten_dict(variables["params"], sep="/").get(f"{first.path}/kernel")
    return np.moveaxis(np.asarray(kernel, np.float32), -1, 0) if kernel is not None and kernel.ndim == 4 else None
