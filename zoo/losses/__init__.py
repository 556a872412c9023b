"""Losses with optax's manners: per example, unreduced, predictions first, everything else by keyword."""

from zoo.losses.classification import softmax_cross_entropy
from zoo.losses.reduction import reduce

__all__ = ["reduce", "softmax_cross_entropy"]
