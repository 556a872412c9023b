"""Every classic CNN as a pure Flax Linen module, sharing one hand-derived batch normalisation.

`list_models`, `variant` and `create` find and make models, `pretrained` makes one with its trained variables; `init`
and `apply` are Flax's own.
"""

from importlib import metadata

from zoo import data, errors, layers, losses, models, norm, training, weights
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
from zoo.training import (
    TrainConfig,
    TrainState,
    create_train_state,
    fit,
    make_eval_step,
    make_train_step,
)
from zoo.weights import from_torch, load, predict, pretrained, save, to_torch

__version__ = metadata.version("jax-cnn-zoo")

__all__ = [
    "BatchNorm",
    "TrainConfig",
    "TrainState",
    "batch_norm",
    "batch_norm_options",
    "compare_statistics",
    "create",
    "create_train_state",
    "data",
    "errors",
    "fit",
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
    "predict",
    "pretrained",
    "recalibrate",
    "save",
    "to_torch",
    "training",
    "variant",
    "weights",
]
