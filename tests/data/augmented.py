"""What the tests of augmentation share: images of many colours, and every function at a usual strength and at 0."""

from functools import partial

import jax
import numpy as np
from skimage import data

from zoo.data import augmentation, colour, crops, randaugment

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # each is compiled for a few images

# Function, strength that changes images, strength that does not.
FUNCTIONS = {
    "random_resized_crop": (crops.random_resized_crop, 0.08, 1.0),
    "flip": (augmentation.flip, 0.5, 0.0),
    "shift": (augmentation.shift, 3, 0),
    "colour_jitter": (colour.colour_jitter, 0.4, 0.0),
    "hue": (lambda key, images, hue: colour.colour_jitter(key, images, 0.0, hue), 0.5, 0.0),
    "random_erasing": (crops.random_erasing, 0.5, 0.0),
    "cutout": (crops.cutout, 7, 0),
    "randaugment": (randaugment.randaugment, 9.0, 0.0),
}


def photographs(count=6, height=24, width=28):
    """Parts of a photograph as bytes `[count, height, width, 3]`."""
    photograph = data.astronaut()[::4, ::4]
    starts = np.linspace(0, 128 - width, count).astype(int)
    return np.stack([photograph[start : start + height, start : start + width] for start in starts])
