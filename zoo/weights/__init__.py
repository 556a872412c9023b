"""Trained weights."""

from zoo.weights.key_maps import COUNTER, ZOO, from_torch, layouts, slots, to_torch

__all__ = ["COUNTER", "ZOO", "from_torch", "layouts", "slots", "to_torch"]
