"""What every net shares: its fields, the check of its input, and the choice of endpoints."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

Ends = dict[str, jax.Array | Callable[[], jax.Array]]


class Net(nn.Module, kw_only=True):
    """A classifier of images. A family writes `forward`; this class checks the input and picks the endpoints.

    Attributes:
      num_classes: width of the logits; 0 returns the pooled features instead.
      dtype: type of the computation, that of the images if None. Statistics are float32 at least.
      param_dtype: type in which parameters are stored.
    """

    num_classes: int = 1000
    dtype: Any = None
    param_dtype: Any = jnp.float32

    min_size: ClassVar[int] = 1  # of height and width: below it some map has no pixel left

    def forward(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Ends]:
        """Logits and all endpoints by name; an auxiliary head is a function, called only if it is wanted."""
        raise TypeError(f"{type(self).__name__} has no forward: a net writes its layers there.")

    def __call__(self, images: jax.Array, *, train: bool, endpoints: Sequence[str] = ()) -> Any:
        """Logits `[N, num_classes]`, or `(logits, {name: map})` when `endpoints` names some.

        Args:
          images: `[N, H, W, C]` of a floating type.
          train: normalise with the batch's statistics (and write the running ones), drop units.
          endpoints: names of intermediate outputs and auxiliary heads.

        Raises:
          ValueError: wrong rank, type or size of the images, or an endpoint that does not exist.
        """
        logits, ends = self.forward(self._checked(images), train=train)
        if isinstance(endpoints, str) or not set(endpoints) <= set(ends):
            known = ", ".join(map(repr, ends))
            raise ValueError(f"endpoints={endpoints!r}: pass a tuple of names out of {known}.")
        heads = {name: end for name, end in ends.items() if callable(end)}
        wanted = heads if self.is_initializing() else set(endpoints) & set(heads)  # init makes every parameter
        ends |= {name: heads[name]() for name in wanted}
        return (logits, {name: ends[name] for name in endpoints}) if endpoints else logits

    def _checked(self, images: jax.Array) -> jax.Array:
        name = type(self).__name__
        if jnp.ndim(images) != 4:
            raise ValueError(
                f"{name} takes images [N, H, W, C], got shape {jnp.shape(images)}; one image: image[None]."
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                f"{name} takes floating images, got {images.dtype}: scale them first, images.astype(float32) / 255."
            )
        if min(images.shape[1:3]) < self.min_size:
            size = f"{self.min_size}x{self.min_size}"
            raise ValueError(
                f"{name} needs images of at least {size}, got {images.shape[1]}x{images.shape[2]}: resize them."
            )
        return images if self.dtype is None else images.astype(self.dtype)
