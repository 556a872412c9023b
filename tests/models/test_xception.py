"""Xception: the paper's figure, and timm's net at a size that no fixture has."""

import jax
import jax.numpy as jnp
import pytest

import zoo
from tests.support.live import compare, reference
from zoo.models import summary

TEN = {"num_classes": 10}


def test_flows_and_size_are_those_of_the_paper():
    """Figure 5: 19x19x728 maps go round the middle flow eight times; table 3: 22,855,952 parameters, and 36 layers."""
    model = zoo.create("xception")
    images = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    (_, ends), _ = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False, endpoints=("block3", "middle", "exit")),
        images,
    )
    assert [ends[name].shape[1:] for name in ("block3", "middle", "exit")] == [
        (19, 19, 728),
        (19, 19, 728),
        (10, 10, 1024),
    ]
    assert zoo.variant("xception").params == 22_855_952
    layers = [layer.path for layer in summary.layers(model, (299, 299, 3)) if layer.type == "Conv"]
    assert len([path for path in layers if not path.endswith(("skip", "conv1")) or path == "conv1"]) == 36


@pytest.mark.parity
def test_xception_equals_timm_s():
    compare(reference("timm/legacy_xception", **TEN), "xception", (2, 65, 97, 3), layout="timm", fields=TEN)
