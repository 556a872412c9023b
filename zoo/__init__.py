"""Every classic CNN as a pure Flax Linen module, sharing one hand-derived batch normalisation.

`list_models`, `variant` and `create` find and make models; `init` and `apply` are Flax's own.
"""

from zoo import losses
from zoo.batch_norm import BatchNorm, batch_norm, batch_norm_options
from zoo.registry import create, list_models, variant
from zoo.train import TrainState, create_train_state, make_eval_step, make_train_step

__all__ = [
    "BatchNorm",
    "TrainState",
    "batch_norm",
    "batch_norm_options",
    "create",
    "create_train_state",
    "list_models",
    "losses",
    "make_eval_step",
    "make_train_step",
    "variant",
]
