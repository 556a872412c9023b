"""The row of a table: one variant of a family, with everything published about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zoo.models.net import Net


@dataclass(frozen=True)
class Weights:
    """Published trained weights and how their images are prepared: preprocessing belongs to weights, not to a net.

    Attributes:
      source: `"hf:org/name"`.
      size: side of the image the net sees.
      crop: that size divided by the length the short side is first resized to.
      mean, std: per channel, of RGB in [0, `scale`].
      scale: 1.0 for images in [0, 1], 255.0 for images left in [0, 255].
      interpolation: `"bilinear"` or `"bicubic"`.
      top1, top5: reported accuracy on ImageNet-1k's validation set, in percent.
    """

    source: str
    size: int = 224
    crop: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 1.0
    interpolation: str = "bilinear"
    top1: float | None = None
    top5: float | None = None


@dataclass(frozen=True)
class Variant:
    """One named net.

    Attributes:
      make: called with a net's fields (`num_classes`, `dtype`, ...), returns the unbound module.
      params: published number of parameters, auxiliary heads included, with `make`'s own number of classes.
      macs: multiply-adds of convolutions and dense layers for one image of `image_size`, without auxiliary heads.
      image_size: native height and width.
      channels: native number of input channels.
      paper: authors, year, arXiv number.
      reference: the implementation whose figures the tests hold it to.
      departures: where it differs from the paper.
      endpoints: `{name: (stride, channels)}`; stride 0 is a vector without height and width.
      aux_weights: `{auxiliary head: weight of its loss}` as published.
      weights: trained weights, where published.
    """

    make: Callable[..., Net]
    params: int
    macs: int
    image_size: int = 224
    channels: int = 3
    paper: str = ""
    reference: str = ""
    departures: str = ""
    endpoints: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    aux_weights: Mapping[str, float] = field(default_factory=dict)
    weights: Weights | None = None
