"""Random changes of training images."""

import numpy as np


def shift_images(images: np.ndarray, shifts: np.ndarray, margin: int) -> np.ndarray:
    """Each of `images [N, h, w, C]` moved by its `shifts [N, 2]`, at most `margin` pixels; what comes in is black."""
    n, height, width, _ = images.shape
    framed = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    rows = np.arange(height) + margin + shifts[:, :1]
    columns = np.arange(width) + margin + shifts[:, 1:]
    return framed[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
