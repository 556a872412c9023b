"""The row of a table: one variant of a family, with everything published about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zoo.data.preprocessing import Preprocessing
from zoo.models.net import Net
from zoo.models.values import freeze_fields

Endpoints = Mapping[str, tuple[int, int]]  # {name: (stride, channels)}; stride 0 is a vector


@dataclass(frozen=True)
class PublishedWeights:
    """Trained weights that somebody published.

    Attributes:
      source: `"hf:org/name"`.
      preprocessing: how they want their pictures prepared.
      top1, top5: reported accuracy on ImageNet-1k's validation set, in percent.
    """

    source: str
    preprocessing: Preprocessing
    top1: float | None = None
    top5: float | None = None


def torchvision_weights(name: str, top1: float, top5: float, *, resize: int = 256) -> PublishedWeights:
    """torchvision's first weights, as republished in safetensors; tested at 224 pixels of so many."""
    return PublishedWeights(f"hf:timm/{name}.tv_in1k", Preprocessing(224, 224 / resize), top1, top5)


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
      endpoints: intermediate outputs that the net names.
      head: path of the layer that makes the logits, `"fc"`.
      aux_heads: `{auxiliary endpoint: path of the layer that makes its logits}`.
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
    endpoints: Endpoints = field(default_factory=dict)
    head: str = "fc"
    aux_heads: Mapping[str, str] = field(default_factory=dict)
    weights: PublishedWeights | None = None

    def __post_init__(self) -> None:
        freeze_fields(self)

    @property
    def heads(self) -> tuple[str, ...]:
        """Paths of all layers whose shape depends on the number of classes."""
        return (self.head, *self.aux_heads.values())

    @property
    def aux_weights(self) -> Mapping[str, float]:
        """`{auxiliary endpoint: weight of its loss}` as published; the net's own."""
        return self.make().aux_weights
