"""What every net shares: its fields, the check of its input, and the choice of endpoints."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from zoo.errors import UserError

Ends = dict[str, jax.Array | Callable[[], jax.Array]]


class Net(nn.Module, kw_only=True):
    """A classifier of images. A family writes `forward`; this class checks the input and picks the endpoints.

    Attributes:
      num_classes: width of the logits; 0 returns the pooled features instead.
      dtype: type of the computation, that of the images if None. Statistics are float32 at least.
      param_dtype: type in which parameters are stored.
    """

    num_classes: int = 1000
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    min_size: ClassVar[int] = 1  # of height and width: below it some map has no pixel left
    aux_weights: ClassVar[Mapping[str, float]] = {}  # of the auxiliary heads' losses, by endpoint, as published

    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        """Logits and all endpoints by name; an auxiliary head is a function, called only if it is wanted."""
        raise TypeError(f"{type(self).__name__} has no forward: a net writes its layers there.")

    def __call__(
        self, images: jax.Array, *, train: bool, endpoints: Sequence[str] = ()
    ) -> jax.Array | tuple[jax.Array, dict[str, jax.Array]]:
        """Logits `[N, num_classes]`, or `(logits, {name: map})` when `endpoints` names some.

        Args:
          images: `[N, H, W, C]` of a floating type.
          train: normalise with the batch's statistics (and write the running ones), drop units.
          endpoints: names of intermediate outputs and auxiliary heads.

        Raises:
          UserError: wrong rank, type or size of the images, or an endpoint that does not exist.
        """
        self._check(images)
        logits, ends = self.forward(images if self.dtype is None else images.astype(self.dtype), train=train)
        if isinstance(endpoints, str) or not set(endpoints) <= set(ends):
            known = ", ".join(map(repr, ends))
            raise UserError(f"endpoints={endpoints!r}", f"pass a tuple of names out of {known}")
        wanted = ends if self.is_initializing() else endpoints  # init makes every parameter
        maps = {name: end() if callable(end) else end for name, end in ends.items() if name in wanted}
        return (logits, {name: maps[name] for name in endpoints}) if endpoints else logits

    def _check(self, images: jax.Array) -> None:
        name, shape = type(self).__name__, jnp.shape(images)
        if len(shape) != 4:
            raise UserError(f"{name} takes images [N, H, W, C], got shape {shape}", "pass one image as image[None]")
        if not jnp.issubdtype(images.dtype, jnp.floating):
            problem = f"{name} takes floating images, got {images.dtype}"
            raise UserError(problem, "scale them first, images.astype(float32) / 255")
        if min(shape[1:3]) < self.min_size:
            least, found = f"{self.min_size}x{self.min_size}", f"{shape[1]}x{shape[2]}"
            raise UserError(f"{name} needs images of at least {least}, got {found}", "resize them")
