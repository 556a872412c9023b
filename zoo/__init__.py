"""Every classic CNN as a pure Flax Linen module, sharing one hand-derived batch normalisation.

`list_models`, `variant` and `create` find and make models; `init` and `apply` are Flax's own.
"""

from zoo import data, losses
from zoo.batch_norm import BatchNorm, batch_norm, batch_norm_options, from_torch_momentum
from zoo.files import load, save
from zoo.folding import fold
from zoo.registry import create, list_models, variant
from zoo.statistics import compare_statistics, recalibrate
from zoo.train import TrainState, create_train_state, make_eval_step, make_train_step
from zoo.weights import from_torch, to_torch

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
    "list_models",
    "load",
    "losses",
    "make_eval_step",
    "make_train_step",
    "recalibrate",
    "save",
    "to_torch",
    "variant",
]
