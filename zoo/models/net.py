"""What every net shares: its fields, the check of its input, and the choice of endpoints."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError
from jax.typing import DTypeLike

from zoo.errors import UserError
from zoo.models.values import ValueModule

Ends = dict[str, jax.Array | Callable[[], jax.Array]]

SHAPES = r'parameter "(.*?)" in "/(.*?)".* shape (\(.*?\)).* shape (\(.*?\))'  # in Flax's message


class Net(ValueModule, kw_only=True):
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

    def __post_init__(self) -> None:
        self.dtype = None if self.dtype is None else jnp.dtype(self.dtype)  # "bfloat16" and jnp.bfloat16 are one model
        self.param_dtype = jnp.dtype(self.param_dtype)
        super().__post_init__()

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
          UserError: wrong rank, order of axes, type or size of the images, variables made for other images, or an
            endpoint that does not exist.
        """
        self._check(images)
        try:
            logits, ends = self.forward(images if self.dtype is None else images.astype(self.dtype), train=train)
        except ScopeParamShapeError as error:
            if not (found := re.search(SHAPES, str(error))):
                raise
            leaf, path, needed, stored = found.groups()
            problem = f"images [N, H, W, C] of shape {jnp.shape(images)} need {path}/{leaf} of shape {needed}"
            remedy = "pass images with the axes, channels and size that init saw, or variables of this model"
            raise UserError(f"{problem}, the variables have {stored}", remedy) from error
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
        height, width, channels = shape[1:]
        if all(isinstance(n, int) for n in shape[1:]) and height <= 4 < min(width, channels) and width <= 2 * channels:
            problem = f"{name} takes images [N, H, W, C], and the shape {shape} looks like [N, C, H, W]"
            raise UserError(problem, "pass images.transpose(0, 2, 3, 1)")
        if not jnp.issubdtype(images.dtype, jnp.floating):
            problem = f"{name} takes floating images, got {images.dtype}"
            raise UserError(problem, "scale them first, images.astype(float32) / 255")
        if any(isinstance(n, int) and n < self.min_size for n in shape[1:3]):  # of an unknown size nothing is said
            least, found = f"{self.min_size}x{self.min_size}", f"{shape[1]}x{shape[2]}"
            raise UserError(f"{name} needs images of at least {least}, got {found}", "resize them")
