"""Every classic CNN as a pure Flax Linen module, sharing one hand-derived batch normalisation.

`list_models`, `variant` and `create` find and make models; `init` and `apply` are Flax's own.
"""

from zoo import data, layers, losses, models, norm, weights
from zoo.models.registry import create, list_models, variant
from zoo.norm import (
    BatchNorm,
    batch_norm,
    batch_norm_options,
    compare_statistics,
    fold,
    from_torch_momentum,
    recalibrate,
)
from zoo.training.step import TrainState, create_train_state, make_eval_step, make_train_step
from zoo.weights.files import load, save
from zoo.weights.key_maps import from_torch, to_torch

__all__ = [
    "BatchNorm",
    "TrainState",
    "batch_norm",
    "batch_norm_options",
    "compare_statistics",
    "create",
    "create_train_state",
    "data",
    "fold",
    "from_torch",
    "from_torch_momentum",
    "layers",
    "list_models",
    "load",
    "losses",
    "make_eval_step",
    "make_train_step",
    "models",
    "norm",
    "recalibrate",
    "save",
    "to_torch",
    "variant",
    "weights",
]
