"""What several Inceptions have."""

import jax.numpy as jnp
import numpy as np

from zoo.models.inception import transform_input

rng = np.random.default_rng(0)


def test_transformed_images_are_the_pixels_scaled_to_one_around_zero():
    pixels, mean, std = rng.random((2, 3, 4, 3)), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normalised = (pixels - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(transform_input(jnp.asarray(normalised, jnp.float32)), 2 * pixels - 1, atol=1e-6)
