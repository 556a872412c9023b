"""BN-Inception: the sizes at which its branches fit together, and those no fixture has."""

import jax
import jax.numpy as jnp
import pytest

import zoo
from tests.support import layouts
from tests.support.live import compare, reference
from zoo.errors import UserError

TEN = {"num_classes": 10}


@pytest.mark.parametrize("size", [(31, 38), (224, 230), (95, 128)])
def test_sizes_whose_branches_fit_together_work(size):
    logits, _ = jax.eval_shape(initialised, jax.ShapeDtypeStruct((2, *size, 3), jnp.float32))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(("size", "fit"), [((120, 120), "128x128"), ((224, 39), "224x32"), ((54, 224), "64x224")])
def test_other_sizes_are_refused_with_the_nearest_that_fits(size, fit):
    with pytest.raises(UserError, match=rf"got {size[0]}x{size[1]}: resize to {fit}"):
        jax.eval_shape(initialised, jax.ShapeDtypeStruct((2, *size, 3), jnp.float32))


def initialised(images):
    return zoo.create("inception_v2", **TEN).init_with_output(jax.random.key(0), images, train=False)


@pytest.mark.parity
def test_odd_sizes_equal_pytorchcv():
    """Its last pool is 7x7, which 224 to 230 give."""
    make = reference("pytorchcv/bninception", **TEN)
    compare(make, "inception_v2", (2, 229, 226, 3), layout=layouts.PYTORCHCV_BNINCEPTION, fields=TEN)
